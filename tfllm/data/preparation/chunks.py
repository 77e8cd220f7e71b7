"""Files in; chunks of a few megabytes out, and the documents of a chunk.

`plan` walks the files in order and cuts them into chunks, cheaply: it is what the one parent process runs.
`read` turns a chunk into documents: it is what the workers run. Compressed lines are unpacked by the parent
and travel inside the chunk, since such a file has no middle to start from; nothing is ever held but a chunk,
or one document if it is larger.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tfllm.data.preparation.places import ends_in, opened
from tfllm.data.preparation.sources import Source, SourceError


@dataclass(frozen=True)
class Span:
    """Part of a file: bytes [start, end) of text or lines, row groups [start, end) of Parquet, unpacked lines."""

    path: str
    kind: str
    start: int
    end: int
    lines: bytes | None = None
    """Unpacked lines of a compressed file, of which `start` is the number of the first (from 1)."""


@dataclass(frozen=True)
class Chunk:
    """What a worker is given at once. The same files give the same chunks with the same numbers."""

    number: int
    spans: tuple[Span, ...]
    size: int
    """Bytes on disk, for the progress bar."""

    def __str__(self) -> str:
        more = f" and {len(self.spans) - 1} more" if len(self.spans) > 1 else ""
        return f"{self.spans[0].path}{more}"


@dataclass(frozen=True)
class Document:
    """One document, as it stands in its file."""

    file: str
    data: bytes
    text: str | None
    """None: not valid UTF-8."""
    index: int | None = None
    """Where it is not: which line or row of the span, from 0."""


@dataclass(frozen=True)
class Reading:
    """How documents are read; see `prepare`."""

    field: str = "text"
    separator: str | None = None
    invalid_utf8: str = "error"


def plan(sources: Sequence[Source], reading: Reading, chunk_bytes: int) -> Iterator[Chunk]:
    """Cut the files into chunks of about `chunk_bytes`.

        a.txt (3 MB)  b.txt (2 MB)  c.jsonl (9 MB), chunks of 4 MB
        -> 0: a.txt, b.txt   1: c.jsonl[0:4 MB]   2: c.jsonl[4 MB:8 MB]   3: c.jsonl[8 MB:]

    Raises:
        SourceError: a file cannot be opened, unpacked, or lacks the Parquet column.
    """
    spans: list[Span] = []
    size = held = number = 0
    for source in sources:
        for span, span_bytes in _spans(source, reading, chunk_bytes):
            spans.append(span)
            size += span_bytes
            held += span_bytes if span.lines is None else len(span.lines)
            if held >= chunk_bytes:
                yield Chunk(number, tuple(spans), size)
                spans, size, held, number = [], 0, 0, number + 1
    if spans:
        yield Chunk(number, tuple(spans), size)


def _spans(source: Source, reading: Reading, chunk_bytes: int) -> Iterator[tuple[Span, int]]:
    if source.kind in ("jsonl.gz", "jsonl.zst"):
        yield from _unpacked(source, chunk_bytes)
    elif source.kind == "parquet":
        yield from _row_groups(source, reading.field)
    else:
        separator = b"\n" if source.kind == "jsonl" else (reading.separator or "").encode()
        start = 0
        for end in _cuts(source, separator, chunk_bytes):
            yield Span(source.path, source.kind, start, end), end - start
            start = end


def _cuts(source: Source, separator: bytes, chunk_bytes: int) -> Iterator[int]:
    """Places to cut a file, each just after a separator that a plain left-to-right split finds too."""
    if separator and source.size > chunk_bytes:
        with opened(source.path) as file:
            cut = 0
            # One byte can be looked for from any place; in "\n\n\n" only the start tells which two are it.
            while len(separator) == 1 and cut + chunk_bytes < source.size:
                cut = next(ends_in(file, separator, cut + chunk_bytes - 1), source.size)
                if cut < source.size:
                    yield cut
            for end in ends_in(file, separator, 0) if len(separator) > 1 else ():
                if chunk_bytes <= end - cut and end < source.size:
                    cut = end
                    yield cut
    yield source.size


def _unpacked(source: Source, chunk_bytes: int) -> Iterator[tuple[Span, int]]:
    line = 1
    counted = 0
    held = bytearray()
    with opened(source.path) as raw:
        try:
            for block in _blocks(source, raw):
                held += block
                cut = held.rfind(b"\n") + 1
                if len(held) < chunk_bytes or not cut:
                    continue
                yield Span(source.path, "jsonl", line, 0, bytes(held[:cut])), raw.tell() - counted
                line += held.count(b"\n", 0, cut)
                counted = raw.tell()
                del held[:cut]
        except _unpack_errors() as error:
            raise SourceError(f"{source.path}: cannot be unpacked ({error}). Replace it or exclude it.") from error
    if held:
        yield Span(source.path, "jsonl", line, 0, bytes(held)), source.size - counted


def _blocks(source: Source, raw: IO[bytes]) -> Iterator[bytes]:
    if source.kind == "jsonl.gz":
        stream = gzip.GzipFile(fileobj=raw)
        while block := stream.read(1 << 20):
            yield block
        return
    import zstandard

    # Frame by frame: the library's own stream reader takes the end of a cut-off file for the end of the data.
    frame, packed = None, b""
    while packed := packed or raw.read(1 << 14):
        frame = frame or zstandard.ZstdDecompressor().decompressobj()
        yield frame.decompress(packed)
        packed = frame.unused_data
        frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("it ends inside a frame")


def _unpack_errors() -> tuple[type[Exception], ...]:
    import zstandard

    return (EOFError, OSError, zlib.error, zstandard.ZstdError)


def _row_groups(source: Source, field: str) -> Iterator[tuple[Span, int]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with opened(source.path) as raw, pyarrow.parquet.ParquetFile(raw) as file:
            schema, groups = file.schema_arrow, file.metadata.num_row_groups
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{source.path}: not a Parquet file ({error}). Replace it or exclude it.") from error
    if field not in schema.names:
        raise SourceError(f"{source.path}: no column {field!r}; there are {schema.names}. Give field=….")
    kind = schema.field(field).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise SourceError(f"{source.path}: column {field!r} holds {kind}, not strings. Give another field=….")
    for group in range(groups):
        yield Span(source.path, "parquet", group, group + 1), source.size // groups


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
    place = document.file if document.index is None else _line(span, document.index)
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
