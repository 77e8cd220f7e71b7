"""Choosing one token per row from the scores of the vocabulary: pure functions; every setting is a vector.

Input: logits [B, V], and `RowSettings`, one value per row. Output: logits, -infinity for improbable tokens, or token ids [B].
A row's result depends only on that row. What the tokens so far change in the logits: `penalties.py`. Sources: Fan et al. 2018
(top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p), Maddison et al. 2014 (draws by Gumbel noise).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.generation.row_settings import RowSettings
from tfllm.layers.stateless_random import fold_in, random_words

_NOTHING = float("-inf")
_FEW = 256


def truncate(logits: tf.Tensor, *, top_k: tf.Tensor, top_p: tf.Tensor, min_p: tf.Tensor) -> tf.Tensor:
    """-infinity for tokens that are not among the k most probable, not in the nucleus of those, or far below the best.

        probabilities      0.5  0.3  0.15 0.05
        top_k 3            0.5  0.3  0.15  .
        top_p 0.7          0.5  0.3   .    .      the fewest that have 0.7 together
        min_p 0.2          0.5  0.3  0.15  .      at least 0.2 x 0.5

    Tokens exactly as probable as the last one kept are kept.

    Args:
        logits: float32 [B, V].
        top_k: int32 [B], 0 is off. top_p: float32 [B], 1 is off. min_p: float32 [B], 0 is off.

    Returns:
        float32 [B, V]. The most probable token is always kept.
    """
    floor = tf.reduce_max(logits, 1) + tf.math.log(min_p)
    ranked = tf.reduce_any((top_k > 0) | (top_p < 1))
    floor = tf.cond(ranked, lambda: tf.maximum(floor, _rank_floor(logits, top_k, top_p)), lambda: floor)
    return tf.where(logits >= floor[:, None], logits, _NOTHING)


def _rank_floor(logits: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """The score of the last token that top-k and top-p keep: float32 [B]. Sorts as few scores as possible."""
    vocabulary = tf.shape(logits)[1]
    top_k = tf.where(top_k > 0, tf.minimum(top_k, vocabulary), vocabulary)
    # The nucleus of a language model is nearly always among a few hundred tokens.
    few = tf.minimum(vocabulary, tf.maximum(_FEW, tf.reduce_max(tf.where(top_k < vocabulary, top_k, 0))))
    log_total = tf.reduce_logsumexp(logits, 1)
    mass = tf.reduce_sum(tf.exp(tf.math.top_k(logits, few).values - log_total[:, None]), 1)
    enough = tf.reduce_all((top_k <= few) | (top_p >= 1) | (mass > top_p + 1e-3))
    best = tf.math.top_k(logits, tf.where(enough, few, vocabulary)).values

    rank = tf.range(tf.shape(best)[1])[None]
    among_k = rank < top_k[:, None]
    log_total_k = tf.reduce_logsumexp(tf.where(among_k, best, _NOTHING), 1)
    log_total = tf.where(top_k < vocabulary, log_total_k, log_total)
    before = tf.cumsum(tf.exp(best - log_total[:, None]), axis=1, exclusive=True)
    kept = among_k & ((before < top_p[:, None]) | (top_p >= 1)[:, None])
    floor = tf.reduce_min(tf.where(kept, best, float("inf")), 1)
    return tf.where((top_k < vocabulary) | (top_p < 1), floor, _NOTHING)


def draw(logits: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Draws one token for each row from the distribution of its scores: the token whose score plus Gumbel noise is largest.

    Each token has its own noise. So rows with equal seeds and similar scores mostly draw the same token. If the cumulative
    distribution were inverted instead, a difference in one token would shift all tokens after it.

    Args:
        logits: float32 [B, V]. seeds: int32 [B], one number each.

    Returns:
        int32 [B].
    """
    words = tf.cast(random_words(seeds, tf.shape(logits)[1]), tf.float32)
    # In (0, 1): at 0 any token would win, at 1 none.
    uniform = tf.minimum((words + 0.5) * 2.0**-32, 1 - 2.0**-24)
    return tf.argmax(logits - tf.math.log(-tf.math.log1p(-uniform)), 1, output_type=tf.int32)


def choose(logits: tf.Tensor, settings: RowSettings, *, positions: tf.Tensor) -> tf.Tensor:
    """The next token of each row: the most probable one if the temperature is 0, else a drawn one.

    The random number is a function of the row's seed and the position. It does not depend on the other rows of the batch, nor
    on where the prompt ends and the continuation begins.

    Args:
        logits: float32 [B, V], after the penalties.
        settings: one value for each row.
        positions: int32 [B], the position of the next token.

    Returns:
        int32 [B].
    """
    best = tf.argmax(logits, 1, output_type=tf.int32)

    def sampled() -> tf.Tensor:
        warm = settings.temperature > 0
        scaled = logits / tf.where(warm, settings.temperature, 1.0)[:, None]
        # Rows with temperature 0 must not cause the scores to be sorted.
        kept = truncate(
            scaled,
            top_k=tf.where(warm, settings.top_k, 0),
            top_p=tf.where(warm, settings.top_p, 1.0),
            min_p=settings.min_p,
        )
        return tf.where(warm, draw(kept, fold_in(settings.seed, positions)), best)

    return tf.cond(tf.reduce_any(settings.temperature > 0), sampled, lambda: best)


def log_prob(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """log p of each row's token, in nats. float32 [B, V], int32 [B] -> float32 [B]."""
    return tf.gather(logits, ids, batch_dims=1) - tf.reduce_logsumexp(logits, 1)
