"""Layer normalisation (Ba et al. 2016) and RMS normalisation (Zhang & Sennrich 2019), over the last axis, in float32.

Their gradients are written by hand: from the input and one or two numbers a row, where automatic ones keep three tensors more.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import Configurable, sizes_of, sum_rows
from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.fused import fused, rounded


class _Norm(Configurable):
    """What both norms share: a scale [D], where D is the size of the last axis."""

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon, self.supports_masking = epsilon, True

    def build(self, input_shape: Any) -> None:
        self.output_shape = tuple(input_shape)
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones", autocast=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="tfllm")
class LayerNorm(_Norm):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias (Ba et al. 2016), over the last axis.

    Args:
        epsilon: added to the variance.
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.bias = self.add_weight(name="bias", shape=input_shape[-1:], initializer="zeros", autocast=False)

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[..., D] -> [..., D]."""
        flat = tf.reshape(x, [-1, self.scale.shape[0]])
        scale, bias = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.bias)
        y = _layer_norm(flat, scale, bias, self.epsilon, options)
        return tf.reshape(y, sizes_of(x))


@keras.saving.register_keras_serializable(package="tfllm")
class RMSNorm(_Norm):
    """x / sqrt(mean(x^2) + epsilon) * scale (Zhang & Sennrich 2019), over the last axis.

    Args:
        epsilon: added to the mean square.
    """

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[..., D] -> [..., D]."""
        y = _rms_norm(tf.reshape(x, [-1, self.scale.shape[0]]), tf.convert_to_tensor(self.scale), self.epsilon, options)
        return tf.reshape(y, sizes_of(x))


_NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def norm(kind: str, *, epsilon: float, **kwargs: Any) -> keras.layers.Layer:
    """The normalisation called "layer" or "rms".

    Raises:
        ValueError: there is none of that name.
    """
    if kind not in _NORMS:
        raise ValueError(f"norm={kind!r} is invalid: expected {' or '.join(map(repr, _NORMS))}. Give one of these")
    return _NORMS[kind](epsilon, **kwargs)


def _layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float, options: CallOptions) -> tf.Tensor:
    """[M, D], float32 [D], float32 [D] -> [M, D]."""

    @custom_gradient
    def normalise(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        compiled = options.compiled
        y, mean, inverse = _normalised(x, scale, bias, epsilon=epsilon, compiled=compiled)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            both = _by_normal(x, upstream, mean, inverse, compiled=compiled)
            exact = tf.cast(upstream, tf.float32)
            share = tf.matmul(both, scale[:, None]) / scale.shape[0]
            offset = tf.matmul(exact, scale[:, None]) / scale.shape[0]
            by_input = _by_input(x, upstream, mean, inverse, scale, share, offset, compiled=compiled)
            return by_input, sum_rows(both), sum_rows(exact)

        return y, gradient

    return normalise(x, scale, bias, options=options)


@fused
def _normalised(
    x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, *, epsilon: float, compiled: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Layer norm, and the means and inverse deviations, float32 [M, 1]."""
    exact = tf.cast(x, tf.float32)
    mean = tf.reduce_mean(exact, -1, keepdims=True)
    centred = exact - mean
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
    return rounded(centred * inverse * scale + bias, x.dtype, compiled=compiled), mean, inverse


@fused
def _by_normal(x: tf.Tensor, upstream: tf.Tensor, mean: tf.Tensor | float, inverse: tf.Tensor, *, compiled: bool) -> tf.Tensor:
    """Upstream times the normal input, whose sums are the scale's gradient: float32."""
    return tf.cast(upstream, tf.float32) * ((tf.cast(x, tf.float32) - mean) * inverse)


@fused
def _by_input(
    x: tf.Tensor,
    upstream: tf.Tensor,
    mean: tf.Tensor | float,
    inverse: tf.Tensor,
    scale: tf.Tensor,
    share: tf.Tensor,
    offset: tf.Tensor | float,
    *,
    compiled: bool,
) -> tf.Tensor:
    """The gradient by the input; `share` and `offset` are the means over a row of what is not to change in it."""
    normal = (tf.cast(x, tf.float32) - mean) * inverse
    return rounded((tf.cast(upstream, tf.float32) * scale - offset - normal * share) * inverse, x.dtype, compiled=compiled)


def _rms_norm(x: tf.Tensor, scale: tf.Tensor, epsilon: float, options: CallOptions) -> tf.Tensor:
    """[M, D], float32 [D] -> [M, D]."""

    @custom_gradient
    def normalise(x: tf.Tensor, scale: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        compiled = options.compiled
        y, inverse = _divided(x, scale, epsilon=epsilon, compiled=compiled)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            both = _by_normal(x, upstream, 0.0, inverse, compiled=compiled)
            share = tf.matmul(both, scale[:, None]) / scale.shape[0]
            return _by_input(x, upstream, 0.0, inverse, scale, share, 0.0, compiled=compiled), sum_rows(both)

        return y, gradient

    return normalise(x, scale, options=options)


@fused
def _divided(x: tf.Tensor, scale: tf.Tensor, *, epsilon: float, compiled: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """RMS norm, and what rows were multiplied by, float32 [M, 1]."""
    exact = tf.cast(x, tf.float32)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(exact), -1, keepdims=True) + epsilon)
    return rounded(exact * inverse * scale, x.dtype, compiled=compiled), inverse
