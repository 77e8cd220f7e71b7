"""Tokenized rows of sentences whose words have labels.

In: sentences with a label for each word of the file. Out: the rows of their texts, split into words as `predict` splits them,
and which of these words each word of the file is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.conll_files import Sentence
from tfllm.data.labelled.label_values import check_label
from tfllm.data.labelled.rows import Flat
from tfllm.text.words import split_words, word_pieces
from tfllm.tokenizers import Tokenizer

Cutter = Callable[[list[str]], dict[str, np.ndarray]]
"""From texts to what `cutter` makes of them."""


@dataclass(frozen=True)
class WordRows:
    """The rows of some sentences, and the words of their texts; all is numbered from 0 in here."""

    ids: Flat
    texts: np.ndarray
    """int32 [rows]: the sentence of each."""
    targets: np.ndarray
    weights: np.ndarray
    """Of each id."""
    part_sentences: np.ndarray
    part_starts: np.ndarray
    part_ends: np.ndarray
    part_rows: np.ndarray
    part_places: np.ndarray
    word_parts: np.ndarray
    """int64 [words]: the part that says the word's label."""
    exact: np.ndarray
    """bool [sentences]."""


def word_rows(sentences: Sequence[Sentence], cut: Cutter, numbers: dict[str, int], entities: bool) -> WordRows:
    """Rows of sentences, each part of a text with the label of the file's word that it begins in.

        "do" "n't", text "don't" -> parts "don" "'" "t", the labels of "do", "n't", "n't"; word_parts 0 1
        "can" "not", text "cannot" -> part "cannot", the label of "can"; word_parts 0 0, exact where both labels are one

    Args:
        cut: of `cutter`.
        numbers: of the labels.
        entities: labels are B-, I- and O, and an entity goes on with I-.

    Raises:
        ValueError: a label is unknown, or a sentence has nothing to be seen.
    """
    made = cut([sentence.text for sentence in sentences])
    words = _words(sentences, numbers, entities)
    sentence_of_part = made["part_sentences"]
    unseen = np.flatnonzero(np.bincount(sentence_of_part, minlength=len(sentences)) == 0)
    if unseen.size:
        sentence = sentences[unseen[0]]
        raise ValueError(f"{sentence.place}: the sentence {sentence.text!r:.60} has no visible character. Remove it.")
    word_of_part = np.searchsorted(words.starts, words.text_starts[sentence_of_part] + made["part_starts"], side="right") - 1
    opens = np.diff(word_of_part, prepend=-1) != 0
    label_of_part = np.where(opens, words.labels[word_of_part], words.later_labels[word_of_part])
    # A word's label is that of the first part that begins in it, else of the part before, which it is inside of.
    numbers_of_words = np.arange(len(words.labels))
    word_parts = np.searchsorted(word_of_part, numbers_of_words)
    inside = np.append(word_of_part, -1)[word_parts] != numbers_of_words
    word_parts -= inside & (np.append(-1, sentence_of_part)[word_parts] == words.sentences)
    exact = np.ones(len(sentences), bool)
    exact[words.sentences[inside & (words.labels != words.later_labels[word_of_part[word_parts]])]] = False
    label = label_of_part[made["part"]]
    counted = made["is_first"] & (label >= 0)
    row = np.repeat(np.arange(len(made["texts"]), dtype=np.int32), np.diff(made["splits"]))
    place = (np.arange(len(row)) - made["splits"][:-1][row] + 1).astype(np.int32)
    return WordRows(
        ids=Flat(made["ids"], made["splits"]),
        texts=made["texts"],
        targets=np.where(counted, label, 0).astype(np.int32),
        weights=counted.astype(np.float32),
        part_sentences=sentence_of_part,
        part_starts=made["part_starts"],
        part_ends=made["part_ends"],
        part_rows=row[made["is_first"]],
        part_places=place[made["is_first"]],
        word_parts=word_parts,
        exact=exact,
    )


@dataclass(frozen=True)
class _Words:
    """The file's words of some sentences; int [words] each."""

    labels: np.ndarray
    """Class numbers, of a word's first part."""
    later_labels: np.ndarray
    """Of its other parts; -1: they have none."""
    starts: np.ndarray
    """First characters, where all texts stand in a row, each with a place behind it."""
    text_starts: np.ndarray
    """[sentences + 1]: where each text begins in that row."""
    sentences: np.ndarray


def spans_of(sentence: Sentence) -> list[tuple[int, int]]:
    """The characters of the words in the text. "U.S." "won" -> (0, 4) (5, 8)"""
    starts = accumulate((len(word) + spaced for word, spaced in zip(sentence.words, sentence.spaced, strict=True)), initial=0)
    return [(start, start + len(word)) for start, word in zip(starts, sentence.words, strict=False)]


def _words(sentences: Sequence[Sentence], numbers: dict[str, int], entities: bool) -> _Words:
    labels, later, starts = [], [], []
    text_starts = np.cumsum([0] + [len(sentence.text) + 1 for sentence in sentences])
    for sentence, text_start in zip(sentences, text_starts.tolist(), strict=False):
        starts += [text_start + start for start, _ in spans_of(sentence)]
        for number, label in enumerate(sentence.labels, 1):
            labels.append(check_label(label, numbers, f"{sentence.place}, word {number}"))
            # An entity goes on with I-.
            later.append(numbers.get("I" + label[1:], -1) if entities and label != "O" else labels[-1])
    of_word = np.repeat(np.arange(len(sentences)), [len(sentence.words) for sentence in sentences])
    return _Words(np.array(labels), np.array(later), np.array(starts), text_starts, of_word)


def cutter(tokenizer: Tokenizer, max_length: int) -> Cutter:
    """A function from texts to their words, as `predict` splits them, and to the rows of those."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def cut(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        words = split_words(texts, keep_spaces=tokenizer.keeps_spaces)
        pieces = word_pieces(words.strings, tokenizer, max_length)
        text = tf.gather(pieces.texts, pieces.ids.value_rowids())
        return {
            "ids": pieces.ids.values,
            "splits": tf.cast(pieces.ids.row_splits, tf.int64),
            "texts": pieces.texts,
            "part": tf.gather(words.starts.row_starts(), text) + tf.cast(pieces.words.values, tf.int64),
            "is_first": pieces.firsts.values,
            "part_sentences": tf.cast(words.starts.value_rowids(), tf.int32),
            "part_starts": words.starts.values,
            "part_ends": words.ends.values,
        }

    return lambda texts: {name: value.numpy() for name, value in cut(tf.constant(texts, tf.string)).items()}
