"""From the model's width to what it predicts."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import Composite, Linear, sizes_of
from tfllm.layers.feedforward import ACTIVATIONS
from tfllm.layers.first_values import normal
from tfllm.layers.norms import norm
from tfllm.layers.stand_ins import stand_in


class VocabularyHead(keras.layers.Layer):
    """Scores of every token: hidden @ kernel^T, with a kernel [V, D] of its own or the embedding table's.

    Args:
        size: D.
        vocab_size: V.
        embedding: the layer whose table is used, or None for a kernel of its own.
        use_bias: add a bias [V], zero at first.
    """

    def __init__(
        self,
        size: int,
        vocab_size: int,
        *,
        embedding: keras.layers.Layer | None,
        stddev: float,
        use_bias: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shape, self.stddev, self.use_bias = (vocab_size, size), stddev, use_bias
        self.output_shape = (None, None, vocab_size)
        # In a tuple, for Keras would count a layer held by two as two.
        self._tied_to = (lambda: embedding.embeddings,) if embedding is not None else ()

    def build(self, input_shape: Any = None) -> None:
        if not self._tied_to:
            first = normal(self.stddev)
            self._kernel = self.add_weight(name="kernel", shape=self.shape, initializer=first, autocast=False)
        self._bias = None
        if self.use_bias:
            self._bias = self.add_weight(name="bias", shape=self.shape[:1], initializer="zeros", autocast=False)

    @property
    def kernel(self) -> tf.Tensor:
        """[V, D], in the layer's compute dtype."""
        return tf.cast(self.variable.value, self.compute_dtype)

    @property
    def variable(self) -> Any:
        """Where the kernel is kept, [V, D]."""
        return self._tied_to[0]() if self._tied_to else self._kernel

    @property
    def bias(self) -> tf.Tensor | None:
        """float32 [V], or None."""
        return None if self._bias is None else self._bias.value

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., D] -> float32 [..., V]."""
        flat, product = tf.reshape(hidden, [-1, self.shape[1]]), stand_in(self)
        flat = tf.matmul(flat, self.kernel, transpose_b=True) if product is None else product(flat)
        flat = tf.cast(flat, tf.float32)
        if self.bias is not None:
            flat += self.bias
        return tf.reshape(flat, [*sizes_of(hidden)[:-1], self.shape[0]])


class Pooler(Composite):
    """tanh(dense(first token)) (Devlin et al. 2018)."""

    def __init__(self, size: int, *, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.dense = Linear(size, size, use_bias=True, stddev=stddev, name="dense", dtype=self.dtype_policy)
        self.dense.output_shape = self.output_shape = (None, size)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """[B, S, D] -> [B, D]."""
        return tf.tanh(self.dense(hidden[:, 0]))


class Transform(Composite):
    """norm(activation(dense(x))): what a masked language model does before it scores the vocabulary (Devlin et al. 2018)."""

    def __init__(self, size: int, *, activation: str, norm_kind: str, norm_epsilon: float, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.activation, self.output_shape = ACTIVATIONS[activation], (None, None, size)
        self.dense = Linear(size, size, use_bias=True, stddev=stddev, name="dense", **policy)
        self.norm = norm(norm_kind, size, epsilon=norm_epsilon, name="norm", **policy)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., D] -> [..., D]."""
        return self.norm(self.activation(self.dense(x)))
