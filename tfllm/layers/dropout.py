"""Dropout (Srivastava et al. 2014) without state: the mask of a row is a function of the row's seed.

So a row is dropped alike wherever it is computed: in a whole batch, a micro-batch, or on any replica. No seeds, no dropout:
that is how inference is told from training, all through the layers.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.counter_random import random_words
from tfllm.layers.mesh import as_bytes


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Zeroes units with probability `rate` and scales the others so that the mean stays.

    One random word serves four units, so the rate is kept in steps of 1/256 (0.1 becomes 26/256), and the scale is that
    of the rate kept: the expectation is exact.

    Args:
        x: [B, ...] floating.
        rate: in [0, 1).
        seed: int32 [B], or None for the identity.
    """
    if seed is None or kept_share(rate) == 1:
        return x
    return x * (keep_mask(tf.shape(x), rate, seed, x.dtype) * tf.constant(1 / kept_share(rate), x.dtype))


def keep_mask(shape: tf.Tensor, rate: float, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """1 where a unit is kept, 0 where it is dropped: `dtype` [B, ...], as `shape` says, by the rows' seeds, int32 [B]."""
    count = tf.reduce_prod(shape[1:])
    lanes = tf.reshape(as_bytes(random_words(seed, (count + 3) // 4)), [shape[0], -1])[:, :count]
    return tf.cast(tf.reshape(lanes >= tf.constant(_threshold(rate), tf.uint8), shape), dtype)


def kept_share(rate: float) -> float:
    """The share of units that `keep_mask` keeps: 1 - `rate`, in steps of 1/256."""
    return 1 - _threshold(rate) / 256


def _threshold(rate: float) -> int:
    return min(round(rate * 256), 255)
