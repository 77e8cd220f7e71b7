"""What a file holds, by its first bytes. In: a path. Out: whether it is text, or records of text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from tfllm.corpus.decompression import blocks_of, compression_in
from tfllm.corpus.formats import TEXT_SUFFIXES, Format, NotTextError, SourceError, kind_of, suffix_of
from tfllm.corpus.lines import BOM, encoding_advice, read_lines, wide_encoding
from tfllm.corpus.records import json_shape
from tfllm.corpus.tables import columns_of

HEAD_BYTES = 1 << 13

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*\{\s*\"")
"""How a file begins that may be JSON lines."""


def look_into(path: str, format: Format, field: str) -> tuple[str, bool]:
    """The kind of a file, by name and content, and whether it begins with a byte order mark; an error if it is no part of a
    corpus.

        LICENSE: "One licence"            -> "text", False
        part-00000: '{"text": "one"}\\n'  -> "jsonl", False

    Raises:
        NotTextError: it is not text, or holds records without a string `field`.
        SourceError: it is UTF-16, or cannot be unpacked.
    """
    if format.kind == "parquet":  # it says what it holds when it is read
        return format.kind, False
    head = next(blocks_of(path, format.compression, HEAD_BYTES), b"")[:HEAD_BYTES]
    if format.kind == "text" and suffix_of(path) not in TEXT_SUFFIXES:
        if not _is_text(head):
            raise NotTextError(kind_of(path), f"{path}: {_no_text(head, path)}")
    elif wide_encoding(head) and not (format.kind in ("text", "jsonl") and head.startswith(_MARKS)):  # which their readers name
        raise SourceError(f"{path}: {_no_text(head, path)}")
    if format.kind == "json":
        _check_json(path, format.compression, field)
    elif format.kind in ("csv", "tsv"):
        _check_table(path, format.kind == "tsv", field)
    elif format.kind == "text" and _OBJECT.match(head):
        shape, first = json_shape(path, format.compression)
        if shape == "lines" and isinstance(first, dict) and isinstance(first.get(field), str):
            return "jsonl", head.startswith(BOM)
    return format.kind, head.startswith(BOM)


def no_column(field: str, columns: Sequence[str]) -> str:
    """What is said where a column is missing.

    "text", ["id", "content"] -> there is no 'text', only 'id', 'content'. Give field=…
    """
    given = f"there is no {field!r}, only {', '.join(map(repr, columns)) or 'nothing'}. "
    outer = field.partition(".")[0]
    if outer in columns:
        return given + f"Nested fields are not supported: write it as a field of its own, as jq -c '{{text: .{field}}}' does."
    return given + "Give field=…, or exclude the file."


def _check_table(path: str, tabs: bool, field: str) -> None:
    kind = f"{kind_of(path)} without a column {field!r}"
    try:
        columns = columns_of(read_lines(path, "surrogateescape"), path, tabs=tabs)
    except SourceError as error:
        raise NotTextError(kind, str(error)) from error
    if field not in columns:
        raise NotTextError(kind, f"{path}: {no_column(field, columns)}")


def _check_json(path: str, compression: str, field: str) -> None:
    shape, first = json_shape(path, compression)
    kind = f"{kind_of(path)} without a string {field!r}"
    if isinstance(first, dict) and isinstance(first.get(field), str):
        return
    if isinstance(first, dict) and field in first:
        raise NotTextError(kind, f"{path}: the field {field!r} is no string but {first[field]!r:.40}. Give field=….")
    if isinstance(first, dict):
        raise NotTextError(kind, f"{path}: in its first object {no_column(field, list(first))}")
    what = f"begins with {first!r:.40}" if first is not None else "is an empty array" if shape == "array" else "is no JSON"
    raise NotTextError(
        kind, f"{path}: {what}: expected JSON lines, or an array of objects, such as {{{field!r}: …}}. Correct or exclude it."
    )


def _no_text(head: bytes, path: str) -> str:
    if b"\0" in head and not wide_encoding(head) and not compression_in(head):
        return "is binary, no text. Exclude it."
    return f"is no UTF-8 text. {encoding_advice(head, path)}; or exclude it."


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)  # else its end may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head
