"""From the model's width to what it predicts."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class VocabularyHead(keras.layers.Layer):
    """Scores of every token: hidden @ kernel^T, with a kernel [V, D] of its own or the embedding table's.

    Args:
        size: D.
        vocab_size: V.
        embedding: the layer whose table is used, or None for a kernel of its own.
    """

    def __init__(
        self,
        size: int,
        vocab_size: int,
        *,
        embedding: keras.layers.Layer | None,
        stddev: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shape, self.stddev = (vocab_size, size), stddev
        # In a tuple, for Keras would count a layer held by two as two.
        self._tied_to = (lambda: embedding.embeddings,) if embedding is not None else ()

    def build(self, input_shape: Any = None) -> None:
        if not self._tied_to:
            normal = keras.initializers.RandomNormal(stddev=self.stddev)
            self._kernel = self.add_weight(name="kernel", shape=self.shape, initializer=normal, autocast=False)

    @property
    def kernel(self) -> tf.Tensor:
        """[V, D], in the layer's compute dtype."""
        variable = self._tied_to[0]() if self._tied_to else self._kernel
        return tf.cast(variable.value, self.compute_dtype)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., D] -> float32 [..., V]."""
        flat = tf.matmul(tf.reshape(hidden, [-1, self.shape[1]]), self.kernel, transpose_b=True)
        return tf.reshape(tf.cast(flat, tf.float32), tf.concat([tf.shape(hidden)[:-1], self.shape[:1]], 0))
