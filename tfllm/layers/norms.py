"""Layer normalisation (Ba et al. 2016) and RMS normalisation (Zhang & Sennrich 2019), over the last axis, in float32.

Their gradients are written by hand: from the input and one or two numbers a row, where automatic ones keep three tensors more.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import sum_rows


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
        flat = tf.reshape(x, [-1, self.size])
        y = _layer_norm(flat, tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.bias), self.epsilon)
        return tf.reshape(y, tf.shape(x))


class RMSNorm(keras.layers.Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale."""

    def __init__(self, size: int, *, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.epsilon = size, epsilon

    def build(self, input_shape: Any = None) -> None:
        self.scale = self.add_weight(name="scale", shape=[self.size], initializer="ones", autocast=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., size] -> [..., size]."""
        y = _rms_norm(tf.reshape(x, [-1, self.size]), tf.convert_to_tensor(self.scale), self.epsilon)
        return tf.reshape(y, tf.shape(x))


def norm(kind: str, size: int, *, epsilon: float, **kwargs: Any) -> keras.layers.Layer:
    """The normalisation called "layer" or "rms"."""
    return {"layer": LayerNorm, "rms": RMSNorm}[kind](size, epsilon=epsilon, **kwargs)


def _layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
    """[M, D], float32 [D], float32 [D] -> [M, D]."""

    @tf.custom_gradient
    def normalise(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor):  # type: ignore[no-untyped-def]
        exact = tf.cast(x, tf.float32)
        mean = tf.reduce_mean(exact, -1, keepdims=True)
        centred = exact - mean
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            upstream = tf.cast(upstream, tf.float32)
            normal = (tf.cast(x, tf.float32) - mean) * inverse
            both = upstream * normal
            share = tf.matmul(both, scale[:, None]) / scale.shape[0]
            offset = tf.matmul(upstream, scale[:, None]) / scale.shape[0]
            by_x = (upstream * scale - offset - normal * share) * inverse
            return tf.cast(by_x, x.dtype), sum_rows(both), sum_rows(upstream)

        return tf.cast(centred * inverse * scale + bias, x.dtype), gradient

    return normalise(x, scale, bias)


def _rms_norm(x: tf.Tensor, scale: tf.Tensor, epsilon: float) -> tf.Tensor:
    """[M, D], float32 [D] -> [M, D]."""

    @tf.custom_gradient
    def normalise(x: tf.Tensor, scale: tf.Tensor):  # type: ignore[no-untyped-def]
        exact = tf.cast(x, tf.float32)
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(exact), -1, keepdims=True) + epsilon)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = tf.cast(upstream, tf.float32)
            normal = tf.cast(x, tf.float32) * inverse
            both = upstream * normal
            share = tf.matmul(both, scale[:, None]) / scale.shape[0]
            return tf.cast((upstream * scale - normal * share) * inverse, x.dtype), sum_rows(both)

        return tf.cast(exact * inverse * scale, x.dtype), gradient

    return normalise(x, scale)
