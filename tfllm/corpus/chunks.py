"""Chunks of a corpus: a few megabytes of documents that one worker reads.

In: files (sources.py). Out: `Chunk`s. `plan_chunks` runs in the one parent process and does little work. Workers turn a chunk
into documents (documents.py). A compressed file, a table and a JSON array cannot be read from the middle, so the parent unpacks
them and puts their text, or their records as JSON lines, into the chunk. Memory: one chunk, or one document if it is larger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tfllm.corpus.content_detection import no_column
from tfllm.corpus.decompression import decompress
from tfllm.corpus.filesystem import open_file, separator_ends
from tfllm.corpus.formats import SourceError
from tfllm.corpus.lines import read_lines
from tfllm.corpus.parquet import parquet_file
from tfllm.corpus.records import json_shape, json_values
from tfllm.corpus.sources import Source
from tfllm.corpus.tables import table_rows


@dataclass(frozen=True)
class FileSpan:
    """Part of a file: bytes [start, end) of "text" or "jsonl", row groups [start, end) of "parquet"; or with `data`, unpacked
    text, unpacked lines from line `start` on, "records" as JSON lines from number `start` on (both from 1)."""

    path: str
    kind: str
    start: int
    end: int
    data: bytes | None = None


@dataclass(frozen=True)
class Chunk:
    """What a worker is given at once. The same files give the same chunks with the same numbers."""

    number: int
    spans: tuple[FileSpan, ...]
    size: int
    """Bytes on disk, for the progress bar."""

    def __str__(self) -> str:
        more = f" and {len(self.spans) - 1} more" if len(self.spans) > 1 else ""
        return f"{self.spans[0].path}{more}"


@dataclass(frozen=True)
class ReadOptions:
    """How documents are read; see `prepare`. A ValueError names the setting that is not accepted."""

    field: str = "text"
    separator: str | None = None
    invalid_utf8: str = "error"

    def __post_init__(self) -> None:
        accepted = {
            "field": bool(self.field) or "the name of a field",
            "separator": self.separator != "" or "None, or the text between documents",
            "invalid_utf8": self.invalid_utf8 in ("error", "skip") or "'error' or 'skip'",
        }
        for name, answer in accepted.items():
            if answer is not True:
                raise ValueError(f"{name}={getattr(self, name)!r} is invalid: expected {answer}.")


def plan_chunks(sources: Sequence[Source], read_options: ReadOptions, chunk_bytes: int) -> Iterator[Chunk]:
    """Cut the files into chunks of about `chunk_bytes`.

        a.txt (3 MB)  b.txt (2 MB)  c.jsonl (9 MB), chunks of 4 MB
        -> 0: a.txt, b.txt   1: c.jsonl[0:4 MB]   2: c.jsonl[4 MB:8 MB]   3: c.jsonl[8 MB:]

    Raises:
        SourceError: a file cannot be opened, unpacked, or lacks the Parquet column.
    """
    return _gather((found for source in sources for found in _spans(source, read_options, chunk_bytes)), chunk_bytes)


def plan_text_chunks(texts: Iterable[str], field: str, chunk_bytes: int) -> Iterator[Chunk]:
    """Chunks of texts in memory, each a document.

    "one" "two"  ->  0: records 1 and 2 of "texts"
    """
    lines = (json.dumps({field: text}).encode() for text in texts)
    return _gather(_filled("texts", lines, chunk_bytes), chunk_bytes)


def _gather(found: Iterable[tuple[FileSpan, int]], chunk_bytes: int) -> Iterator[Chunk]:
    """Chunks of spans, which come with their bytes on disk."""
    spans: list[FileSpan] = []
    size = held = number = 0
    for span, span_bytes in found:
        spans.append(span)
        size += span_bytes
        held += span_bytes if span.data is None else len(span.data)
        if held >= chunk_bytes:
            yield Chunk(number, tuple(spans), size)
            spans, size, held, number = [], 0, 0, number + 1
    if spans:
        yield Chunk(number, tuple(spans), size)


def _spans(source: Source, read_options: ReadOptions, chunk_bytes: int) -> Iterator[tuple[FileSpan, int]]:
    kind = source.kind
    if kind == "json" and json_shape(source.path, source.compression).kind in ("lines", ""):
        kind = "jsonl"
    separator = b"\n" if kind == "jsonl" else (read_options.separator or "").encode()
    if kind == "parquet":
        yield from _row_groups(source, read_options.field)
    elif not source.size and kind != "text":
        return
    elif kind in ("json", "csv", "tsv"):
        yield from _filled(source.path, _records(source, read_options.field), chunk_bytes, source.size)
    elif source.compression:
        yield from _unpacked(source, kind, separator, chunk_bytes)
    else:
        start = 0
        for end in _cuts(source, separator, chunk_bytes):
            yield FileSpan(source.path, kind, start, end), end - start
            start = end


def _cuts(source: Source, separator: bytes, chunk_bytes: int) -> Iterator[int]:
    """Places to cut a file, each just after a separator that a plain left-to-right split finds too."""
    if separator and source.size > chunk_bytes:
        with open_file(source.path) as file:
            cut = 0
            # One byte can be looked for from any place; in "\n\n\n" only the start tells which two are it.
            while len(separator) == 1 and cut + chunk_bytes < source.size:
                cut = next(separator_ends(file, separator, cut + chunk_bytes - 1), source.size)
                if cut < source.size:
                    yield cut
            for end in separator_ends(file, separator, 0) if len(separator) > 1 else ():
                if chunk_bytes <= end - cut and end < source.size:
                    cut = end
                    yield cut
    yield source.size


def _unpacked(source: Source, kind: str, separator: bytes, chunk_bytes: int) -> Iterator[tuple[FileSpan, int]]:
    """Spans of a compressed file, cut just after a separator that a plain left-to-right split finds too."""
    start = 1 if kind == "jsonl" else 0
    counted, held = 0, bytearray()
    with open_file(source.path) as raw:
        for block in decompress(raw, source.compression, source.path):
            held += block
            if not separator or len(held) < chunk_bytes:
                continue
            # One byte can be looked for from the end; in "\n\n\n" only the start tells which two are it.
            rest = len(held) - held.rfind(separator) - 1 if len(separator) == 1 else len(held.split(separator)[-1])
            if not (cut := len(held) - rest):
                continue
            yield FileSpan(source.path, kind, start, 0, bytes(held[:cut])), raw.tell() - counted
            start += held.count(b"\n", 0, cut) if kind == "jsonl" else cut
            counted = raw.tell()
            del held[:cut]
    if held or (kind == "text" and not start):  # an empty file is an empty document
        yield FileSpan(source.path, kind, start, 0, bytes(held)), source.size - counted


def _filled(path: str, lines: Iterable[bytes], chunk_bytes: int, size: int = 0) -> Iterator[tuple[FileSpan, int]]:
    """Spans of records, each given as a line of JSON; the last one stands for the bytes of the file."""
    start, held, length = 1, list[bytes](), 0
    for line in lines:
        held.append(line)
        length += len(line) + 1
        if length >= chunk_bytes:
            yield FileSpan(path, "records", start, 0, b"\n".join(held)), 0 if size else length
            start, held, length = start + len(held), [], 0
    if held or size:
        yield FileSpan(path, "records", start, 0, b"\n".join(held)), size or length


def _records(source: Source, field: str) -> Iterator[bytes]:
    """The records of a JSON file or a table, each a line of JSON; bytes that are not UTF-8 stay as they are."""
    if source.kind == "json":
        for value in json_values(source.path, source.compression):
            yield value.replace("\n", " ").encode(errors="surrogateescape")  # no string of JSON holds a line feed itself
        return
    lines = read_lines(source.path, "surrogateescape")
    for row, number in table_rows(lines, source.path, tabs=source.kind == "tsv"):
        if field not in row:
            raise SourceError(f"{source.path}, line {number}: {no_column(field, list(row))}")
        yield json.dumps({field: row[field]}, ensure_ascii=False).encode(errors="surrogateescape")


def _row_groups(source: Source, field: str) -> Iterator[tuple[FileSpan, int]]:
    import pyarrow

    with parquet_file(source.path) as file:
        schema, groups = file.schema_arrow, file.metadata.num_row_groups
    if field not in schema.names:
        raise SourceError(f"{source.path}: {no_column(field, schema.names)}")
    kind = schema.field(field).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise SourceError(f"{source.path}: column {field!r} holds {kind}, not strings. Give another field=….")
    for group in range(groups):
        yield FileSpan(source.path, "parquet", group, group + 1), source.size // groups
