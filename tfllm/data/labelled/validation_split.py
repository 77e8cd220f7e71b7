"""A share of labelled rows, held out for validation.

In: labelled rows. Out: the rows to train on, and the rows to choose the best epoch by.
The sha256 of a text decides on which side its record is. So the split is the same in every process and for any order of the
file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfllm import features
from tfllm.data.labelled.conll_files import Sentence
from tfllm.data.labelled.extractive_qa import Questions
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.labelled.token_classification import Parts, Tagged

Rows = TypeVar("Rows", bound=Labelled)


def split(rows: Rows, *, validation: float) -> tuple[Rows, Rows]:
    """A share of the records held out; both parts keep the labels of all.

        texts "a" "b" "a" "c" (sha256 ca97… 3e23… ca97… 2e7d…), validation 0.25 -> "a" "b" "a" | "c"
        validation 0.5: "c" and "b" are held out, for their hashes are lowest -> "a" "a" | "b" "c"

    Records with an equal text are held out together: equal texts, words of a sentence, contexts of questions, first texts of
    labelled pairs, and of pairs for an embedder either text. Such groups are taken by their lowest hash as long as the share is
    not exceeded; the first is taken in any case.

    Args:
        rows: of any task, from a function of `tfllm.data`.
        validation: above 0 and below 1.

    Returns:
        Rows to train on, rows to validate with; each in the order they had.

    Raises:
        ValueError: the share is out of range, or all records hang together by equal texts.
    """
    if not 0 < validation < 1:
        raise ValueError(f"validation={validation!r} is invalid: expected a fraction above 0 and below 1.")
    contents = [_texts(rows.task, record) for record in rows.records]
    group = _grouped(contents)
    lowest: dict[int, bytes] = {}
    for number, texts in zip(group.tolist(), contents, strict=True):
        lowest[number] = min(lowest.get(number, b"\xff"), *(hashlib.sha256(text.encode()).digest() for text in texts))
    if len(lowest) < 2:
        raise ValueError(
            f"validation={validation} is invalid: expected at least two groups of records with different texts, and these "
            f"{len(rows.records)} records are one group. Give a file of other texts for validation."
        )
    sizes = np.bincount(group)
    held_out: list[int] = []
    room = validation * len(rows.records)
    for number in sorted(lowest, key=lowest.__getitem__):
        if not held_out or sizes[number] <= room:
            held_out.append(number)
            room -= sizes[number]
    apart = np.isin(group, held_out)
    return _select(rows, np.flatnonzero(~apart)), _select(rows, np.flatnonzero(apart))


def _texts(task: str, record: Any) -> tuple[str, ...]:
    """What two records may share only on one side."""
    if isinstance(record, Sentence):
        return (" ".join(record.words),)
    if task == "question_answerer":
        return (record.context,)
    return (record.text, record.pair) if task == "text_embedder" else (record.text,)


def _grouped(contents: Sequence[tuple[str, ...]]) -> np.ndarray:
    """A number for each record, the same for those that an equal text joins: ("a", "b") ("c",) ("b", "d") -> 0 2 0."""
    numbers: dict[str, int] = {}
    for texts in contents:
        for text in texts:
            numbers.setdefault(text, len(numbers))
    links = np.array([[numbers[texts[0]], numbers[text]] for texts in contents for text in texts], np.int64)
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(len(numbers), len(numbers)))
    _, component = connected_components(graph, directed=False)
    return np.array([component[numbers[texts[0]]] for texts in contents])


def _select(rows: Rows, records: np.ndarray) -> Rows:
    """The rows of some records, numbered anew."""
    number = np.full(len(rows.records), -1, np.int32)
    number[records] = np.arange(len(records))
    kept = np.flatnonzero(number[rows.record_of] >= 0)
    ids = _places(rows.first, kept)
    own: dict[str, Any] = {}
    if isinstance(rows, Tagged):
        own = _of_words(rows, records, kept, number)
    if isinstance(rows, Questions):
        own = _of_questions(rows, records, kept)
    return replace(
        rows,
        records=[rows.records[record] for record in records],
        record_of=number[rows.record_of[kept]],
        first=_taken(rows.first, kept),
        second=None if rows.second is None else _taken(rows.second, kept),
        row_features={name: array[kept] for name, array in rows.row_features.items()},
        token_features={name: array[ids] for name, array in rows.token_features.items()},
        **own,
    )


def _of_words(rows: Tagged, records: np.ndarray, kept: np.ndarray, number: np.ndarray) -> dict[str, Any]:
    words, parts = np.isin(rows.word_rows, kept), rows.parts
    there = number[parts.sentences] >= 0
    return dict(
        word_rows=np.searchsorted(kept, rows.word_rows[words]).astype(np.int32),
        word_places=rows.word_places[words],
        parts=Parts(
            sentences=number[parts.sentences[there]],
            starts=parts.starts[there],
            ends=parts.ends[there],
            rows=np.searchsorted(kept, parts.rows[there]).astype(np.int32),
            places=parts.places[there],
        ),
        exact=rows.exact[records],
    )


def _of_questions(rows: Questions, records: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    starts, ends = (rows.row_features[name][kept] for name in (features.SPAN_STARTS, features.SPAN_ENDS))
    return dict(
        context_of=rows.context_of[records],
        windows=rows.windows[kept],
        exact=rows.exact[records],
        longest_answer=int((ends - starts + 1)[starts > 0].max(initial=0)),
    )


def _places(flat: Flat, rows: np.ndarray) -> np.ndarray:
    """Where the values of some rows stand: splits 0 2 2 3, rows 0 2 -> 0 1 2."""
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(*flat.splits[row : row + 2]) for row in rows)])


def _taken(flat: Flat, rows: np.ndarray) -> Flat:
    return Flat(flat.values[_places(flat, rows)], np.append(0, np.cumsum(flat.lengths[rows])))
