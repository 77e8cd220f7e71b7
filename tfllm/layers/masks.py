"""Which query sees which key: the one place where attention masks are made.

Enters: the position and the segment of every query and every key. Leaves: numbers subtracted from the attention scores, 0
where the query sees the key and a very large number where not. Segment 0 is padding: nobody sees it.
"""

from __future__ import annotations

import tensorflow as tf

HIDDEN = 3e4
"""Far above any score, and a number of float16, whose largest is 65504."""


def attention_penalty(
    query_positions: tf.Tensor,
    query_segments: tf.Tensor,
    *,
    key_positions: tf.Tensor,
    key_segments: tf.Tensor,
    causal: bool,
    window: int = 0,
) -> tf.Tensor:
    """0 where a query sees a key, `HIDDEN` elsewhere.

    Two documents of two tokens and one padding place, causal (rows are queries, 1 means seen):

        segments  1 1 2 2 0      1 0 0 0 0
        positions 0 1 0 1 0      1 1 0 0 0
                                 0 0 1 0 0
                                 0 0 1 1 0
                                 0 0 0 0 0

    Args:
        query_positions, query_segments: int32 [B, S] or [1, S].
        key_positions, key_segments: int32 [B, T] or [1, T].
        causal: a query sees no later position.
        window: a query sees this many positions, its own included; 0 for all.

    Returns:
        float32 [B, 1, S, T] (or [1, 1, S, T]).
    """
    queries, keys = query_positions[:, :, None], key_positions[:, None, :]
    seen = (query_segments[:, :, None] == key_segments[:, None, :]) & (key_segments[:, None, :] > 0)
    if causal:
        seen &= keys <= queries
    if window:
        seen &= tf.abs(queries - keys) < window
    return tf.where(seen, 0.0, HIDDEN)[:, None, :, :]


def penalty_at(penalty: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Of the queries at `places` only. [B or 1, 1, S, T], int32 [B, P] -> [B, 1, P, T]."""
    if penalty.shape[0] == 1:
        return tf.gather(penalty[0, 0], places)[:, None]
    return tf.gather(penalty, places, axis=2, batch_dims=1)
