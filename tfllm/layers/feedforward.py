"""The position-wise feed-forward layer, plain (Vaswani et al. 2017) or gated (Shazeer 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import apart

_SLOPE, _CUBIC = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
_Function = Callable[[tf.Tensor], tf.Tensor]
Activation = Callable[..., tf.Tensor]
"""x, options -> the same shape."""


def _activation(value: _Function, slope: _Function) -> Activation:
    """Both computed in float32; the gradient begins with x again, nothing else is kept."""

    @fused
    def forward(x: tf.Tensor, *, compiled: bool) -> tf.Tensor:
        return rounded(value(tf.cast(x, tf.float32)), x.dtype, compiled=compiled)

    @fused
    def backward(x: tf.Tensor, upstream: tf.Tensor, *, compiled: bool) -> tf.Tensor:
        return rounded(tf.cast(upstream, tf.float32) * slope(tf.cast(x, tf.float32)), x.dtype, compiled=compiled)

    @custom_gradient
    def activate(x: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        compiled = options.compiled
        return forward(x, compiled=compiled), lambda upstream: backward(x, upstream, compiled=compiled)

    return lambda x, options=CallOptions(): activate(x, options=options)


def _share_below(x: tf.Tensor) -> tf.Tensor:
    """Of the normal distribution."""
    return (1 + tf.math.erf(x / math.sqrt(2))) / 2


def _gelu_slope(x: tf.Tensor) -> tf.Tensor:
    return _share_below(x) + x * tf.exp(-tf.square(x) / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh_gate(x: tf.Tensor) -> tf.Tensor:
    """x times it is the tanh form: sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))."""
    return tf.sigmoid(x * (tf.square(x) * _CUBIC + _SLOPE))


def _gelu_tanh_slope(x: tf.Tensor) -> tf.Tensor:
    gate = _gelu_tanh_gate(x)
    return gate * (x * (1 - gate) * (tf.square(x) * (3 * _CUBIC) + _SLOPE) + 1)


def _silu_slope(x: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(x)
    return gate * (1 + x * (1 - gate))


gelu = _activation(lambda x: x * _share_below(x), _gelu_slope)
"""Hendrycks & Gimpel 2016."""
gelu_tanh = _activation(lambda x: x * _gelu_tanh_gate(x), _gelu_tanh_slope)
"""Its tanh form."""
silu = _activation(lambda x: x * tf.sigmoid(x), _silu_slope)
"""Elfwing et al. 2017."""

ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": lambda x, options=CallOptions(): tf.nn.relu(x),
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
        self.activation, self.gated, self.output_shape = ACTIVATIONS[activation], gated, (None, None, size)
        self.up = Linear(size, *[inner_size] * (1 + gated), use_bias=use_bias, stddev=stddev, name="up", **policy)
        self.down = Linear(inner_size, size, use_bias=use_bias, stddev=output_stddev, name="down", **policy)

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[B, S, D] -> [B, S, D]."""
        inner = self.up(x, options=options)
        if not self.gated:
            return self.down(self.activation(inner, options), options=options)
        gate, up = apart(inner, self.up.parts, axis=-1, groups=self.up.groups)
        return self.down(self.activation(gate, options) * up, options=options)
