"""Words of texts with their character offsets, and their tokens; in the graph, for training and for serving.

In: string [B]. Out: `Words`, and `Pieces`, the ids of the words in rows that fit a model.
A word is a run of letters, digits and marks. Each punctuation mark and each symbol is a word of its own. So is each letter,
with its marks, of a script without spaces between words (unicode_scripts.py): a dictionary's word is then a run of such words.
White space and control characters separate words. Offsets count characters, as a Python `str` does.
"""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import tensorflow as tf

from tfllm.text.unicode_scripts import CHINESE, KANA, SOUTH_EAST_ASIAN
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import text_budget

SPACE, LETTER, ALONE, MARK = range(4)
"""Kinds of characters. A mark belongs to whatever is before it, and is a letter after white space."""


@dataclass(frozen=True)
class Words:
    """Words of texts; ragged [B, (words)] each."""

    strings: tf.RaggedTensor
    """string: the words, or the words with the white space before them."""
    starts: tf.RaggedTensor
    """int32: a word's first character; its spaces never count."""
    ends: tf.RaggedTensor
    """int32: the character after its last."""


@dataclass(frozen=True)
class Pieces:
    """Words as ids, cut into N rows that fit, a text's rows one after the other; a text without words has none."""

    ids: tf.RaggedTensor
    """int32 [N, (pieces)]."""
    words: tf.RaggedTensor
    """int32 [N, (pieces)]: the word of its text that a piece belongs to."""
    firsts: tf.RaggedTensor
    """bool [N, (pieces)]: the first piece of its word."""
    texts: tf.Tensor
    """int32 [N]: number of the text in the batch."""


def valid_utf8(texts: tf.Tensor) -> tf.Tensor:
    """string [B] with U+FFFD for what is no UTF-8, so that characters can be cut out by `Words`' offsets."""
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)


def split_words(texts: tf.Tensor, *, keep_spaces: bool) -> Words:
    """Words of texts. Invalid UTF-8 becomes U+FFFD first, which is a symbol.

        "Été, d'or  中文" -> strings "Été" "," "d" "'" "or" "中" "文"
                            starts   0 3 5 6 7 11 12
                            ends     3 4 6 7 9 12 13
        keep_spaces=True  -> strings "Été" "," " d" "'" "or" "  中" "文", the same offsets
        "パリ 10กี่" -> strings "パ" "リ" "10" "กี่"

    White space after the last word belongs to none.

    Args:
        texts: string [B].
        keep_spaces: what the tokenizer's `keeps_spaces` says.
    """
    # Control characters are not replaced: every character keeps its number.
    characters = tf.strings.unicode_decode(texts, "UTF-8", errors="replace", replace_control_characters=False)
    codes, row_of = characters.values, characters.value_rowids()
    opens_row = tf.concat([[True], row_of[1:] != row_of[:-1]], axis=0)[: tf.size(codes)]
    kind, starts_word = _words_of(codes, opens_row)
    word_of = tf.cumsum(tf.cast(starts_word, tf.int32)) - 1
    inside = kind != SPACE
    place = tf.ragged.range(characters.row_lengths()).values
    first = tf.where(starts_word)[:, 0]
    count = tf.size(first)
    # A word is a run of characters, so its last is its first and its length less one.
    length = tf.math.bincount(tf.boolean_mask(word_of, inside), minlength=count, maxlength=count)
    if keep_spaces:
        leading = ~inside & ~_after_last(word_of, row_of, tf.gather(row_of, first))
        group, kept = tf.where(leading, word_of + 1, word_of), inside | leading
    else:
        group, kept = word_of, inside
    spelled = tf.RaggedTensor.from_value_rowids(
        tf.boolean_mask(codes, kept), tf.boolean_mask(group, kept), nrows=tf.cast(count, tf.int32), validate=False
    )
    starts = tf.cast(tf.gather(place, first), tf.int32)
    rows = tf.gather(row_of, first)

    def by_text(values: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_value_rowids(values, rows, nrows=tf.size(texts, tf.int64), validate=False)

    return Words(by_text(tf.strings.unicode_encode(spelled, "UTF-8")), by_text(starts), by_text(starts + length))


def word_pieces(words: tf.RaggedTensor, tokenizer: Tokenizer, max_length: int | None) -> Pieces:
    """Each word as its own pieces, and rows that fit: a text too long goes on, between two words, in a row of its own.

        words "play" "ing" | "cat", of which a byte tokenizer makes 4, 3 and 3 ids, max_length 8 (6 without the specials)
        -> texts  0 0 1
           words  0 0 0 0 | 1 1 1 | 0 0 0
           firsts 1 0 0 0 | 1 0 0 | 1 0 0

    A word without pieces (all its characters are cleaned away) is the unknown id; one longer than a row is cut at its end.
    So every word has exactly one first piece, in one row.

    Args:
        words: string [B, (words)], as `split_words` gives them.
        max_length: of a row, specials included; None: each text is one row, be it empty or long.
    """
    # Without a limit the room is more than any batch has.
    room = 1 << 30 if max_length is None else text_budget(tokenizer, max_length, pair=False)
    words = words.with_row_splits_dtype(tf.int64)
    pieces = tokenizer.tokenize(words.values).with_row_splits_dtype(tf.int64)
    missing = tf.cast(pieces.row_lengths() == 0, tf.int64)
    unknown = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(missing)], tokenizer.unk_id), missing, validate=False)
    pieces = tf.concat([pieces[:, :room], unknown], axis=1)
    lengths = tf.cast(pieces.row_lengths(), tf.int32)
    text_of_word = words.value_rowids()
    if max_length is None:
        row_of_word, texts = text_of_word, tf.range(words.nrows())
    else:
        opens_row = _row_openings(words.with_values(lengths), room)
        row_of_word, texts = tf.cumsum(tf.cast(opens_row, tf.int64)) - 1, tf.boolean_mask(text_of_word, opens_row)
    word_of_piece = pieces.value_rowids()
    number = tf.ragged.range(words.row_lengths()).values

    def by_row(values: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_value_rowids(
            values, tf.gather(row_of_word, word_of_piece), nrows=tf.size(texts, tf.int64), validate=False
        )

    return Pieces(
        ids=by_row(pieces.values),
        words=by_row(tf.cast(tf.gather(number, word_of_piece), tf.int32)),
        firsts=by_row(tf.ragged.range(lengths).values == 0),
        texts=tf.cast(texts, tf.int32),
    )


def _row_openings(lengths: tf.RaggedTensor, room: int) -> tf.Tensor:
    """Which words open a row, when each row takes words as long as they fit. int32 [B, (words)] -> bool [words]."""
    text = lengths.value_rowids()
    opens = tf.concat([[True], text[1:] != text[:-1]], axis=0)[: tf.size(text)]
    ends = tf.cumsum(lengths.values)
    # From any word, the row that opens there reaches to the last word that ends within its room, or to the text's end.
    limit = tf.searchsorted(ends, ends - lengths.values + room, side="right")
    following = tf.minimum(limit, tf.cast(tf.gather(lengths.row_limits(), text), tf.int32))

    def reach(opens: tf.Tensor, frontier: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        after = tf.gather(following, frontier)
        after = tf.boolean_mask(after, after < tf.cast(tf.gather(lengths.row_limits(), tf.gather(text, frontier)), tf.int32))
        return tf.tensor_scatter_nd_update(opens, after[:, None], tf.ones_like(after, tf.bool)), after

    frontier = tf.cast(tf.where(opens)[:, 0], tf.int32)
    # As many turns as the longest text has rows: one, nearly always.
    return tf.while_loop(
        lambda _, frontier: tf.size(frontier) > 0,
        reach,
        (opens, frontier),
        shape_invariants=(opens.shape, tf.TensorShape([None])),
    )[0]


def _words_of(codes: tf.Tensor, opens_row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 [characters], bool [characters] -> kinds (marks resolved) int32, and where words start, bool."""
    kind = kinds_of(codes)
    after_space = opens_row | (tf.concat([[SPACE], kind[:-1]], axis=0)[: tf.size(kind)] == SPACE)
    kind = tf.where((kind == MARK) & after_space, LETTER, kind)
    is_mark = kind == MARK
    bases = tf.boolean_mask(kind, ~is_mark)
    kind = tf.gather(bases, tf.cumsum(tf.cast(~is_mark, tf.int32)) - 1)
    before = tf.concat([[SPACE], kind[:-1]], axis=0)[: tf.size(kind)]
    starts = (kind != SPACE) & ~is_mark & (opens_row | (kind == ALONE) | (before != LETTER))
    return kind, starts


def kinds_of(codes: tf.Tensor) -> tf.Tensor:
    """Code points int32 [characters] -> kinds of characters, int32."""
    bounds, kinds = _kinds()
    return tf.gather(tf.constant(kinds), tf.searchsorted(tf.constant(bounds), codes, side="right") - 1)


def _after_last(word_of: tf.Tensor, row_of: tf.Tensor, row_of_word: tf.Tensor) -> tf.Tensor:
    """bool [characters]: no word of the same text starts after this character."""
    following = tf.gather(tf.pad(row_of_word, [[0, 1]], constant_values=-1), word_of + 1)
    return following != row_of


@cache
def _kinds() -> tuple[list[int], list[int]]:
    """Where the kind of character changes, by code point, and to what: the whole of Unicode in some 1,400 ranges."""
    of_category = cache(_kind)
    kinds = np.array([of_category(unicodedata.category(chr(code))) for code in range(sys.maxunicode + 1)])
    for first, last in CHINESE:
        kinds[first : last + 1] = ALONE
    for first, last in KANA + SOUTH_EAST_ASIAN:
        inside = kinds[first : last + 1]
        letters = [unicodedata.category(chr(code))[0] == "L" for code in range(first, last + 1)]
        inside[letters] = ALONE
    bounds = np.flatnonzero(np.diff(kinds, prepend=-1))
    return bounds.tolist(), kinds[bounds].tolist()


def _kind(category: str) -> int:
    """Of characters of one of Unicode's categories."""
    if category == "Cc" or category[0] == "Z":
        return SPACE
    if category[0] in "PS":
        return ALONE
    return MARK if category[0] == "M" or category == "Cf" else LETTER
