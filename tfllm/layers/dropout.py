"""Dropout (Srivastava et al. 2014) without state: the mask is a function of a seed.

No seed, no dropout: that is how inference is told from training, all through the layers.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.counter_random import random_words


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Zeroes units with probability `rate` and scales the others so that the mean stays.

    One random word serves four units, so the rate is kept in steps of 1/256 (0.1 becomes 26/256), and the scale is that
    of the rate kept: the expectation is exact.

    Args:
        x: [...] floating.
        rate: in [0, 1).
        seed: int32 [], or None for the identity.
    """
    threshold = min(round(rate * 256), 255)
    if seed is None or threshold == 0:
        return x
    count = tf.size(x)
    lanes = tf.reshape(tf.bitcast(random_words(seed, (count + 3) // 4), tf.uint8), [-1])[:count]
    keep = tf.reshape(lanes >= tf.constant(threshold, tf.uint8), tf.shape(x))
    return x * (tf.cast(keep, x.dtype) * tf.constant(256 / (256 - threshold), x.dtype))
