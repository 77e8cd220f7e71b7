"""Hiding tokens for a masked language model to find: rows of ids and keys in, rows with gaps and what stood there out.

Pure functions: all randomness comes from one random key a row (shuffle_order.py).
Sources: 15% and 80/10/10, Devlin et al. 2018 (arXiv 1810.04805); other masks in every epoch, Liu et al. 2019
(arXiv 1907.11692); whole words, the 2019 release of BERT; spans, Joshi et al. 2019 (arXiv 1907.10529).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from tfllm import features
from tfllm.data.batching import shuffle_order
from tfllm.tokenizers import Tokenizer

Unit = Literal["token", "word", "span"]
UNITS: tuple[Unit, ...] = get_args(Unit)

MASKED, REPLACED = 0.8, 0.1
"""Of the targets: what the mask takes the place of, and what another id does. The rest stay as they are."""

SPAN_STOP, LONGEST_SPAN = 0.2, 10
"""A span ends after each word with this chance, and after so many words at last."""

ROUNDS = 3
"""Of filling the share with words: what is left after them is a token or none."""

STREAM = 1 << 28
"""Counters of one kind; rows are shorter."""


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer. `special` and `word_starts` are bool [V]."""

    mask_id: int
    special: np.ndarray
    """Never hidden and never put in the place of another: the specials, and every id that stands for no text."""
    word_starts: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Raises ValueError where the tokenizer has no mask."""
        if tokenizer.mask_id is None:
            raise ValueError(
                f"This tokenizer ({tokenizer.kind}, {tokenizer.vocab_size} entries) has no mask token. Give one that has: "
                "bytes, unigram, bpe, WordPiece, RoBERTa's."
            )
        special = np.asarray(tokenizer.token_bytes()) == 0
        named = ("pad_id", "eos_id", "unk_id", "bos_id", "cls_id", "sep_id", "mask_id")
        special[[getattr(tokenizer, name) for name in named]] = True
        return cls(tokenizer.mask_id, special, np.asarray(tokenizer.word_starts(), bool))


def target_places(sequence_length: int, share: float) -> int:
    """P: the most targets a row can have.

    128 places, 15%  ->  20
    """
    return math.ceil(round(sequence_length * share, 6))  # 0.07 * 100 is 7.000000000000001


def mask_tokens(
    token_ids: tf.Tensor, key: tf.Tensor, vocabulary: Vocabulary, *, share: float = 0.15, unit: Unit = "token"
) -> dict[str, tf.Tensor]:
    """Hide tokens of every row: `share` of what is no special, on average exactly, and one at least.

    A row of n ordinary tokens has n * share targets, rounded up or down by chance so that the mean is right. Whole words
    (`unit="word"`) and spans of words are taken in a random order; a word that no longer fits is passed over, so such a
    row may fall short by a token or so. Where no word fits, the first tokens of one are taken.

        cls 259, sep 260, mask 261, separator 1, padding 0; words begin with 68 to 93
        token_ids               259  70 100 101  72 102 103 104  75 105   1  76 260   0   0   0
        share 0.3, so P is 5; key of seed 2 and draw 1
        unit "token" -> token_ids       259 252 100 101 261 102 103 104  75 105   1  76 260   0   0   0
                        target_places   1  4   9 0 0   (a random id, the mask, and left as it is)
                        target_ids     70 72 105 0 0
                        target_weights  1  1   1 0 0
        unit "word"  -> token_ids       259 252 261 261  72 102 103 104  75 105   1  76 260   0   0   0
                        target_places   1   2   3 0 0
                        target_ids     70 100 101 0 0
                        target_weights  1   1   1 0 0

    Args:
        token_ids: int32 [B, S], S static; a special at place 0.
        key: uint32 [B, 2 or more], from `shuffle_order.keys`.
        unit: "token": each by itself. "word": all pieces of a word or none. "span": runs of 1 to 10 words, geometric.

    Returns:
        TOKEN_IDS int32 [B, S]; TARGET_PLACES (rising), TARGET_IDS int32 [B, P], TARGET_WEIGHTS float32 [B, P]. Unused
        targets, at the end, are 0 0 0.
    """
    maskable = tf.logical_not(tf.gather(tf.constant(vocabulary.special), token_ids))
    budget = budgets(maskable, key, share)
    chosen = choose(token_ids, maskable, budget, key, vocabulary.word_starts, unit)
    return hide(token_ids, chosen, budget, key, vocabulary, target_places(token_ids.shape[1], share))


def budgets(maskable: tf.Tensor, key: tf.Tensor, share: float) -> tf.Tensor:
    """How many tokens to hide.

        10 maskable tokens, share 0.15  ->  1 in half of all rows, 2 in the others
        2 maskable  ->  1               none maskable  ->  0

    Args:
        maskable: bool [B, S].

    Returns:
        int32 [B].
    """
    count = tf.reduce_sum(tf.cast(maskable, tf.int32), axis=1)
    # Of 24 bits, so that float32 holds the sum with a row's length to the last of them that matters.
    luck = tf.cast(shuffle_order.random_uint32(key, tf.constant([4 * STREAM]))[:, 0] // 2**8, tf.float32) / 2**24
    whole = tf.cast(tf.floor(tf.cast(count, tf.float32) * share + luck), tf.int32)
    return tf.minimum(tf.maximum(whole, 1), count)


def choose(
    token_ids: tf.Tensor, maskable: tf.Tensor, budget: tf.Tensor, key: tf.Tensor, word_starts: np.ndarray, unit: Unit
) -> tf.Tensor:
    """Which places to hide: bool [B, S], `budget` (int32 [B]) of each row or a little less."""
    column = tf.range(token_ids.shape[1])
    if unit == "token":
        sizes = tf.cast(maskable, tf.int32)
        return take(sizes, _score(shuffle_order.random_uint32(key, column)), budget)
    words = word_numbers(token_ids, maskable, word_starts)
    sizes = _by_word(tf.cast(maskable, tf.int32), words)
    if unit == "word":
        score = _score(shuffle_order.random_uint32(key, column))
    else:
        before = tf.cumsum(tf.cast(tf.logical_not(maskable), tf.int32), axis=1)
        score = span_scores(sizes, _by_word(tf.where(maskable, before, 0), words) // tf.maximum(sizes, 1), key)
    return tf.gather(take(sizes, score, budget), words, batch_dims=1) & maskable


def word_numbers(token_ids: tf.Tensor, maskable: tf.Tensor, word_starts: np.ndarray) -> tf.Tensor:
    """Which word each token belongs to. A special is a word by itself, and what follows one begins another.

        specials 0 1; words begin with an even id
        token_ids 1  7  8  9  9  1  6  4  5  1  0
        ->        0  1  2  2  2  3  4  5  5  6  7

    Args:
        token_ids: int32 [B, S].
        maskable: bool [B, S], false for specials.
        word_starts: bool [V].

    Returns:
        int32 [B, S].
    """
    inside = maskable & tf.pad(maskable[:, :-1], [[0, 0], [1, 0]])
    begins = tf.gather(tf.constant(word_starts), token_ids) | tf.logical_not(inside)
    return tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1


def span_scores(sizes: tf.Tensor, run: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """In which order words are hidden, highest first, if whole spans of them are.

    A span may begin at any word, takes 1 to 10 words of its run (geometric), and has a random score; a word goes by the
    highest score of the spans that hold it. So to hide words in the order of scores is to draw span after span. A span
    that comes to the end of its run goes on at the run's beginning: so all words are hidden equally often.

        words _ a b c d _ e, so sizes 0 1 1 1 1 0 1 and runs 0 1 1 1 1 0 2; key of seed 2 and draw 0
        -> from the highest: d a b, c, e (the span of d goes on at a and ends before c)

    Args:
        sizes: int32 [B, S], by word, 0: no word.
        run: int32 [B, S], by word: the specials before it. What stands between two specials is a run.

    Returns:
        int32 [B, S].
    """
    present = tf.cast(sizes > 0, tf.int32)
    of_run = _by_word(present, run)
    # As many numbers as the run has words, and no other run has them: that its words stand a few places on is no matter.
    first = tf.gather(tf.cumsum(of_run, axis=1, exclusive=True), run, batch_dims=1)
    words = tf.maximum(tf.gather(of_run, run, batch_dims=1), 1)
    place = tf.range(LONGEST_SPAN)[:, None, None]
    begin = first + tf.math.floormod(tf.range(run.shape[1]) - first - place, words)
    chances = SPAN_STOP * (1 - SPAN_STOP) ** np.arange(LONGEST_SPAN)
    reaches = np.cumsum(chances[::-1])[::-1] / chances.sum()  # the chance to hold more than 0, 1, 2, … words
    limits = tf.constant(np.round(reaches * (2**32 - 1)).astype(np.uint32)[:, None, None])
    holds = shuffle_order.random_uint32(key, begin + STREAM) <= limits
    # The last bits say the place in the span, so that a span too long for what is left to hide loses its end.
    score = _score(shuffle_order.random_uint32(key, begin)) // 16 * 16 + (15 - place)
    return tf.reduce_max(tf.where(holds, score, -1), axis=0)


def take(sizes: tf.Tensor, scores: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Words whole, in the order of their scores, while they fit the budget; what does not fit is passed over.

        sizes 2 1 3 1 0 1, scores 9 8 7 6 5 4
        budget 3 -> 1 1 0 0 0 0        budget 4 -> 1 1 0 1 0 0        sizes 5 7, scores 3 4, budget 2 -> 0 1 (none fits)

    Args:
        sizes: int32 [B, S], 0: no word.
        scores: int32 [B, S], 0 and above; of equals the first comes first.
        budget: int32 [B], 1 or more where there is a word.

    Returns:
        bool [B, S].
    """
    width = sizes.shape[1]
    ranked = tf.math.top_k(tf.where(sizes > 0, scores, -1), k=width).indices
    size = tf.gather(sizes, ranked, batch_dims=1)
    taken = tf.zeros_like(size, tf.bool)
    for _ in range(ROUNDS):
        left = budget[:, None] - tf.reduce_sum(tf.where(taken, size, 0), axis=1, keepdims=True)
        fits = tf.logical_not(taken) & (size > 0) & (size <= left)
        taken |= fits & (tf.cumsum(tf.where(fits, size, 0), axis=1) <= left)
    # Longer words than the budget, all of them: one is better than none, and `hide` cuts it.
    taken |= tf.logical_not(tf.reduce_any(taken, axis=1, keepdims=True)) & (size > 0) & (tf.range(width) == 0)
    rows = tf.shape(sizes)[0]
    flat = ranked + width * tf.range(rows)[:, None]
    back = tf.scatter_nd(tf.reshape(flat, [-1, 1]), tf.reshape(tf.cast(taken, tf.int32), [-1]), [rows * width])
    return tf.reshape(back, tf.shape(sizes)) > 0


def hide(
    token_ids: tf.Tensor, chosen: tf.Tensor, budget: tf.Tensor, key: tf.Tensor, vocabulary: Vocabulary, places: int
) -> dict[str, tf.Tensor]:
    """Put the mask (80%) or a random ordinary id (10%) where `chosen` (bool [B, S]) is, `budget` tokens at most a row.

        token_ids 259 70 71 72 73 260, chosen 0 1 0 1 1 0, budget 2, P = 3, mask 261; key of seed 0 and draw 0
        -> token_ids 259 261 71 261 73 260, target_places 1 3 0, target_ids 70 72 0, target_weights 1 1 0

    Returns:
        As `mask_tokens`.
    """
    rows, width = tf.shape(token_ids)[0], token_ids.shape[1]
    column = tf.range(width)
    # The first places of the chosen, rising: the largest of S - column.
    from_end = tf.math.top_k(tf.where(chosen, width - column, 0), k=places).values
    used = (from_end > 0) & (tf.range(places) < budget[:, None])
    place = tf.where(used, width - from_end, 0)
    original = tf.gather(token_ids, place, batch_dims=1)
    luck, other = (shuffle_order.random_uint32(key, place + kind * STREAM) for kind in (2, 3))
    ordinary = np.flatnonzero(~vocabulary.special).astype(np.int32)
    new = tf.where(
        shuffle_order.random_bool(luck, MASKED + REPLACED),
        tf.gather(ordinary, shuffle_order.random_below(other, len(ordinary))),
        original,
    )
    new = tf.where(shuffle_order.random_bool(luck, MASKED), vocabulary.mask_id, new)
    # Unused targets write what stands at place 0, which is [CLS] and never a target.
    flat = tf.reshape(place + width * tf.range(rows)[:, None], [-1, 1])
    values = tf.reshape(tf.where(used, new, original), [-1])
    result = tf.tensor_scatter_nd_update(tf.reshape(token_ids, [-1]), flat, values)
    return {
        features.TOKEN_IDS: tf.reshape(result, tf.shape(token_ids)),
        features.TARGET_PLACES: place,
        features.TARGET_IDS: tf.where(used, original, 0),
        features.TARGET_WEIGHTS: tf.cast(used, tf.float32),
    }


def _score(number: tf.Tensor) -> tf.Tensor:
    """uint32 to int32, 0 and above."""
    return tf.cast(number // 2, tf.int32)


def _by_word(values: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """The sum of `values` of each word's tokens, at the number of the word; both int32 [B, S]."""
    rows, width = tf.shape(words)[0], words.shape[1]
    flat = tf.reshape(words + width * tf.range(rows)[:, None], [-1])
    return tf.reshape(tf.math.unsorted_segment_sum(tf.reshape(values, [-1]), flat, rows * width), tf.shape(words))
