"""Files of records in, mappings from column to value out: JSON lines, JSON arrays, CSV, TSV, Parquet.

    .jsonl .jsonlines .ndjson .ldjson   one JSON object a line
    .json            the same; or one array of objects; or objects one after another, over any number of lines
    .csv .tsv        a table, whose first line names the columns: tables.py
    .parquet         columns with their names: parquet.py

Every error names the file and the line, record or row.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tfllm.corpus.formats import KINDS, PathLike, SourceError, format_of, suffix_of
from tfllm.corpus.lines import encoding_advice, read_characters, read_lines
from tfllm.corpus.parquet import parquet_records
from tfllm.corpus.tables import table_rows

SUFFIXES = tuple(suffix for suffix in KINDS if suffix != ".ipynb")

LARGEST_FIRST = 1 << 24
"""Characters of a JSON file that are looked at to tell its shape: its first record is in them."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Shape(NamedTuple):
    """How a JSON file is written: "lines", "array", "values" (one or several, over any number of lines), or "" for none of
    them; and its first record."""

    kind: str
    first: Any = None


def read_records(path: PathLike) -> Iterator[tuple[Mapping[str, Any], str]]:
    r"""The records of a file, each with its place; the format goes by the suffix.

        t.csv:  "text,label\nfine,pos\n\"so,\nso\",neg\n"
        -> {"text": "fine", "label": "pos"}, "t.csv, line 2"
           {"text": "so,\nso", "label": "neg"}, "t.csv, line 3"
        t.json: [{"text": "fine"}, {"text": "so"}]
        -> {"text": "fine"}, "t.json, record 1"
           {"text": "so"}, "t.json, record 2"

    Raises:
        SourceError: the suffix, a line's JSON, its quotes or the number of its columns; a table without records.
    """
    kind, compression = format_of(path)
    if kind == "json" and (shape := json_shape(path, compression).kind) != "lines":
        # What is no JSON at all is named by its line.
        return _read_values(path, compression) if shape else _read_json_lines(path)
    if kind in ("jsonl", "json"):
        return _read_json_lines(path)
    if kind in ("csv", "tsv"):
        rows = table_rows(read_lines(path), path, tabs=kind == "tsv")
        return ((columns, f"{path}, line {number}") for columns, number in rows)
    if kind == "parquet":
        return parquet_records(path)
    raise SourceError(
        f"{path}: the suffix {suffix_of(path)!r} is invalid: expected {', '.join(SUFFIXES)}, all but .parquet also as .gz, "
        ".zst, .bz2, .xz. Convert the file."
    )


def json_object(text: str, place: str) -> dict[str, Any]:
    """A JSON object, or a SourceError that names the place."""
    try:
        record = json.loads(text)
    except RecursionError as error:
        raise SourceError(f"{place}: JSON nested too deeply to be read. Correct or remove it.") from error
    except json.JSONDecodeError as error:
        raise SourceError(f"{place}: bad JSON at column {error.colno} ({error.msg}). Give one JSON object a line.") from None
    except ValueError as error:  # an integer of thousands of digits
        raise SourceError(f"{place}: bad JSON ({error}). Correct or remove it.") from None
    if not isinstance(record, dict):
        raise SourceError(
            f"{place}: the JSON is {text.strip():.60}: expected an object, such as {{'text': …}}. Give one JSON object a line."
        )
    return record


def json_shape(path: PathLike, compression: str) -> Shape:
    r"""How a JSON file is written, from its beginning.

    '{"text": "a"}\n{"text": "b"}\n'  -> lines, {"text": "a"}
    '[\n {"text": "a"}\n]'            -> array, {"text": "a"}
    '{\n "name": "x"\n}\n'            -> values, {"name": "x"}
    """
    text = _Text(read_characters(path, compression), path)
    array = text.peek() == "["
    if array:
        text.place += 1
        if text.peek() == "]":
            return Shape("array")
    try:
        value = text.value(LARGEST_FIRST)
    except SourceError:
        return Shape("")
    if array:
        return Shape("array", text.found)
    return Shape("lines" if "\n" not in value and text.ends_line() else "values", text.found)


def json_values(path: PathLike, compression: str) -> Iterator[str]:
    r"""The JSON of each element of an array, or of each value, where they follow one another.

    '[{"a": 1},\n {"a":\n 2}]' -> '{"a": 1}', '{"a":\n 2}'

    Raises:
        SourceError: what is there is no JSON, or goes on after the array.
    """
    text = _Text(read_characters(path, compression), path)
    if text.peek() != "[":
        while text.peek():
            yield text.value()
        return
    text.place += 1
    while text.peek() != "]" or text.count:
        yield text.value()
        after = text.peek()
        if after not in (",", "]"):
            raise text.error(f"{after!r} stands" if after else "the file ends", "Give a comma, or ] at the end of the array.")
        if after == "]":
            break
        text.place += 1
        if text.peek() == "]":
            raise text.error("a comma stands", "Remove it: no record follows.")
    text.place += 1
    if text.peek():
        raise text.error("the array ends, and more follows", "Give one array, or one JSON object a line.")


class _Text:
    """Characters of a file as they are read, from `place` on; `count` values were taken, the last is `found`."""

    def __init__(self, blocks: Iterator[str], path: PathLike):
        self.blocks, self.path = blocks, path
        self.buffer, self.place, self.count = "", 0, 0
        self.found: Any = None

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            space = _SPACE.match(self.buffer, self.place)
            self.place = space.end() if space else self.place
            if self.place < len(self.buffer):
                return self.buffer[self.place]
            if not self.more():
                return ""

    def value(self, most: int = sys.maxsize) -> str:
        """The JSON value that begins here."""
        self.peek()
        while True:
            try:
                self.found, end = _DECODER.raw_decode(self.buffer, self.place)
                break
            except RecursionError as error:
                raise SourceError(f"{self.where()}: JSON nested too deeply to be read. Correct or remove it.") from error
            except json.JSONDecodeError as error:
                if len(self.buffer) - self.place > most or not self.more():
                    raise SourceError(f"{self.where()}: bad JSON ({error.msg}). Correct or remove it.") from None
            except ValueError as error:
                raise SourceError(f"{self.where()}: bad JSON ({error}). Correct or remove it.") from None
        value, self.place, self.count = self.buffer[self.place : end], end, self.count + 1
        return value

    def ends_line(self) -> bool:
        """Whether nothing else stands on the line."""
        while not self.buffer[self.place :].strip(" \t\r") and self.more():
            pass
        return self.buffer[self.place :].lstrip(" \t\r")[:1] in ("", "\n")

    def more(self) -> bool:
        """Read on: at least as much as is held, so that a long value is not decoded too often. False at the end."""
        blocks, size, least = [self.buffer[self.place :]], 0, len(self.buffer) - self.place
        for block in self.blocks:
            blocks.append(block)
            size += len(block)
            if size and size >= least:
                break
        self.buffer, self.place = "".join(blocks), 0
        return bool(size)

    def where(self) -> str:
        return f"{self.path}, record {self.count + 1}"

    def error(self, found: str, advice: str) -> SourceError:
        return SourceError(f"{self.path}: after record {self.count} {found}. {advice}")


def _read_json_lines(path: PathLike) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, line in read_lines(path):
        if line.strip():
            place = f"{path}, line {number}"
            yield json_object(line, place), place


def _read_values(path: PathLike, compression: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, value in enumerate(json_values(path, compression), 1):
        place = f"{path}, record {number}"
        try:
            value.encode()
        except UnicodeEncodeError as error:
            byte = ord(value[error.start]) - 0xDC00
            raise SourceError(f"{place}: byte 0x{byte:02X} is not UTF-8. {encoding_advice(bytes([byte]), path)}") from None
        yield json_object(value, place), place
