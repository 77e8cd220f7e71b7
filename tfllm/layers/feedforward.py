"""The position-wise feed-forward layer, plain (Vaswani et al. 2017) or gated (Shazeer 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import split

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


def activation_called(name: str) -> Activation:
    """The activation of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is invalid: expected {', '.join(map(repr, ACTIVATIONS))}. Give one of these")
    return ACTIVATIONS[name]


@keras.saving.register_keras_serializable(package="tfllm")
class FeedForward(Composite):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) with gate and up in one projection, [D] -> [2F].

    >>> y = tfllm.layers.FeedForward(2048, activation="relu")(x)

    Args:
        inner_size: F.
        input_size: D; that of the first call unless given.
        activation: "relu", "gelu", "gelu_tanh" or "silu".
        gated: multiply by a second projection (Shazeer 2020): "silu" and `gated=True` are SwiGLU.
        use_bias: biases of the projections.
        stddev, output_stddev: of the first weights of the projections up and down; `output_stddev` is `stddev` unless given.

    Raises:
        ValueError: there is no such activation.
    """

    def __init__(
        self,
        inner_size: int,
        *,
        input_size: int | None = None,
        activation: str = "gelu",
        gated: bool = False,
        use_bias: bool = True,
        stddev: float = 0.02,
        output_stddev: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.inner_size, self.activation, self.gated, self.use_bias = inner_size, activation_called(activation), gated, use_bias
        self.stddev, self.output_stddev = stddev, stddev if output_stddev is None else output_stddev

        if input_size:
            self._make_layers(input_size)

    def build(self, input_shape: Any = None) -> None:
        if not self._layers:
            self._make_layers(input_shape[-1])
        self.output_shape = tuple(input_shape)
        super().build(input_shape)

    def _make_layers(self, size: int) -> None:
        policy = dict(dtype=self.dtype_policy)
        widths = [self.inner_size] * (1 + self.gated)
        self.up = Linear(size, *widths, use_bias=self.use_bias, stddev=self.stddev, name="up", **policy)
        self.down = Linear(self.inner_size, size, use_bias=self.use_bias, stddev=self.output_stddev, name="down", **policy)

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[B, S, D] -> [B, S, D]."""
        inner = self.up(x, options=options)
        if not self.gated:
            return self.down(self.activation(inner, options), options=options)
        gate, up = split(inner, self.up.parts, axis=-1, groups=self.up.groups)
        return self.down(self.activation(gate, options) * up, options=options)
