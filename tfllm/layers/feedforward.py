"""The position-wise feed-forward layer, plain (Vaswani et al. 2017) or gated (Shazeer 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import apart
from tfllm.layers.own_gradient import own_gradient

_SLOPE, _CUBIC = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715


@own_gradient
def gelu(x: tf.Tensor):  # type: ignore[no-untyped-def]
    """x times the normal distribution's share below x (Hendrycks & Gimpel 2016). The gradient begins with x again."""
    return _gelu(x), lambda upstream: _gelu_gradient(x, upstream)


@fused
def _gelu(x: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    return rounded(exact * _share_below(exact), x.dtype)


@fused
def _gelu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    density = tf.exp(-tf.square(exact) / 2) / math.sqrt(2 * math.pi)
    return rounded(tf.cast(upstream, tf.float32) * (_share_below(exact) + exact * density), x.dtype)


def _share_below(x: tf.Tensor) -> tf.Tensor:
    return (1 + tf.math.erf(x / math.sqrt(2))) / 2


@own_gradient
def gelu_tanh(x: tf.Tensor):  # type: ignore[no-untyped-def]
    """The tanh form of GELU (Hendrycks & Gimpel 2016), as the same thing written with a sigmoid: x * sigmoid(u(x)).

    u(x) = 2 sqrt(2/pi) (x + 0.044715 x^3). The gradient begins with x again: nothing else is kept.
    """
    return _gelu_tanh(x), lambda upstream: _gelu_tanh_gradient(x, upstream)


@fused
def _gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    return rounded(exact * tf.sigmoid(exact * (tf.square(exact) * _CUBIC + _SLOPE)), x.dtype)


@fused
def _gelu_tanh_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    square = tf.square(exact)
    gate = tf.sigmoid(exact * (square * _CUBIC + _SLOPE))
    slope = gate * (exact * (1 - gate) * (square * (3 * _CUBIC) + _SLOPE) + 1)
    return rounded(tf.cast(upstream, tf.float32) * slope, x.dtype)


@own_gradient
def silu(x: tf.Tensor):  # type: ignore[no-untyped-def]
    """x * sigmoid(x) (Elfwing et al. 2017); the gradient begins with x again."""
    return _silu(x), lambda upstream: _silu_gradient(x, upstream)


@fused
def _silu(x: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    return rounded(exact * tf.sigmoid(exact), x.dtype)


@fused
def _silu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    gate = tf.sigmoid(exact)
    return rounded(tf.cast(upstream, tf.float32) * gate * (1 + exact * (1 - gate)), x.dtype)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": tf.nn.relu,
    "silu": silu,
}


class FeedForward(Composite):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) with gate and up in one projection, [D] -> [2F]."""

    def __init__(
        self,
        size: int,
        *,
        inner_size: int,
        activation: str,
        gated: bool,
        use_bias: bool,
        stddev: float,
        output_stddev: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.activation, self.gated = ACTIVATIONS[activation], gated
        self.up = Linear(size, *[inner_size] * (1 + gated), use_bias=use_bias, stddev=stddev, name="up", **policy)
        self.down = Linear(inner_size, size, use_bias=use_bias, stddev=output_stddev, name="down", **policy)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, S, D] -> [B, S, D]."""
        inner = self.up(x)
        if not self.gated:
            return self.down(self.activation(inner))
        gate, up = apart(inner, self.up.parts, axis=-1, groups=self.up.groups)
        return self.down(self.activation(gate) * up)
