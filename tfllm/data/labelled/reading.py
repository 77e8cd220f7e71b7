"""Labelled files in, records out, checked; pure Python.

    .csv .tsv .jsonl .ndjson .json, each also as .gz .zst .bz2 .xz: tfllm/corpus/records.py

Files of words and of questions: reading_words.py, reading_questions.py. Every error names the file and the line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from tfllm.corpus.formats import PathLike
from tfllm.corpus.records import read_records

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
    return (Row(columns, place) for columns, place in read_records(source))


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
