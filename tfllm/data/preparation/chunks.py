"""Files in; chunks of a few megabytes out.

`plan` walks the files in order and cuts them into chunks, cheaply: it is what the one parent process runs.
Workers turn a chunk into documents (documents.py). Compressed lines are unpacked by the parent
and travel inside the chunk, since such a file has no middle to start from; nothing is ever held but a chunk,
or one document if it is larger.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

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
