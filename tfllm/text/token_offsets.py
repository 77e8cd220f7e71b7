"""The characters of a text that each token stands for; in the graph, for training and for serving.

In: `Words` and their `Pieces`. Out: the first character of each token, and the character after its last.
A token is known by its bytes (`Tokenizer.token_bytes`), and a character by its bytes in tokens (`Tokenizer.normalize`: lower
case, without accents, composed). Both are counted along each word, which tells the characters of each token.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfllm.text.words import MARK, SPACE, Pieces, Words, kinds_of
from tfllm.tokenizers import Tokenizer


@dataclass(frozen=True)
class Spans:
    """Characters of texts; int32 [pieces of all texts] each."""

    starts: tf.Tensor
    ends: tf.Tensor


@dataclass(frozen=True)
class _Characters:
    """Characters of all words, each with its marks, one after the other; int32 [C] each."""

    starts: tf.Tensor
    """The character's first place in its text."""
    ends: tf.Tensor
    """The place after its last mark."""
    bytes_up_to: tf.Tensor
    """Bytes in pieces of all characters up to this one, it taken in."""


def token_offsets(words: Words, pieces: Pieces, tokenizer: Tokenizer) -> Spans:
    """The characters of its text that each piece spells.

        WordPiece, "Zu Bonner" as "zu" "bonn" "##er" -> starts 0 3 7, ends 2 7 9
        WordPiece, "Été" as "et" "##e"               -> starts 0 2, ends 2 3
        bytes, " é" as three                         -> starts 1 1 1, ends 2 2 2

    A piece that holds a part of a character is widened to the whole one, with its marks; white space before a word is not
    counted, and a piece of nothing else is widened to the word's first character. Pieces that do not spell their word (the
    unknown id) have all its characters.

    Args:
        words: of texts, split with the tokenizer's `keeps_spaces`.
        pieces: of the same, uncut: one row a text.
    """
    text = pieces.ids.value_rowids()
    word = tf.gather(tf.cast(words.starts.row_starts(), tf.int32), text) + pieces.words.values
    characters, before, spaces, size = _characters(words, tokenizer)
    spelled = tf.gather(tf.constant(tokenizer.token_bytes(), tf.int32), pieces.ids.values)
    sums = tf.cumsum(spelled)
    sums_before_word = tf.boolean_mask(sums - spelled, pieces.firsts.values)
    whole = tf.math.unsorted_segment_sum(spelled, word, tf.size(size)) == size

    def of_word(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, word)

    end = sums - of_word(sums_before_word)
    first_byte = of_word(before) + tf.maximum(end - spelled, of_word(spaces))
    end_byte = of_word(before) + tf.maximum(end, of_word(spaces) + 1)
    known = of_word(whole & (size > spaces)) & (spelled > 0)
    last = tf.size(characters.starts) - 1

    def place(byte: tf.Tensor, side: str) -> tf.Tensor:
        return tf.minimum(tf.searchsorted(characters.bytes_up_to, byte, side=side), last)

    return Spans(
        tf.where(known, tf.gather(characters.starts, place(first_byte, "right")), of_word(words.starts.values)),
        tf.where(known, tf.gather(characters.ends, place(end_byte, "left")), of_word(words.ends.values)),
    )


def _characters(words: Words, tokenizer: Tokenizer) -> tuple[_Characters, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Characters of all words, and of each word the bytes before it, of its leading white space, and of both; int32 [W]."""
    codes = tf.strings.unicode_decode(words.strings.values, "UTF-8")
    count, word = codes.nrows(tf.int32), tf.cast(codes.value_rowids(), tf.int32)
    kind = kinds_of(codes.values)
    place = tf.cast(tf.ragged.range(codes.row_lengths()).values, tf.int32)
    length = tf.cast(codes.row_lengths(), tf.int32)
    leading = length - (words.ends.values - words.starts.values)
    opens = (kind != MARK) | (place == tf.gather(leading, word))
    number = tf.cumsum(tf.cast(opens, tf.int32)) - 1
    total = tf.reduce_sum(tf.cast(opens, tf.int32))
    spelled = tf.RaggedTensor.from_value_rowids(codes.values, number, nrows=total, validate=False)
    distinct, which = tf.unique(tf.strings.unicode_encode(spelled, "UTF-8"))
    size = tf.gather(tf.strings.length(tokenizer.normalize(distinct)), which)
    word_of = tf.boolean_mask(word, opens)
    starts = tf.boolean_mask(place + tf.gather(words.starts.values - leading, word), opens)
    by_word = tf.math.unsorted_segment_sum(size, word_of, count)
    is_space = tf.boolean_mask(kind, opens) == SPACE
    spaces = tf.math.unsorted_segment_sum(tf.where(is_space, size, 0), word_of, count)
    ends = starts + tf.cast(spelled.row_lengths(), tf.int32)
    return _Characters(starts, ends, tf.cumsum(size)), tf.cumsum(by_word, exclusive=True), spaces, by_word
