"""Records of words and their labels in, as Hugging Face's datasets write them, sentences out, checked; pure Python.

    .jsonl .ndjson .json .parquet, or mappings: `tokens`, and a list of labels, one a token, in one of LABEL_COLUMNS

Labels are strings, or numbers where the names of all labels are given. A record is a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from tfllm.data.labelled.conll_files import Sentence, as_iob2, is_labelled
from tfllm.data.labelled.tag_schemes import iob2_labels
from tfllm.data.labelled.text_files import Row, Source, check_utf8, name_of, read_rows

WORD_COLUMN = "tokens"
LABEL_COLUMNS = ("ner_tags", "tags", "labels", "pos_tags")


def read_tokens(
    source: Source,
    *,
    column: int | str | None = None,
    word_column: int | str | None = None,
    names: Sequence[str] | None = None,
) -> list[Sentence]:
    """Sentences of records, entity tags as IOB2.

        {"tokens": ["EU", "rejects"], "ner_tags": ["I-ORG", "O"]}, line 1
        -> Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.jsonl, line 1")
        {"tokens": ["EU", "rejects"], "ner_tags": [1, 0]}, names O B-ORG
        -> the same

    Args:
        column: of the labels; by default the one of LABEL_COLUMNS that is there.
        word_column: of the words.
        names: of labels that are numbers, each at the place of its number.

    Raises:
        ValueError: a column is not there, or is no list; numbers of labels are not those of words; a number has no name.
    """
    words = _name(word_column, "word_column", source) or WORD_COLUMN
    tags = _name(column, "column", source)
    sentences = [_sentence(row, words, tags, names) for row in read_rows(source)]
    if not sentences:
        raise ValueError(f"{name_of(source)} holds no record. Give at least one.")
    return as_iob2(sentences)


def _name(column: int | str | None, argument: str, source: Source) -> str | None:
    if column is None or isinstance(column, str):
        return column
    raise ValueError(
        f"{name_of(source)}: {argument}={column!r} is invalid: expected the name of a column. Give one of the records' names."
    )


def _sentence(row: Row, word_column: str, column: str | None, names: Sequence[str] | None) -> Sentence:
    column = column or _label_column(row)
    words, given = _listed(row, word_column, "word_column"), _listed(row, column, "column")
    if len(given) != len(words):
        raise ValueError(
            f"{row.place}: {len(words)} words and {len(given)} labels: expected one label for each word. Correct the record."
        )
    labels = [_label(value, f"{row.place}, word {number}", column, names) for number, value in enumerate(given, 1)]
    for number, (word, label) in enumerate(zip(words, labels, strict=True), 1):
        if not isinstance(word, str) or not is_labelled(check_utf8(word, row.place), check_utf8(label, row.place)):
            raise ValueError(
                f"{row.place}, word {number}: no word, or no label: {word!r:.60}, {label!r:.60}. Fill it in, or name other "
                "columns: word_column=…, column=…."
            )
    return Sentence(tuple(words), tuple(labels), (True,) * len(words), row.place)


def _label_column(row: Row) -> str:
    there = [name for name in LABEL_COLUMNS if name in row.columns]
    if len(there) == 1:
        return there[0]
    found = " and ".join(map(repr, there)) or f"none of {', '.join(map(repr, LABEL_COLUMNS))}"
    named = ", ".join(f"column={name!r}" for name in there[:1]) or "column=…"
    raise ValueError(
        f"{row.place}: of the columns {', '.join(map(repr, row.columns))}, {found} may hold the labels. Name one: {named}."
    )


def _listed(row: Row, column: str, argument: str) -> list[Any]:
    """A column that must be a list with something in it."""
    if column not in row.columns:
        raise ValueError(
            f"{row.place}: there is no column {column!r}, only {', '.join(map(repr, row.columns))}. Name it: {argument}=…."
        )
    value = row.columns[column]
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(
            f"{row.place}: the column {column!r} is {value!r:.60}: expected a list of one word or more. Correct it, or remove "
            "the record."
        )
    return list(value)


def _label(value: Any, place: str, column: str, names: Sequence[str] | None) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{place}: the label is {value!r:.60}: expected a string, or a number with labels=[…].")
    number = int(value)
    if names is None:
        raise ValueError(
            f"{place}: the label is the number {number}, not a name. Give the names in the order of their numbers: "
            f"labels=[…]; Hugging Face's datasets have them in dataset.features[{column!r}].feature.names."
        )
    if tuple(names) != iob2_labels(names):
        raise ValueError(
            f"{place}: the label is the number {number}, but labels=[…] names tags of another scheme than IOB2. Write the "
            "tags of other schemes as strings."
        )
    if not 0 <= number < len(names):
        raise ValueError(
            f"{place}: the label is the number {number}: expected 0 to {len(names) - 1}, since labels=[…] has {len(names)} "
            "names. Name all labels, or remove the record."
        )
    return names[number]
