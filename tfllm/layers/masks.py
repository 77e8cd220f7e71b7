"""Which query sees which key: the one place where attention masks are made.

Inputs: positions and segments of queries and keys, or Keras' masks. Outputs: boolean masks, True where a query sees a key.
Segment 0 is padding: nobody sees it.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import tensorflow as tf

HIDDEN = 3e4
"""Subtracted from the score of a key that is not seen: far above any score, and a number of float16, whose largest is 65504."""


def attention_mask(
    query_positions: tf.Tensor,
    query_segments: tf.Tensor,
    *,
    key_positions: tf.Tensor,
    key_segments: tf.Tensor,
    causal: bool,
    window: int = 0,
) -> tf.Tensor:
    """True where a query sees a key: in its own segment, and not behind it where `causal`.

    Two documents of two tokens and one padding place, causal (rows are queries, 1 means True):

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
        bool [B, 1, S, T] (or [1, 1, S, T]).
    """
    queries, keys = query_positions[:, :, None], key_positions[:, None, :]
    seen = (query_segments[:, :, None] == key_segments[:, None, :]) & (key_segments[:, None, :] > 0)
    if causal:
        seen &= keys <= queries
    if window:
        seen &= tf.abs(queries - keys) < window
    return seen[:, None, :, :]


def causal_mask(length: int | tf.Tensor) -> tf.Tensor:
    """Each token of a row sees itself and those before it. bool [1, 1, S, S]."""
    order = tf.range(length)
    return (order[None, :] <= order[:, None])[None, None]


def combined_mask(*, attention: tf.Tensor | None, keys: tf.Tensor | None) -> tf.Tensor | None:
    """What both masks allow; None where neither hides anything.

    Args:
        attention: bool or int, [S, T], [B, S, T] or [B, N, S, T]: True where a query sees a key.
        keys: bool or int [B, T]: False for padding.

    Returns:
        bool [B or 1, N or 1, S or 1, T].

    Raises:
        ValueError: `attention` has another rank.
    """
    masks = []
    if attention is not None:
        rank = attention.shape.rank
        if rank not in (2, 3, 4):
            raise ValueError(
                f"attention_mask of shape {tuple(attention.shape)} is invalid: expected [S, T], [B, S, T] or [B, N, S, T]. "
                "Give a mask [B, T] of padding as mask= (of x) or memory_mask="
            )
        while attention.shape.rank < 4:
            attention = attention[:, None] if attention.shape.rank == 3 else attention[None]
        masks.append(tf.cast(attention, tf.bool))
    if keys is not None:
        masks.append(tf.cast(keys, tf.bool)[:, None, None, :])
    return functools.reduce(operator.and_, masks) if masks else None


def keras_mask(x: Any, given: tf.Tensor | None) -> tf.Tensor | None:
    """The mask bool [B, S] of a layer's input: the one given, or the one that Keras keeps on the tensor.

    Keras fills a layer's argument `mask` only where its input is the only tensor among its arguments.
    """
    return getattr(x, "_keras_mask", None) if given is None else given


def at_queries(x: tf.Tensor | None, positions: tf.Tensor) -> tf.Tensor | None:
    """A mask or bias of the queries at `positions` only.

    [B or 1, N or 1, S or 1, T], int32 [B, P] -> [B, N or 1, P or 1, T].
    """
    if x is None or x.shape[2] == 1:
        return x
    if x.shape[0] == 1:
        return tf.transpose(tf.gather(x[0], positions, axis=1), [1, 0, 2, 3])
    return tf.gather(x, positions, axis=2, batch_dims=1)
