"""Labelled files of texts, read and checked. Pure Python.

In: .csv .tsv .jsonl .ndjson .json, each also as .gz .zst .bz2 .xz, and .parquet (tfllm/corpus/records.py); or records.
Out: `Row`s (a record and its place) and `TextRecord`s. Every error names the file and the line.
Files of words and of questions: conll_files.py, token_records.py, question_files.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfllm.corpus.formats import KINDS, PathLike, suffix_of
from tfllm.corpus.records import read_records
from tfllm.corpus.surrogates import lone_surrogate
from tfllm.data.labelled.label_values import read_label, read_labels, read_number

Source = PathLike | Iterable[PathLike] | Iterable[Mapping[str, Any]]
"""A file, several files, or records as they would stand in one: mappings from column to value."""


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


def parts_of(source: Any) -> list[PathLike | list[Any]]:
    """The files of a source, and its records between them.

    "a.csv" -> ["a.csv"]        ["a.csv", "b.csv"] -> ["a.csv", "b.csv"]        [{"text": "a"}] -> [[{"text": "a"}]]
    """
    if isinstance(source, (str, os.PathLike)):
        return [source]
    parts: list[Any] = []
    for each in source:
        if _is_file(each):
            parts.append(each)
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(each)
        else:
            parts.append([each])
    return parts


def read_rows(source: Source) -> Iterator[Row]:
    r"""The records of files by their suffixes, or of any iterable of mappings.

        t.csv:  "text,label\nfine,pos\n\"so,\nso\",neg\n"
        -> Row({"text": "fine", "label": "pos"}, "t.csv, line 2")
           Row({"text": "so,\nso", "label": "neg"}, "t.csv, line 3")

    Raises:
        ValueError: the suffix, a line's JSON, its quotes or the number of its columns; an empty file.
    """
    for part in parts_of(source):
        if isinstance(part, list):
            yield from (_given(columns, number) for number, columns in enumerate(part, 1))
        else:
            yield from (Row(columns, place) for columns, place in read_records(part))


def read_texts(
    source: Source,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    multi_label: bool = False,
    labels: Sequence[str] | None = None,
    number: str | None = None,
    skip_empty: bool = False,
    check: Callable[[Row], None] | None = None,
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
        labels: all that may come; what looks like another convention's value (label_values.py) is a name if it is among them.
        skip_empty: pass over records with an empty text (nothing but white space); else they are errors.
        check: raises an error where a record cannot be read so.

    Raises:
        ValueError: a column that is not there, an empty text, no label, a value of another type; a source without records.
    """
    records, names = [], tuple(labels or ())
    for argument, column in dict(text=text, pair=pair, label=label if number is None else number).items():
        if column is not None and not isinstance(column, str):
            several = argument == "label" and number is None
            lists = f" If each label has a column of its own, make one column of lists: {_AS_ONE}" if several else ""
            raise ValueError(f"{argument}={column!r} is invalid: expected the name of one column.{lists}")
    read = read_labels if multi_label else _one_label
    for row in read_rows(source):
        if check is not None:
            check(row)
        texts = [_text(row, column, argument) for column, argument in ((text, "text"), (pair, "pair")) if column is not None]
        empty = [column for column, value in zip((text, pair), texts, strict=False) if not value.strip()]
        if empty and skip_empty:
            continue
        if empty:
            raise ValueError(f"{row.place}: the column {empty[0]!r} is empty. Fill it, or pass skip_empty=True.")
        found = () if label is None else read(column_of(row, label, "label"), row.place, names)
        value = 0.0 if number is None else read_number(column_of(row, number, "label"), number, row.place)
        for name in found:
            check_utf8(name, row.place)
        records.append(TextRecord(texts[0], texts[1] if pair else None, found, value, row.place))
    if not records:
        raise ValueError(f"{name_of(source)} holds no record{' with a text' if skip_empty else ''}. Give at least one.")
    return records


_AS_ONE = (
    "[row | {'label': [row[name] for name in names]} for row in rows], with label='label', multi_label=True, labels=names."
)


def name_of(source: Any) -> str:
    """The name of a source in errors and warnings: ["a.csv", "b.csv"] -> a.csv and 1 more."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (list, tuple)) and source and _is_file(source[0]):
        return os.fspath(source[0]) + (f" and {len(source) - 1} more" if len(source) > 1 else "")
    return "the records given"


def column_of(row: Row, column: str, argument: str = "") -> Any:
    """A column's value, or an error that names those there are, and one that is likely meant.

    Args:
        argument: what names the column: "text", "pair" or "label"; "" where its name is fixed.
    """
    if column not in row.columns:
        there = f"{row.place}: there is no column {column!r}, only {', '.join(map(repr, row.columns))}."
        if not argument:
            raise ValueError(f"{there} Give each record one.")
        for name, value in row.columns.items():
            if isinstance(value, list) and value and isinstance(value[0], Mapping):
                raise ValueError(f"{there} Are the records in {name!r}? Write only that list, without the object around it.")
        pairs = [two for two in _PAIRS if argument != "label" and row.columns.keys() >= set(two)]
        likely = dict(zip(("text", "pair"), pairs[0], strict=True)) if pairs else _likely(row, argument)
        named = ", ".join(f"{name}={value!r}" for name, value in likely.items()) or f"{argument}=…"
        raise ValueError(f"{there} Name it: {named}. If a table has no first line of names, add one.")
    return row.columns[column]


def _likely(row: Row, argument: str) -> dict[str, str]:
    """The column that is likely the text, its pair or the label, if one is."""
    usual = [name for name in row.columns if name.casefold() in _USUAL[argument]]
    return {argument: usual[0]} if usual else {}


_PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("query", "passage"),
    ("anchor", "positive"),
)
_USUAL = {
    "text": {"text", "sentence", "content", "review", "comment", "tweet", "body", "question", "query", "title", "message"},
    "pair": {"text_pair", "sentence2", "hypothesis", "answer", "passage", "positive", "response", "context"},
    "label": {"label", "labels", "target", "class", "sentiment", "category", "score", "rating", "gold_label", "stars", "topic"},
}
"""Names of columns in published data sets."""


def check_utf8(text: str, place: str) -> str:
    """The text, or a ValueError: JSON can spell one half of a surrogate pair."""
    if problem := lone_surrogate(text):
        raise ValueError(f"{place}: {problem}. Remove it.")
    return text


def string_of(row: Row, column: str) -> str:
    """A column that must be a string."""
    value = column_of(row, column)
    if not isinstance(value, str):
        raise ValueError(f"{row.place}: the column {column!r} is {value!r:.60}: expected a string. Write it as a string.")
    return check_utf8(value, row.place)


def _is_file(value: Any) -> bool:
    """Is it a path? A string is if a file has this name, or if it ends as the name of a labelled file does."""
    if not isinstance(value, str):
        return isinstance(value, os.PathLike)
    return suffix_of(value) in (*KINDS, ".conll", ".conllu") or os.path.isfile(value)  # noqa: PTH113 - any string, no Path


def _given(columns: Any, number: int) -> Row:
    if not isinstance(columns, Mapping):
        raise ValueError(
            f"record {number} is {columns!r:.60}: expected a mapping from column to value, or the path of a labelled file."
        )
    return Row(columns, f"record {number}")


def _text(row: Row, column: str, argument: str) -> str:
    value = column_of(row, column, argument)
    return "" if value is None else string_of(row, column)


def _one_label(value: Any, place: str, names: Sequence[str]) -> tuple[str, ...]:
    return (read_label(value, place, names),)
