"""The documents of a chunk. In: a chunk (chunks.py). Out: `Document`s. Workers run it. Errors name the file and the line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from tfllm.corpus.chunks import Chunk, FileSpan, ReadOptions
from tfllm.corpus.content_detection import no_column
from tfllm.corpus.filesystem import open_file
from tfllm.corpus.formats import SourceError, unreadable
from tfllm.corpus.lines import BOM, encoding_advice
from tfllm.corpus.parquet import BATCH_ROWS, parquet_file
from tfllm.corpus.records import json_object


class Document(NamedTuple):
    """One document, as it stands in its file. A tuple, for there may be a billion of them."""

    file: str
    data: bytes
    text: str | None
    """None: not valid UTF-8."""
    row: int | None = None
    """Where it is not: which line or row of the span, from 0."""


def read_documents(chunk: Chunk, read_options: ReadOptions) -> Iterator[Document]:
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
            documents = _parquet_documents(span, read_options.field)
        elif span.kind in ("jsonl", "records"):
            documents = _json_documents(span, read_options.field)
        else:
            documents = _text_documents(span, read_options.separator)
        for document in documents:
            if document.text is None and read_options.invalid_utf8 == "error":
                raise SourceError(_invalid(span, document))
            yield document


def not_utf8(place: str, error: UnicodeDecodeError, path: str, before: int = 0) -> str:
    """What is said of a document that is no UTF-8; `before` bytes of it stand in front of those that were decoded."""
    byte = f"byte {before + error.start} of the document is {error.object[error.start]:#04x}"
    advice = f"{encoding_advice(error.object, path)}; or exclude the file, or give invalid_utf8='skip'."
    return f"{place} ({byte}): not valid UTF-8. {advice}"


def _invalid(span: FileSpan, document: Document) -> str:
    place = document.file if document.row is None else _line(span, document.row)
    try:
        document.data.decode()
    except UnicodeDecodeError as error:
        return not_utf8(place, error, span.path)
    return f"{place} (a lone surrogate): not valid UTF-8. Remove it, exclude the file, or give invalid_utf8='skip'."


def _bytes_of(span: FileSpan) -> bytes:
    """The span's bytes, without the byte order mark of its file."""
    first = span.start == (span.data is not None and span.kind == "jsonl")  # where lines are numbered, from 1
    if span.data is not None:
        return span.data.removeprefix(BOM) if first else span.data
    try:
        with open_file(span.path) as file:
            file.seek(span.start)
            data = file.read(span.end - span.start)
    except OSError as error:
        raise unreadable(span.path, error) from error
    if len(data) != span.end - span.start:
        raise SourceError(f"{span.path} became shorter while it was read. Call again when nothing writes to it.")
    return data.removeprefix(BOM) if first else data


def _text_documents(span: FileSpan, separator: str | None) -> Iterator[Document]:
    data = _bytes_of(span)
    parts = data.split(separator.encode()) if separator else [data]
    if separator and len(parts) == 1 and span.start == 0 and _ends_lines_with_crlf(data, separator):
        raise SourceError(
            f"{span.path}: the separator {separator!r} is only in it with CRLF line ends. Convert the file, tr -d '\\r' < "
            f"{shlex.quote(span.path)} > {shlex.quote(span.path + '.lf')}, or give CRLF in the separator."
        )
    if separator and not parts[-1]:
        parts.pop()
    for part in parts:
        yield Document(span.path, part, _decode(part))


def _ends_lines_with_crlf(data: bytes, separator: str) -> bool:
    """True where the separator's line ends, written as CRLF, are found in the file."""
    return "\n" in separator and "\r" not in separator and separator.replace("\n", "\r\n").encode() in data


def _json_documents(span: FileSpan, field: str) -> Iterator[Document]:
    for index, line in enumerate(_bytes_of(span).split(b"\n")):
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


def _field(text: str, field: str, span: FileSpan, index: int) -> str:
    try:
        record = json_object(text, "")
    except SourceError:
        record = json_object(text, _line(span, index))  # the place costs a reading of all before it
    if field not in record:
        raise SourceError(f"{_line(span, index)}: {no_column(field, list(record))}")
    if not isinstance(record[field], str):
        raise SourceError(
            f"{_line(span, index)}: the field {field!r} is {record[field]!r:.40}: expected a string. Remove the row."
        )
    return record[field]


def _line(span: FileSpan, index: int) -> str:
    """File and line, record or row. Reads all before it: for errors only.

    index 2 of a span that begins after 40 lines of a.jsonl  ->  a.jsonl, line 43
    """
    if span.data is not None:
        return f"{span.path}, {'line' if span.kind == 'jsonl' else 'record'} {span.start + index}"
    if span.kind == "parquet":
        return f"{span.path}, row {_rows_before(span) + index + 1}"
    before, left = 0, span.start
    with open_file(span.path) as file:
        while block := file.read(min(left, 1 << 20)):
            before += block.count(b"\n")
            left -= len(block)
    return f"{span.path}, line {before + index + 1}"


def _rows_before(span: FileSpan) -> int:
    with parquet_file(span.path) as file:
        return sum(file.metadata.row_group(group).num_rows for group in range(span.start))


def _parquet_documents(span: FileSpan, field: str) -> Iterator[Document]:
    import pyarrow

    index = 0
    with parquet_file(span.path) as file:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=range(span.start, span.end), columns=[field]):
            # As bytes: Arrow's own conversion to str stops at the first row of a batch that is not UTF-8.
            for data in batch.column(0).cast(pyarrow.large_binary()).to_pylist():
                if data is None:
                    raise SourceError(f"{_line(span, index)}: the field {field!r} is None: expected a string. Remove the row.")
                yield Document(span.path, data, _decode(data), index)
                index += 1


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
