"""From the model's width to what it predicts."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import Composite, Linear, normal, sizes_of
from tfllm.layers.call_options import CallOptions
from tfllm.layers.embeddings import Embedding
from tfllm.layers.feedforward import ACTIVATIONS
from tfllm.layers.norms import norm


class VocabularyHead(keras.layers.Layer):
    """Scores of every token: hidden @ kernel^T, with a kernel [V, D] of its own or the table of an embedding.

    This class is the interface, and the implementation that is trained. Other implementations inherit it and write `product`
    (`transposed.py`, `packed.py`, `quantized.py`).

    Args:
        size: D.
        vocab_size: V.
        tied: there is no kernel: the caller gives an embedding with each call.
        use_bias: add a bias [V], zero at first.
    """

    def __init__(self, size: int, vocab_size: int, *, tied: bool, stddev: float, use_bias: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.shape, self.tied, self.stddev, self.use_bias = (vocab_size, size), tied, stddev, use_bias
        self.output_shape = (None, None, vocab_size)

    def build(self, input_shape: Any = None) -> None:
        if not self.tied:
            first = normal(self.stddev)
            self.kernel = self.add_weight(name="kernel", shape=self.shape, initializer=first, autocast=False)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=self.shape[:1], initializer="zeros", autocast=False)

    def call(self, hidden: tf.Tensor, embedding: Embedding | None = None, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[..., D] -> float32 [..., V]. A tied head takes its model's embedding."""
        assert self.tied == (embedding is not None), "a tied head takes an embedding, another head takes none"
        flat = tf.reshape(hidden, [-1, self.shape[1]])
        flat = self.product(flat, options) if embedding is None else embedding.reverse(flat, options)
        flat = tf.cast(flat, tf.float32)
        if self.use_bias:
            flat += tf.convert_to_tensor(self.bias)
        return tf.reshape(flat, [*sizes_of(hidden)[:-1], self.shape[0]])

    def product(self, hidden: tf.Tensor, options: CallOptions) -> tf.Tensor:
        """hidden @ kernel^T. [M, D] -> [M, V]."""
        return tf.matmul(hidden, tf.cast(self.matrix, hidden.dtype), transpose_b=True)

    @property
    def matrix(self) -> tf.Tensor:
        """The kernel, [V, D]."""
        return tf.convert_to_tensor(self.kernel)

    def settings(self) -> dict[str, Any]:
        """The constructor's keywords that make a layer like this one."""
        return dict(tied=self.tied, stddev=self.stddev, use_bias=self.use_bias, name=self.name, dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        own = dict(size=self.shape[1], vocab_size=self.shape[0], tied=self.tied, stddev=self.stddev, use_bias=self.use_bias)
        return super().get_config() | own


class Pooler(Composite):
    """tanh(dense(first token)) (Devlin et al. 2018)."""

    def __init__(self, size: int, *, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.dense = Linear(size, size, use_bias=True, stddev=stddev, name="dense", dtype=self.dtype_policy)
        self.dense.output_shape = self.output_shape = (None, size)

    def call(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[B, S, D] -> [B, D]."""
        return tf.tanh(self.dense(hidden[:, 0], options=options))


class Transform(Composite):
    """norm(activation(dense(x))): what a masked language model does before it scores the vocabulary (Devlin et al. 2018)."""

    def __init__(self, size: int, *, activation: str, norm_kind: str, norm_epsilon: float, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.activation, self.output_shape = ACTIVATIONS[activation], (None, None, size)
        self.dense = Linear(size, size, use_bias=True, stddev=stddev, name="dense", **policy)
        self.norm = norm(norm_kind, epsilon=norm_epsilon, name="norm", **policy)

    def build(self, input_shape: Any = None) -> None:
        super().build(self.output_shape)

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[..., D] -> [..., D]."""
        return self.norm(self.activation(self.dense(x, options=options), options), options=options)
