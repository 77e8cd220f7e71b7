"""A chunk in, its documents out: what the workers run. Errors name file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tfllm.data.preparation.chunks import Chunk, Reading, Span
from tfllm.data.preparation.places import opened
from tfllm.data.preparation.sources import SourceError


class Document(NamedTuple):
    """One document, as it stands in its file. A tuple, for there may be a billion of them."""

    file: str
    data: bytes
    text: str | None
    """None: not valid UTF-8."""
    row: int | None = None
    """Where it is not: which line or row of the span, from 0."""


def read(chunk: Chunk, reading: Reading) -> Iterator[Document]:
    """The documents of a chunk, in the order of the files.

        a.txt holds b"one\\n"                                     -> b"one\\n"
        b.txt holds b"one--two--", separator "--"                -> b"one"  b"two"
        c.jsonl holds {"text": "one"} and {"text": "two"}        -> b"one"  b"two"

    Raises:
        SourceError: naming file and line (Parquet: row): unreadable, not JSON, no such field, no string, not
            UTF-8 (unless told to skip).
    """
    for span in chunk.spans:
        if span.kind == "parquet":
            documents = _parquet_documents(span, reading.field)
        elif span.kind == "jsonl":
            documents = _json_documents(span, reading.field)
        else:
            documents = _text_documents(span, reading.separator)
        for document in documents:
            if document.text is None and reading.invalid_utf8 == "error":
                raise SourceError(
                    f"{_place(span, document)}: not valid UTF-8. Convert or exclude it, or give invalid_utf8='skip'."
                )
            yield document


def _place(span: Span, document: Document) -> str:
    place = document.file if document.row is None else _line(span, document.row)
    try:
        document.data.decode()
    except UnicodeDecodeError as error:
        return f"{place} (byte {error.start} of the document is {document.data[error.start]:#04x})"
    return f"{place} (an unpaired surrogate)"


def _text_documents(span: Span, separator: str | None) -> Iterator[Document]:
    try:
        with opened(span.path) as file:
            file.seek(span.start)
            data = file.read(span.end - span.start)
    except OSError as error:
        raise SourceError(f"{span.path}: {error.strerror}. Make it readable, or exclude it.") from error
    if len(data) != span.end - span.start:
        raise SourceError(f"{span.path} became shorter while it was read. Call again when nothing writes to it.")
    parts = data.split(separator.encode()) if separator else [data]
    if separator and not parts[-1]:
        parts.pop()
    for part in parts:
        yield Document(span.path, part, _decode(part))


def _json_documents(span: Span, field: str) -> Iterator[Document]:
    data = span.lines
    if data is None:
        data = next(_text_documents(span, None)).data
    for index, line in enumerate(data.split(b"\n")):
        if not line.strip():
            continue
        text = _decode(line)
        if text is None:
            yield Document(span.path, line, None, index)
            continue
        value = _field(text, field, span, index)
        try:
            yield Document(span.path, value.encode(), value)
        except UnicodeEncodeError:
            yield Document(span.path, value.encode(errors="replace"), None, index)


def _field(text: str, field: str, span: Span, index: int) -> str:
    try:
        record: Any = json.loads(text)
    except RecursionError as error:
        raise SourceError(f"{_line(span, index)}: JSON nested too deeply to be read. Mend or remove the line.") from error
    except ValueError as error:
        raise SourceError(f"{_line(span, index)}: not JSON ({error}). Mend or remove the line.") from error
    if not isinstance(record, dict):
        raise SourceError(f"{_line(span, index)}: not a JSON object but {type(record).__name__}.")
    if field not in record:
        raise SourceError(f"{_line(span, index)}: no field {field!r}; there are {sorted(record)}. Give field=….")
    if not isinstance(record[field], str):
        raise SourceError(f"{_line(span, index)}: field {field!r} is not a string but {record[field]!r:.40}.")
    return record[field]


def _line(span: Span, index: int) -> str:
    """File and line, or row of a Parquet file. Reads all before it: for errors only.

    index 2 of a span that begins after 40 lines of a.jsonl  ->  a.jsonl:43
    """
    if span.lines is not None:
        return f"{span.path}:{span.start + index}"
    if span.kind == "parquet":
        return f"{span.path}, row {_rows_before(span) + index + 1}"
    before, left = 0, span.start
    with opened(span.path) as file:
        while block := file.read(min(left, 1 << 20)):
            before += block.count(b"\n")
            left -= len(block)
    return f"{span.path}:{before + index + 1}"


def _rows_before(span: Span) -> int:
    import pyarrow.parquet

    with opened(span.path) as raw, pyarrow.parquet.ParquetFile(raw) as file:
        return sum(file.metadata.row_group(group).num_rows for group in range(span.start))


def _parquet_documents(span: Span, field: str) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    index = 0
    try:
        with opened(span.path) as raw, pyarrow.parquet.ParquetFile(raw) as file:
            for batch in file.iter_batches(256, row_groups=range(span.start, span.end), columns=[field]):
                # As bytes: Arrow's own conversion to str stops at the first row of a batch that is not UTF-8.
                for data in batch.column(0).cast(pyarrow.large_binary()).to_pylist():
                    if data is None:
                        raise SourceError(f"{_line(span, index)}: field {field!r} is not a string but None. Leave out the row.")
                    yield Document(span.path, data, _decode(data), index)
                    index += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{span.path}: cannot be read ({error}). Replace it or exclude it.") from error


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
