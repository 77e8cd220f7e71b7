"""Layer normalisation (Ba et al. 2016) and RMS normalisation (Zhang & Sennrich 2019), over the last axis, in float32."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class LayerNorm(keras.layers.Layer):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias."""

    def __init__(self, size: int, *, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.epsilon = size, epsilon

    def build(self, input_shape: Any = None) -> None:
        self.scale = self.add_weight(name="scale", shape=[self.size], initializer="ones", autocast=False)
        self.bias = self.add_weight(name="bias", shape=[self.size], initializer="zeros", autocast=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., size] -> [..., size]."""
        exact = tf.cast(x, tf.float32)
        centred = exact - tf.reduce_mean(exact, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        y = centred * tf.math.rsqrt(variance + self.epsilon) * self.scale + self.bias
        return tf.cast(y, x.dtype)


class RMSNorm(keras.layers.Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale."""

    def __init__(self, size: int, *, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.epsilon = size, epsilon

    def build(self, input_shape: Any = None) -> None:
        self.scale = self.add_weight(name="scale", shape=[self.size], initializer="ones", autocast=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., size] -> [..., size]."""
        exact = tf.cast(x, tf.float32)
        mean_square = tf.reduce_mean(tf.square(exact), -1, keepdims=True)
        return tf.cast(exact * tf.math.rsqrt(mean_square + self.epsilon) * self.scale, x.dtype)


def norm(kind: str, size: int, *, epsilon: float, **kwargs: Any) -> keras.layers.Layer:
    """The normalisation called "layer" or "rms"."""
    return {"layer": LayerNorm, "rms": RMSNorm}[kind](size, epsilon=epsilon, **kwargs)
