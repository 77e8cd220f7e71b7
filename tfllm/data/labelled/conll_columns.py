"""Columns of CoNLL files that nobody named: errors where the first seems to hold no words, the last no labels; pure Python.

1 EU B-ORG ann     w1 EU B-ORG     0:1 EU B-ORG     the first column counts
B-ORG EU                                            it holds tags
EU B-ORG 0.99                                       another column holds tags; the last holds numbers
EU|B-ORG rejects|O     EU_NNP rejects_VBZ           each cell is a word and its label
Token Tag                                           the first line names the columns
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tfllm.corpus.formats import PathLike
from tfllm.data.labelled.tag_schemes import is_tag

_HEADS = {"token", "tokens", "word", "words", "form", "text"}
_LABEL_HEADS = {
    "tag",
    "tags",
    "label",
    "labels",
    "pos",
    "upos",
    "xpos",
    "pos_tag",
    "pos_tags",
    "ner",
    "ner_tag",
    "ner_tags",
    "entity",
}
_CONLLU_WIDTH = 10
_MANY = 20


def check_columns_by_content(
    path: PathLike, numbers: Sequence[int], rows: Sequence[Sequence[str]], *, word: int | None, label: int | None
) -> None:
    """Raises ValueError where the first column seems to hold no words, or the last no labels.

    Args:
        numbers: of the lines of words.
        rows: their cells; as many in each as in the first, or they are left alone.
        word, label: the columns that were named; None: the first, the last.
    """
    kept = [(number, cells) for number, cells in zip(numbers, rows, strict=True) if len(cells) == len(rows[0])]
    line, columns = kept[0][0], list(zip(*(cells for _, cells in kept), strict=True))
    tags = [column for column, cells in enumerate(columns) if all(map(is_tag, cells)) and set(cells) != {"O"}]
    if word is None:
        if sign := _sign_in_cells(columns):
            raise ValueError(
                f"{path}, line {line}: each cell holds two values joined by {sign!r}: {columns[0][0]!r:.60}. Write a word, a "
                "tab and its label on each line, and a blank line after each sentence; or, if these are whole words, give "
                "word_column=0."
            )
        _check_words(path, kept, columns, tags, label)
    if label is None:
        _check_labels(path, line, columns, tags, 0 if word is None else word)
    if word is None:
        _check_head(path, kept[0], -1 if label is None else label)


def _sign_in_cells(columns: Sequence[Sequence[str]]) -> str | None:
    """The sign that parts every cell of a file into two."""
    for sign in "|/_":
        parts = [cell.rsplit(sign, 1) for column in columns for cell in column]
        if all(len(two) == 2 and all(two) for two in parts):
            return sign
    return None


def _check_words(
    path: PathLike,
    rows: Sequence[tuple[int, Sequence[str]]],
    columns: Sequence[Sequence[str]],
    tags: list[int],
    label: int | None,
) -> None:
    """Words are mostly of no one form with digits, and no tags."""
    if tags[:1] == [0]:
        columns_are = f"word_column=1, column={0 if label is None else label}"
        raise ValueError(
            f"{path}, line {rows[0][0]}: the first column holds tags: {columns[0][0]!r:.60}. Give the columns of the word and "
            f"of its label: {columns_are}; or word_column=0, if these are the words."
        )
    forms = [re.sub("[0-9]+", "1", cell) for cell in columns[0]]
    form, count = Counter(forms).most_common(1)[0]
    if "1" in form and 2 * count > len(forms) and len(columns) > 2:
        number, cells = rows[forms.index(form)]
        column = next((column for column in tags if column > 1), 2) if label is None else label
        conllu = " A CoNLL-U file is named .conllu." if len(columns) == _CONLLU_WIDTH else ""
        raise ValueError(
            f"{path}, line {number}: the first column counts the words: {' '.join(cells)!r:.60}. Give the columns of the word "
            f"and of its label: word_column=1, column={column}; or word_column=0, if these are the words.{conllu}"
        )


def _check_labels(path: PathLike, line: int, columns: Sequence[Sequence[str]], tags: list[int], word: int) -> None:
    """No other column than the last holds tags, if the last holds none; labels are no numbers with a point."""
    last, width = columns[-1], len(columns)
    others = [column for column in tags if column not in (word % width, width - 1)]
    if others and set(last) != {"O"} and not any(map(is_tag, {*last} - {"O"})):
        raise ValueError(
            f"{path}, line {line}: the last column holds no tags ({last[0]!r:.60}), but column {others[0]} does "
            f"({max(columns[others[0]], key=len)!r:.60}). Give the column of the label: column={others[0]}; or column=-1 if "
            "these are labels."
        )
    if all(re.fullmatch(r"[-+]?[0-9]*[.][0-9]+(e[-+]?[0-9]+)?", cell) for cell in last):
        raise ValueError(
            f"{path}, line {line}: the last column holds numbers ({last[0]!r:.60}), not labels. Give the column of the label: "
            "column=…; or column=-1 if these are labels."
        )
    words, labels = len(set(columns[word])), len(set(last))
    if len(last) >= _MANY and labels > words:
        raise ValueError(
            f"{path}, line {line}: the last column holds {labels} different labels, but the column of the words only {words} "
            f"different words: {columns[word][0]!r:.60}, {last[0]!r:.60}. Give the columns of the word and of its label: "
            "word_column=…, column=…; or column=-1 if these are labels."
        )


def _check_head(path: PathLike, row: tuple[int, Sequence[str]], label: int) -> None:
    line, first = row
    if first[0].casefold() in _HEADS and first[label].casefold() in _LABEL_HEADS:
        raise ValueError(
            f"{path}, line {line}: {first[0]!r} and {first[label]!r} seem to be names of columns. Remove the line; or, if "
            "these are a word and its label, give word_column=0."
        )
