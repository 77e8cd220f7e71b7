"""Dropout (Srivastava et al. 2014) without state: the mask of a row is a function of the row's seed.

So a row is dropped alike wherever it is computed: in a whole batch, a micro-batch, or on any replica. No seeds, no dropout:
that is how inference is told from training, all through the layers.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import as_bytes
from tfllm.layers.stateless_random import random_words


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None, options: CallOptions = CallOptions()) -> tf.Tensor:
    """Zeroes units with probability `rate` and scales the others so that the mean stays.

    One random word serves four units, so the rate is kept in steps of 1/256 (0.1 becomes 26/256), and the scale is that
    of the rate kept: the expectation is exact. The gradient makes the mask again.

    Args:
        x: [B, ...], float32 or bfloat16.
        rate: in [0, 1).
        seed: int32 [B], or None for the identity.
        options: of the call.
    """
    if seed is None or kept_share(rate) == 1:
        return x

    @custom_gradient
    def dropped(x: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        settings: Any = dict(rate=rate, compiled=options.compiled)
        return _dropped(x, seed, **settings), lambda upstream: _dropped(upstream, seed, **settings)

    return dropped(x, options=options)


def add_dropped(
    residual: tf.Tensor, x: tf.Tensor, rate: float, seed: tf.Tensor | None, options: CallOptions = CallOptions()
) -> tf.Tensor:
    """`residual + dropout(x)`. [B, ...] and `dropout`'s arguments -> [B, ...]."""
    if seed is None or kept_share(rate) == 1:
        return residual + x

    @custom_gradient
    def added(residual: tf.Tensor, x: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        settings: Any = dict(rate=rate, compiled=options.compiled)
        return _added(residual, x, seed, **settings), lambda upstream: (upstream, _dropped(upstream, seed, **settings))

    return added(residual, x, options=options)


def seed_of_call(x: tf.Tensor, seed: tf.Tensor | None, training: bool | None, *rates: float) -> tf.Tensor | None:
    """The seeds of a layer's dropout, int32 [B] for x [B, ...]: those given, else fresh ones in training, else None."""
    if seed is not None or not training or not any(rates):
        return seed
    return tf.random.uniform(tf.shape(x)[:1], maxval=tf.int32.max, dtype=tf.int32)


@fused
def _dropped(x: tf.Tensor, seed: tf.Tensor, *, rate: float, compiled: bool) -> tf.Tensor:
    return rounded(tf.cast(zeroed(x, rate, seed), tf.float32) * (1 / kept_share(rate)), x.dtype, compiled=compiled)


@fused
def _added(residual: tf.Tensor, x: tf.Tensor, seed: tf.Tensor, *, rate: float, compiled: bool) -> tf.Tensor:
    scaled = tf.cast(zeroed(x, rate, seed), tf.float32) * (1 / kept_share(rate))
    return rounded(tf.cast(residual, tf.float32) + scaled, x.dtype, compiled=compiled)


def zeroed(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """`x` [B, ...] where a unit is kept, 0 where it is dropped, by the rows' seeds, int32 [B]; not scaled."""
    shape = tf.shape(x)
    count = tf.reduce_prod(shape[1:])
    lanes = tf.reshape(as_bytes(random_words(seed, (count + 3) // 4)), [shape[0], -1])[:, :count]
    keep = tf.reshape(lanes >= tf.constant(_threshold(rate), tf.uint8), shape)

    @tf.custom_gradient
    def masked(x: tf.Tensor):  # type: ignore[no-untyped-def]
        # By its bits: XLA makes vectors of it in every dtype.
        word = {2: tf.uint16, 4: tf.uint32}[x.dtype.size]
        bits = tf.bitwise.bitwise_and(tf.bitcast(x, word), tf.cast(keep, word) * tf.constant(word.max, word))
        return tf.bitcast(bits, x.dtype), masked

    return masked(x)


def kept_share(rate: float) -> float:
    """The share of units that `zeroed` keeps: 1 - `rate`, in steps of 1/256."""
    return 1 - _threshold(rate) / 256


def _threshold(rate: float) -> int:
    return min(round(rate * 256), 255)
