"""Data for text classification, regression and text embeddings.

In: tables, JSON or records with a text (or two) and a label, a number or nothing. Out: `Labelled`, tokenized rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import features, tokenizers
from tfllm.data.labelled.label_values import check_label, check_names, label_names
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.labelled.text_files import Row, Source, TextRecord, name_of, read_texts
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import text_budget, truncate_longest_first

_CHUNK = 4096


def text_classification(
    source: Source,
    tokenizer: Tokenizer | str | Path,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
    max_length: int = 128,
    skip_empty: bool = False,
) -> Labelled:
    """Rows of one text (or of two) and a class, or any number of classes.

        {"text": "hé", "label": "pos"}, {"text": "no", "label": "neg"}, tokenizer of bytes
        -> labels neg pos; first 107 198 172 | 113 114; LABELS 1 0
        {"text": "hé", "label": ["pos", "glad"]}, {"text": "no", "label": []}, multi_label=True
        -> labels glad pos; LABELS 1 1 | 0 0

    Args:
        source: a file (corpus/records.py: tables and JSON, compressed or not), or mappings.
        text, pair, label: names of columns.
        labels: in the order of their numbers, as the training data's `labels` are; left out: those of the source, sorted.
            Named, they are read whatever they look like: "-1", "1.5", "nan".
        multi_label: any number of labels a row: lists, strings like "pos|glad", or lists of 0 and 1 with all `labels` named.
        max_length: of a row, specials included. A text too long loses its end; of two, the longer loses first.
        skip_empty: pass over empty texts, which are errors otherwise.

    Raises:
        ValueError: names file and line; see text_files.py and label_values.py.

    Warns:
        UserWarning: a text comes twice, with different labels.
    """
    tokenizer = tokenizers.get(tokenizer)
    labels = None if labels is None else label_names((), labels)
    kinds: dict[str, Any] = dict(multi_label=multi_label, labels=labels)
    records = read_texts(source, text=text, pair=pair, label=label, **kinds, skip_empty=skip_empty)
    found: dict[str, str] = {}
    for record in records:
        found |= {name: record.place for name in record.labels if name not in found}
    if labels is None:
        check_names(found, several=any(len(record.labels) > 1 for record in records) if multi_label else None)
    if not multi_label:
        _warn_of_contradictions(records, name_of(source))
    names = label_names(found, labels)
    numbers = {name: number for number, name in enumerate(names)}
    classes: np.ndarray
    if multi_label:
        classes = np.zeros([len(records), len(names)], np.float32)
        for row, record in zip(classes, records, strict=True):
            row[[check_label(name, numbers, record.place) for name in record.labels]] = 1
    else:
        classes = np.array([check_label(record.labels[0], numbers, record.place) for record in records], np.int32)
    made = _labelled(records, tokenizer, max_length, task="text_classifier", values=classes)
    return replace(made, labels=names, multi_label=multi_label)


def regression(
    source: Source,
    tokenizer: Tokenizer | str | Path,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    max_length: int = 128,
    skip_empty: bool = False,
) -> Labelled:
    """Rows of one text (or of two) and a number.

    {"text": "hé", "label": 0.5} -> first 107 198 172; LABELS 0.5 (float32)
    """
    tokenizer = tokenizers.get(tokenizer)
    records = read_texts(source, text=text, pair=pair, number=label, skip_empty=skip_empty)
    numbers = np.array([record.number for record in records], np.float32)
    return _labelled(records, tokenizer, max_length, task="text_regressor", values=numbers)


def text_pairs(
    source: Source,
    tokenizer: Tokenizer | str | Path,
    *,
    text: str = "text",
    pair: str = "text_pair",
    max_length: int = 128,
    skip_empty: bool = False,
) -> Labelled:
    """Two rows a record, 2i and 2i + 1, which every batch keeps so: what belongs together, for contrastive learning.

        {"text": "hé", "text_pair": "no"}, {"text": "oh", "text_pair": "no"}
        -> first 107 198 172 | 113 114 | 114 107 | 113 114; TEXT_NUMBERS 0 1 2 1

    Several texts may share a partner, as questions share an answer: rows of the same ids have the same number, and no text is
    told from its equals.

    Raises:
        ValueError: names file and line; see text_files.py. A column says that a pair does not belong together ("label" 0), how
            well it does ("score"), or holds what does not belong ("negative").
    """
    tokenizer = tokenizers.get(tokenizer)
    records = read_texts(source, text=text, pair=pair, skip_empty=skip_empty, check=partial(_check_pair, used=(text, pair)))
    both = [one for record in records for one in (record.text, record.pair or "")]
    first = _encoded(both, None, tokenizer, max_length).first
    return Labelled(
        task="text_embedder",
        tokenizer=tokenizer,
        max_length=max_length,
        records=records,
        record_of=np.repeat(np.arange(len(records), dtype=np.int32), 2),
        first=first,
        row_features={features.TEXT_NUMBERS: first.numbers()},
        together=2,
    )


_OF_PAIRS = ("label", "labels", "gold_label", "target", "is_duplicate", "quality", "score", "similarity", "relatedness_score")
"""Columns of published data sets that say whether, or how well, two texts belong together."""


def _check_pair(row: Row, used: Sequence[str]) -> None:
    """Raises ValueError where another column of a pair says more than that it belongs together."""
    for name, value in row.columns.items():
        negative = "negative" in str(name).casefold()
        together = str(value).strip().casefold() in ("1", "1.0", "true")
        if name not in used and (negative or (str(name).casefold() in _OF_PAIRS and not together)):
            advice = (
                "The second texts of other rows are the negatives: remove the column"
                if negative
                else "Every pair is trained on as texts that belong together: keep only the rows of such pairs, and remove "
                "the column or make it 1"
            )
            raise ValueError(f"{row.place}: the column {name!r} is {value!r:.60}, which would be ignored. {advice}.")


def _warn_of_contradictions(records: Sequence[TextRecord], name: str) -> None:
    first: dict[tuple[str, str | None], TextRecord] = {}
    found: dict[tuple[str, str | None], tuple[TextRecord, TextRecord]] = {}
    for record in records:
        before = first.setdefault((record.text, record.pair), record)
        if before.labels != record.labels:
            found.setdefault((record.text, record.pair), (before, record))
    if found:
        one, other = next(iter(found.values()))
        warnings.warn(
            f"{name}: {len(found)} texts have different labels in different rows; the first, {one.text!r:.40}, is "
            f"{one.labels[0]!r} at {one.place} and {other.labels[0]!r} at {other.place}",
            stacklevel=3,
        )


@dataclass(frozen=True)
class _Encoded:
    first: Flat
    second: Flat | None


def _labelled(
    records: Sequence[TextRecord], tokenizer: Tokenizer, max_length: int, *, task: str, values: np.ndarray
) -> Labelled:
    pairs = None if records[0].pair is None else [record.pair or "" for record in records]
    rows = _encoded([record.text for record in records], pairs, tokenizer, max_length)
    return Labelled(
        task=task,
        tokenizer=tokenizer,
        max_length=max_length,
        records=records,
        record_of=np.arange(len(records), dtype=np.int32),
        first=rows.first,
        second=rows.second,
        row_features={features.LABELS: values},
    )


def _encoded(texts: Sequence[str], pairs: Sequence[str] | None, tokenizer: Tokenizer, max_length: int) -> _Encoded:
    """Ids, cut as `build_encoder_inputs` would cut them: nothing is kept that no batch shows."""
    budget = text_budget(tokenizer, max_length, pair=pairs is not None)
    firsts, seconds, cut = [], [], 0
    for begin in range(0, len(texts), _CHUNK):
        first = tokenizer.encode_batch(texts[begin : begin + _CHUNK])
        if pairs is None:
            cut += sum(len(ids) > budget for ids in first)
            firsts.append(Flat.of([ids[:budget] for ids in first]))
            continue
        second = tokenizer.encode_batch(pairs[begin : begin + _CHUNK])
        cut += sum(len(ids) + len(other) > budget for ids, other in zip(first, second, strict=True))
        kept = [truncate_longest_first(len(ids), len(other), budget) for ids, other in zip(first, second, strict=True)]
        firsts.append(Flat.of([ids[:length] for ids, (length, _) in zip(first, kept, strict=True)]))
        seconds.append(Flat.of([ids[:length] for ids, (_, length) in zip(second, kept, strict=True)]))
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} texts or pairs are longer than max_length={max_length} and lose their ends, here and in "
            "`predict`: give a larger max_length if these ends matter",
            stacklevel=4,
        )
    return _Encoded(Flat.joined(firsts), None if pairs is None else Flat.joined(seconds))
