"""The position-wise feed-forward layer, plain (Vaswani et al. 2017) or gated (Shazeer 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.mesh import apart


@tf.custom_gradient
def gelu_tanh(x: tf.Tensor):  # type: ignore[no-untyped-def]
    """The tanh form of GELU (Hendrycks & Gimpel 2016), as the same thing written with a sigmoid: x * sigmoid(u(x)).

    u(x) = 2 sqrt(2/pi) (x + 0.044715 x^3). Fewer passes over memory than the tanh form, and of all that is computed only the
    gate is kept.
    """
    slope, cubic = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
    gate = _sigmoid(x * (tf.square(x) * cubic + slope))
    y = x * gate

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (gate * ((x - y) * (tf.square(x) * (3 * cubic) + slope) + 1))

    return y, gradient


@tf.custom_gradient
def silu(x: tf.Tensor):  # type: ignore[no-untyped-def]
    """x * sigmoid(x) (Elfwing et al. 2017); of all that is computed only the gate is kept."""
    gate = _sigmoid(x)
    y = x * gate

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (gate + y * (1 - gate))

    return y, gradient


def _sigmoid(x: tf.Tensor) -> tf.Tensor:
    """In float32: bfloat16 takes twice as long, casts included."""
    return tf.cast(tf.sigmoid(tf.cast(x, tf.float32)), x.dtype)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": partial(tf.nn.gelu, approximate=False),
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
