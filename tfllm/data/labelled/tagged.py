"""Files of labelled words in, tokenized rows with a label on each word's first piece out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import features
from tfllm.data.labelled.reading import PathLike, check_label, label_names
from tfllm.data.labelled.reading_words import Sentence, as_iob2, is_bio, read_sentences
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.words import split_words, word_pieces
from tfllm.tokenizers import Tokenizer

_CHUNK = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class Tagged(Labelled):
    """Rows of words; `records` are the sentences."""

    word_rows: np.ndarray
    """int32 [words of all sentences]: the row that shows the word."""
    word_places: np.ndarray
    """int32 [the same]: the place of its first piece there, [CLS] counted."""

    def by_sentence(self, predicted: Sequence[np.ndarray]) -> list[list[str]]:
        """Labels of the file's own words, from what was predicted for each place of each row.

            sentence "U.S." "won", places [CLS] U . S . won [SEP], predicted 0 3 4 4 4 5 0 -> the labels of 3 and 5

        Args:
            predicted: class numbers, N rows of [S], in the order of evaluation (rows of padding left out). S may differ.
        """
        if len(predicted) != len(self):
            raise ValueError(f"{len(predicted)} rows of predictions; accepted: {len(self)}, padding rows left out.")
        found = iter(
            self.labels[int(predicted[row][place])]
            for row, place in zip(self.word_rows.tolist(), self.word_places.tolist(), strict=True)
        )
        return [[next(found) for _ in sentence.words] for sentence in self.records]


def tagging(
    source: PathLike | Sequence[Sentence],
    tokenizer: Tokenizer,
    *,
    column: int | str | None = None,
    labels: Sequence[str] | None = None,
    max_length: int = 128,
) -> Tagged:
    """Rows of words and a label for each.

        "U.S." B-LOC, "won" O, tokenizer of bytes (keeps spaces)
        -> words for the model  U      .      S      .      " won"
           their labels         B-LOC  I-LOC  I-LOC  I-LOC  O
           first                88     49     86     49     35 122 114 113
           TARGET_IDS           0      1      1      1      2  0   0   0      (labels B-LOC I-LOC O)
           TARGET_WEIGHTS       1      1      1      1      1  0   0   0

    A file's word is split as the served model will split text (words.py): what is trained is what is served. Entities go on in
    the parts with I-; where the labels have no such I-, the parts weigh 0. Other labels are given to all parts.

    A sentence too long goes on in another row, cut between two words; nothing is left out.

    Args:
        source: a CoNLL or CoNLL-U file (reading_words.py), or sentences; entity tags in IOB1 or IOB2.
        column: of the label; CoNLL: a number, -1 (the last) by default; CoNLL-U: a name, "UPOS" by default.
        labels: in the order of their numbers, as the training data's `labels` are; left out: those of the source, sorted, and
            the I- of each B-.
        max_length: of a row, specials included.

    Raises:
        ValueError: names file and line; see reading_words.py.
    """
    sentences = read_sentences(source, column=column) if isinstance(source, (str, os.PathLike)) else as_iob2(list(source))
    found = {label for sentence in sentences for label in sentence.labels}
    entities = is_bio(labels or found)
    if entities:
        found |= {"I" + label[1:] for label in found if label != "O"}
    names = label_names(found, labels)
    numbers = {name: number for number, name in enumerate(names)}
    rows = list(_rows(sentences, tokenizer, max_length, numbers, entities))
    offsets = np.cumsum([0] + [len(part.texts) for part in rows[:-1]], dtype=np.int32)
    return Tagged(
        task="token_classifier",
        tokenizer=tokenizer,
        max_length=max_length,
        records=sentences,
        record_of=np.concatenate([part.texts + number * _CHUNK for number, part in enumerate(rows)]).astype(np.int32),
        first=Flat.joined([part.ids for part in rows]),
        labels=names,
        token_features={
            features.TARGET_IDS: np.concatenate([part.targets for part in rows]),
            features.TARGET_WEIGHTS: np.concatenate([part.weights for part in rows]),
        },
        word_rows=np.concatenate([part.word_rows + offset for part, offset in zip(rows, offsets, strict=True)]),
        word_places=np.concatenate([part.word_places for part in rows]),
    )


@dataclass(frozen=True)
class _Part:
    """The rows of some sentences, numbered from 0."""

    ids: Flat
    texts: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    word_rows: np.ndarray
    word_places: np.ndarray


def _rows(
    sentences: Sequence[Sentence], tokenizer: Tokenizer, max_length: int, numbers: dict[str, int], entities: bool
) -> Iterator[_Part]:
    cut = _cutter(tokenizer, max_length)
    for begin in range(0, len(sentences), _CHUNK):
        chunk = sentences[begin : begin + _CHUNK]
        firsts, others = [], []
        for sentence in chunk:
            for number, label in enumerate(sentence.labels, 1):
                firsts.append(check_label(label, numbers, f"{sentence.place}, word {number}"))
                # An entity goes on with I-; -1: no such label.
                others.append(numbers.get("I" + label[1:], -1) if entities and label != "O" else firsts[-1])
        splits = np.append(0, np.cumsum([len(sentence.words) for sentence in chunk]))
        made = {name: value.numpy() for name, value in cut(list(_spelled(chunk, tokenizer.keeps_spaces)), splits).items()}
        # A part of a word is the word's first, or goes on.
        opens = np.diff(made["word_of_part"], prepend=-1) != 0
        label_of_part = np.where(opens, np.array(firsts)[made["word_of_part"]], np.array(others)[made["word_of_part"]])
        label = label_of_part[made["part"]]
        counted = made["is_first"] & (label >= 0)
        shown = made["is_first"] & opens[made["part"]]
        row = np.repeat(np.arange(len(made["texts"]), dtype=np.int32), np.diff(made["splits"]))
        place = np.arange(len(row)) - made["splits"][:-1][row] + 1
        yield _Part(
            ids=Flat(made["ids"], made["splits"]),
            texts=made["texts"],
            targets=np.where(counted, label, 0).astype(np.int32),
            weights=counted.astype(np.float32),
            word_rows=row[shown],
            word_places=place[shown].astype(np.int32),
        )


def _spelled(sentences: Sequence[Sentence], keep_spaces: bool) -> Iterator[str]:
    """Words, with a space before them where the sentence has one: " won" of "U.S." "won"."""
    for sentence in sentences:
        yield sentence.words[0]
        for word, spaced in zip(sentence.words[1:], sentence.spaced, strict=False):
            yield " " + word if spaced and keep_spaces else word


def _cutter(tokenizer: Tokenizer, max_length: int) -> Callable[[list[str], Any], dict[str, tf.Tensor]]:
    """A function from words and where sentences begin among them to pieces, parts of words and rows."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64)], autograph=False)
    def cut(words: tf.Tensor, sentence_splits: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = split_words(words, keep_spaces=tokenizer.keeps_spaces).strings
        # A word of control characters only has no part; it stands for itself.
        missing = parts.row_lengths() == 0
        itself = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(words, missing), tf.cast(missing, tf.int64), validate=False)
        parts = tf.concat([parts.with_row_splits_dtype(tf.int64), itself], axis=1)
        of_sentence = tf.RaggedTensor.from_row_splits(
            parts.values, tf.gather(parts.row_splits, sentence_splits), validate=False
        )
        pieces = word_pieces(of_sentence, tokenizer, max_length)
        sentence = tf.gather(pieces.texts, pieces.ids.value_rowids())
        return {
            "ids": pieces.ids.values,
            "splits": tf.cast(pieces.ids.row_splits, tf.int64),
            "texts": pieces.texts,
            "part": tf.gather(of_sentence.row_starts(), sentence) + tf.cast(pieces.words.values, tf.int64),
            "is_first": pieces.firsts.values,
            "word_of_part": parts.value_rowids(),
        }

    return lambda words, splits: cut(tf.constant(words, tf.string), tf.constant(splits, tf.int64))
