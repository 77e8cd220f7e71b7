"""Tables of vectors: one for each token, or for each position."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Embedding(keras.layers.Layer):
    """A table [rows, D]. The rows asked for are read in float32 and then cast, so the table itself is never copied."""

    def __init__(self, rows: int, size: int, *, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.shape, self.stddev = (rows, size), stddev

    def build(self, input_shape: Any = None) -> None:
        normal = keras.initializers.RandomNormal(stddev=self.stddev)
        self.embeddings = self.add_weight(name="embeddings", shape=self.shape, initializer=normal, autocast=False)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [B, S] -> [B, S, D]."""
        return tf.cast(tf.gather(self.embeddings.value, ids), self.compute_dtype)
