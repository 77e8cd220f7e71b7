"""Labelled files in, records out, checked; pure Python.

    .csv                      comma separated, quoted as in RFC 4180; the first line names the columns
    .tsv                      tab separated, nothing quoted; the first line names the columns
    .jsonl                    one JSON object a line
    .gz after any of them     the same, compressed

Files of words and of questions: reading_words.py, reading_questions.py. Every error names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]
Source = PathLike | Iterable[Mapping[str, Any]]
"""A file, or records as they would stand in one: mappings from column to value."""

SEPARATOR = "|"
"""Between the labels of a cell, in CSV and TSV files with several labels a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it came: its columns, and the place that an error names."""

    columns: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class TextRecord:
    """A text, or two, and what is to be learnt of it."""

    text: str
    pair: str | None = None
    labels: tuple[str, ...] = ()
    number: float = 0.0
    place: str = ""
    """Where it came from: "train.csv, line 7"."""


def suffix_of(path: PathLike) -> str:
    """What a file's name says of its format: "a/Train.JSONL.gz" -> ".jsonl"."""
    return Path(os.fspath(path).lower().removesuffix(".gz")).suffix


def read_lines(path: PathLike) -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers from 1, decoded from UTF-8, line ends kept; a byte order mark is dropped.

        b"\xef\xbb\xbfa\nb" -> (1, "a\n"), (2, "b")

    Raises:
        ValueError: a line is not UTF-8, or the file is no gzip file though its name says so.
    """
    opener = gzip.open if os.fspath(path).lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: byte {error.start} (0x{error.object[error.start]:02X}) is not UTF-8. "
                "Convert the file to UTF-8, for example with iconv."
            ) from None
        except (gzip.BadGzipFile, EOFError) as error:
            raise ValueError(f"{path}, after line {number}: {error}. Compress the file again, or drop .gz.") from None


def read_rows(source: Source) -> Iterator[Row]:
    r"""The records of a file by its suffix, or of any iterable of mappings.

        t.csv:  "text,label\nfine,pos\n\"so,\nso\",neg\n"
        -> Row({"text": "fine", "label": "pos"}, "t.csv, line 2")
           Row({"text": "so,\nso", "label": "neg"}, "t.csv, line 3")

    Raises:
        ValueError: the suffix, a line's JSON, its quotes or the number of its columns; an empty file.
    """
    if not isinstance(source, (str, os.PathLike)):
        return (_given(columns, number) for number, columns in enumerate(source, 1))
    suffix = suffix_of(source)
    if suffix == ".jsonl":
        return _json_rows(source)
    if suffix in (".csv", ".tsv"):
        return _table_rows(source, tabs=suffix == ".tsv")
    raise ValueError(f"{source}: the suffix {suffix!r} is not accepted here: give .csv, .tsv or .jsonl, each also as .gz.")


def read_texts(
    source: Source,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    multi_label: bool = False,
    number: str | None = None,
    skip_empty: bool = False,
) -> list[TextRecord]:
    """Records of one text or two, with labels or a number.

        {"text": "fine", "label": "pos"}, label="label" -> TextRecord("fine", labels=("pos",))
        {"text": "fine", "label": "pos|glad"}, label="label", multi_label=True
        -> TextRecord("fine", labels=("pos", "glad"))
        {"text": "fine", "text_pair": "good", "score": "0.9"}, pair="text_pair", number="score"
        -> TextRecord("fine", "good", number=0.9)

    Args:
        text, pair, label, number: columns; None is not read. Others are left alone.
        multi_label: any number of labels a row: a list in JSON, split at "|" elsewhere, an empty cell for none.
        skip_empty: pass over records with an empty text (nothing but white space); else they are errors.

    Raises:
        ValueError: a column that is not there, an empty text, no label, a value of another type; a source without records.
    """
    records = []
    for row in read_rows(source):
        texts = [_text(row, column) for column in (text, pair) if column is not None]
        empty = [column for column, value in zip((text, pair), texts, strict=False) if not value.strip()]
        if empty and skip_empty:
            continue
        if empty:
            raise ValueError(f"{row.place}: the column {empty[0]!r} is empty. Fill it, or pass skip_empty=True.")
        labels = () if label is None else _labels(row, label, multi_label)
        value = 0.0 if number is None else _number(row, number)
        records.append(TextRecord(texts[0], texts[1] if pair else None, labels, value, row.place))
    if not records:
        raise ValueError(f"{name_of(source)} holds no record{' with a text' if skip_empty else ''}. Give at least one.")
    return records


def label_names(found: Iterable[str], given: Sequence[str] | None = None) -> tuple[str, ...]:
    """The labels, each at the place of its number: those given, else those found, sorted (whole numbers by size).

        neg pos pos -> neg pos        10 9 10 -1 -> -1 9 10

    Raises:
        ValueError: a label was given twice, or none at all.
    """
    names = sorted(set(found), key=_by_size) if given is None else list(given)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"Labels {names} are not accepted: give each once, as non-empty strings.")
    return tuple(names)


def _by_size(name: str) -> tuple[int, int, str]:
    whole = name.removeprefix("-").isdecimal()
    return (not whole, int(name) if whole else 0, name)


def check_label(label: str, names: Mapping[str, int], place: str) -> int:
    """The number of a label, or an error that names the line."""
    if label not in names:
        known = ", ".join(map(repr, list(names)[:12])) + (", …" if len(names) > 12 else "")
        raise ValueError(
            f"{place}: the label {label!r} is not among the {len(names)} accepted: {known}. Correct it, or name it."
        )
    return names[label]


def name_of(source: Any) -> str:
    """What an error calls a source."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the records given"


def column_of(row: Row, column: str) -> Any:
    """A column's value, or an error that names those there are."""
    if column not in row.columns:
        raise ValueError(
            f"{row.place}: there is no column {column!r}, only {', '.join(map(repr, row.columns))}. Name one of them."
        )
    return row.columns[column]


def check_utf8(text: str, place: str) -> str:
    """The text, or an error: JSON can spell a half of a surrogate pair, which no UTF-8 text holds."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: character {error.start} is the lone surrogate U+{ord(text[error.start]):04X}, which UTF-8 cannot write. "
            "Remove it."
        ) from None
    return text


def string_of(row: Row, column: str) -> str:
    """A column that must be a string."""
    value = column_of(row, column)
    if not isinstance(value, str):
        raise ValueError(f"{row.place}: the column {column!r} is {value!r:.60}, which is no string. Give a string.")
    return check_utf8(value, row.place)


def _given(columns: Any, number: int) -> Row:
    if not isinstance(columns, Mapping):
        raise ValueError(f"record {number} is {columns!r:.60}; accepted: a mapping from column to value.")
    return Row(columns, f"record {number}")


def _json_rows(path: PathLike) -> Iterator[Row]:
    for number, line in read_lines(path):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place}: bad JSON at column {error.colno} ({error.msg}). Give one JSON object a line.") from None
        if not isinstance(columns, dict):
            raise ValueError(f"{place}: the JSON is {line.strip():.60}; accepted: one object a line.")
        yield Row(columns, place)


def _table_rows(path: PathLike, *, tabs: bool) -> Iterator[Row]:
    # The csv module refuses cells over 128 KiB, which reviews and articles can be.
    csv.field_size_limit(sys.maxsize)
    lines = (line for _, line in read_lines(path))
    format = dict(delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else dict(strict=True)
    reader = csv.reader(lines, **format)
    header: list[str] = []
    blank: list[str] = []
    begin, empty = 1, True
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{path}, line {begin}: {_explained(error)}") from None
        place, begin = f"{path}, line {begin}", reader.line_num + 1
        if cells is None:
            break
        if not cells:
            blank += [place] if len(header) == 1 else []  # of one column, an empty cell is an empty line
            continue
        if header and len(cells) != len(header):
            raise ValueError(f"{place}: {len(cells)} columns; accepted: {len(header)}, as the first line names ({header}).")
        if header:
            empty = False
            yield from (Row({header[0]: ""}, each) for each in blank)  # but for those at the end
            blank = []
            yield Row(dict(zip(header, cells, strict=True)), place)
        elif len(set(cells)) < len(cells):
            raise ValueError(f"{place}: the first line names a column twice: {cells}. Give each its own name.")
        else:
            header = cells
    if not header:
        raise ValueError(f"{path} is empty. The first line names the columns, each other line is a record.")
    if empty:
        raise ValueError(f"{path} has no lines below its first, which names the columns ({header}). Give one a record.")


def _explained(error: csv.Error) -> str:
    # The module tells its errors apart by their messages only, and this one speaks of how to open files.
    if str(error).startswith("new-line character"):
        return "a carriage return (CR) stands alone. End lines with LF or CRLF, and quote a cell that holds a CR."
    return f"{error}. Double the quotes inside a quoted cell, and close it."


def _text(row: Row, column: str) -> str:
    value = column_of(row, column)
    return "" if value is None else string_of(row, column)


def _labels(row: Row, column: str, multi_label: bool) -> tuple[str, ...]:
    value = column_of(row, column)
    if multi_label:
        several = value.split(SEPARATOR) if isinstance(value, str) else value
        if not isinstance(several, (list, tuple)):
            raise ValueError(f"{row.place}: the labels {value!r:.60} are neither a list nor a string split at {SEPARATOR!r}.")
        return tuple(dict.fromkeys(_label(row, one) for one in several if one != ""))
    return (_label(row, value),)


def _label(row: Row, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    label = str(value) if isinstance(value, Integral) else value
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{row.place}: the label is {value!r:.60}; accepted: a string, a whole number, true or false.")
    return check_utf8(label.strip(), row.place)


def _number(row: Row, column: str) -> float:
    value = column_of(row, column)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError(f"{row.place}: the column {column!r} is {value!r:.60}; accepted: a finite number.")
    return number
