"""Data for token classification: a label for each word (entities, parts of speech).

In: CoNLL or CoNLL-U files, JSON records of words and labels, or sentences. Out: `Tagged`, tokenized rows with a label on the
first piece of each word.
Source: Devlin et al. 2018 (arXiv 1810.04805), section 5.3.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import features, tokenizers
from tfllm.corpus.formats import KINDS, suffix_of
from tfllm.data.labelled.conll_files import Sentence, as_iob2, read_sentences
from tfllm.data.labelled.label_values import label_names
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.labelled.tag_schemes import iob2_labels
from tfllm.data.labelled.tagged_rows import WordRows, cutter, spans_of, word_rows
from tfllm.data.labelled.text_files import Source, name_of, parts_of
from tfllm.data.labelled.token_records import read_tokens
from tfllm.data.labelled.word_spacing import Spaces, with_spaces
from tfllm.text.tags import is_iob2
from tfllm.tokenizers import Tokenizer

_CHUNK = 1024


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Tagged(Labelled):
    """Rows of words; `records` are the sentences."""

    word_rows: np.ndarray
    """int32 [words of all sentences]: the row that shows the word."""
    word_places: np.ndarray
    """int32 [the same]: the place of its first piece there, [CLS] counted."""
    parts: Parts
    """The words of the sentences' texts, as `predict` splits them."""
    exact: np.ndarray
    """bool [sentences]: a model can give all labels as they are: no word is inside a run of letters that has another label."""

    def by_sentence(self, predicted: Sequence[np.ndarray]) -> list[list[str]]:
        """Labels of the file's own words, from what was predicted for each place of each row.

            sentence "U.S." "won", places [CLS] U . S . won [SEP], predicted 0 3 4 4 4 5 0 -> the labels of 3 and 5

        Args:
            predicted: class numbers, N rows of [S], in the order of evaluation (rows of padding left out). S may differ.
        """
        if len(predicted) != len(self):
            raise ValueError(f"{len(predicted)} rows of predictions: expected {len(self)}. Remove padding rows.")
        places = list(zip(self.word_rows.tolist(), self.word_places.tolist(), strict=True))
        labels = [self.labels[int(predicted[row][place])] for row, place in places]
        # Several words in one part are one entity.
        found = (
            "I" + label[1:] if place == before and label.startswith("B-") else label
            for label, place, before in zip(labels, places, [None, *places], strict=False)
        )
        return [[next(found) for _ in sentence.words] for sentence in self.records]

    def by_text(self, predicted: Sequence[np.ndarray]) -> list[list[tuple[int, int, str]]]:
        """Start, end and label of each word of each sentence's text, as `predict` splits it; arguments as of `by_sentence`.

        sentence "U.S." "won", text "U.S. won", predicted 0 3 4 4 4 5 0 -> (0, 1, 3) (1, 2, 4) (2, 3, 4) (3, 4, 4) (5, 8, 5)
        """
        parts = self.parts
        found: list[list[tuple[int, int, str]]] = [[] for _ in self.records]
        for sentence, start, end, row, place in zip(
            *(each.tolist() for each in (parts.sentences, parts.starts, parts.ends, parts.rows, parts.places)), strict=True
        ):
            found[sentence].append((start, end, self.labels[int(predicted[row][place])]))
        return found

    def truth_by_text(self) -> list[list[tuple[int, int, str]]]:
        """Start, end and label of each of the file's words in its sentence's text."""
        return [
            [(start, end, label) for (start, end), label in zip(spans_of(sentence), sentence.labels, strict=True)]
            for sentence in self.records
        ]


@dataclass(frozen=True)
class Parts:
    """Words of texts, as a served model splits them; int32 [parts of all sentences] each."""

    sentences: np.ndarray
    starts: np.ndarray
    """First character in the sentence's `text`."""
    ends: np.ndarray
    rows: np.ndarray
    """The row that shows the part."""
    places: np.ndarray
    """The place of its first piece there, [CLS] counted."""


def tagging(
    source: Source | Iterable[Sentence],
    tokenizer: Tokenizer | str | Path,
    *,
    column: int | str | None = None,
    word_column: int | str | None = None,
    labels: Sequence[str] | None = None,
    max_length: int = 128,
    spaces: Spaces | None = None,
) -> Tagged:
    """Rows of words and a label for each.

        "U.S." B-LOC, "won" O, tokenizer of bytes (keeps spaces)
        -> words for the model  U      .      S      .      " won"
           their labels         B-LOC  I-LOC  I-LOC  I-LOC  O
           first                88     49     86     49     35 122 114 113
           TARGET_IDS           0      1      1      1      2  0   0   0      (labels B-LOC I-LOC O)
           TARGET_WEIGHTS       1      1      1      1      1  0   0   0

    The rows are those of the sentence's text, split as the served model will split it (tfllm/text/words.py), so that what is
    trained is what is served. Each part takes the label of the file's word that it begins in. Entities go on in a word's
    further parts with I-; where the labels have no such I-, the parts weigh 0. Other labels are given to all parts. A word that
    begins inside a part ("can" "not" written "cannot") has that part's label. How many sentences then cannot be labelled as
    they are, is warned of.

    A sentence too long goes on in another row, cut between two words; nothing is left out.

    Args:
        source: a CoNLL or CoNLL-U file (conll_files.py); records with lists of words and labels, as Hugging Face's datasets
            have them, in .jsonl, .json, .parquet or as mappings (token_records.py); or sentences. Entity tags in any scheme of
            tag_schemes.py.
        column: of the label; CoNLL: a number, -1 (the last) by default; CoNLL-U: a name, "UPOS" by default; records: a name,
            that of "ner_tags", "tags", "labels" and "pos_tags" which is there by default.
        word_column: of the word, the same way; 0, "FORM" and "tokens" by default.
        labels: in the order of their numbers, as the training data's `labels` are; left out: those of the source, sorted, and
            the I- of each B-. Records whose labels are numbers need them.
        max_length: of a row, specials included.
        spaces: between words. "restored": those of ordinary typography (word_spacing.py); "single": one after each word; None:
            those that sentences or a CoNLL-U file (SpaceAfter=No) say, and restored ones for CoNLL and records, which say none.

    Raises:
        ValueError: names file and line; see conll_files.py and token_records.py.
    """
    tokenizer = tokenizers.get(tokenizer)
    labels = None if labels is None else label_names((), labels)
    sentences = _sentences(source, dict(column=column, word_column=word_column), labels, spaces)
    labels = None if labels is None else iob2_labels(labels)
    found = {label for sentence in sentences for label in sentence.labels}
    entities = is_iob2(labels or found)
    if entities:
        found |= {"I" + label[1:] for label in found if label != "O"}
    names = label_names(found, labels)
    numbers = {name: number for number, name in enumerate(names)}
    cut = cutter(tokenizer, max_length)
    chunks = range(0, len(sentences), _CHUNK)
    rows = [word_rows(sentences[begin : begin + _CHUNK], cut, numbers, entities) for begin in chunks]
    tagged = _joined(
        rows, chunks, task="token_classifier", tokenizer=tokenizer, max_length=max_length, labels=names, records=sentences
    )
    _warn(tagged, name_of(source))
    return tagged


def _joined(rows: Sequence[WordRows], chunks: Sequence[int], **fields: Any) -> Tagged:
    """The rows of all chunks of sentences, which begin with the sentences `chunks`; `fields` are those of the whole."""
    offsets = np.cumsum([0] + [len(chunk.texts) for chunk in rows], dtype=np.int32)

    def joined(name: str, offsets: Iterable[int] | None = None) -> np.ndarray:
        arrays = [getattr(chunk, name) for chunk in rows]
        return np.concatenate(arrays if offsets is None else [a + offset for a, offset in zip(arrays, offsets, strict=False)])

    parts = Parts(
        sentences=joined("part_sentences", chunks),
        starts=joined("part_starts"),
        ends=joined("part_ends"),
        rows=joined("part_rows", offsets),
        places=joined("part_places"),
    )
    words = joined("word_parts", np.cumsum([0] + [len(chunk.part_rows) for chunk in rows]))
    return Tagged(
        record_of=joined("texts", chunks).astype(np.int32),
        first=Flat.joined([chunk.ids for chunk in rows]),
        token_features={features.TARGET_IDS: joined("targets"), features.TARGET_WEIGHTS: joined("weights")},
        word_rows=parts.rows[words],
        word_places=parts.places[words],
        parts=parts,
        exact=joined("exact"),
        **fields,
    )


def _sentences(
    source: Source | Iterable[Sentence], columns: dict[str, Any], labels: Sequence[str] | None, spaces: Spaces | None
) -> list[Sentence]:
    """Sentences of all files and records, with entity tags as IOB2 and with their spaces."""
    found: list[Sentence] = []
    for part in parts_of(source) or [[]]:
        if isinstance(part, list) and any(isinstance(each, Sentence) for each in part):
            sentences, restored = as_iob2(part), False
        elif isinstance(part, list) or KINDS.get(suffix_of(part)) in ("jsonl", "json", "parquet"):
            sentences, restored = read_tokens(part, **columns, names=labels), True
        else:
            sentences, restored = read_sentences(part, **columns), suffix_of(part) != ".conllu"
        wanted: Spaces | None = "restored" if spaces is None and restored else spaces
        found += sentences if wanted is None else with_spaces(sentences, wanted)
    return found


def _warn(rows: Tagged, source: str) -> None:
    """Of sentences that no model can label as they are."""
    if missing := int((~rows.exact).sum()):
        first = rows.records[int(np.argmin(rows.exact))]
        warnings.warn(
            f"{source}: {missing} of {len(rows.records)} sentences have words that `predict` joins with the word before them, "
            f"which has another label. The first: {first.place}, {first.text!r:.80}",
            stacklevel=3,
        )
