"""Tables of vectors: one for each token, or for each position."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import sizes_of
from tfllm.layers.first_values import normal
from tfllm.layers.stand_ins import stand_in


class Embedding(keras.layers.Layer):
    """A table [rows, D]. The rows asked for are cast, not the table."""

    def __init__(self, rows: int, size: int, *, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.shape, self.stddev = (rows, size), stddev
        self.output_shape = (None, None, size)

    def build(self, input_shape: Any = None) -> None:
        first = normal(self.stddev)
        self.embeddings = self.add_weight(name="embeddings", shape=self.shape, initializer=first, autocast=False)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [B, S] -> [B, S, D]."""
        if (rows := stand_in(self)) is not None:
            found = tf.reshape(rows(tf.reshape(ids, [-1])), [*sizes_of(ids), self.shape[1]])
            return tf.cast(found, self.compute_dtype)
        # From the table's tensor: after a gather from the variable, every other read of it would be a copy of the whole table.
        table = tf.convert_to_tensor(self.embeddings.value)
        return tf.cast(tf.gather(table, ids), self.compute_dtype)
