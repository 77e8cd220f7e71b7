"""Tables of vectors: one for each token, or for each position."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import normal
from tfllm.layers.call_options import CallOptions


class Embedding(keras.layers.Layer):
    """A table [rows, D]: ids -> vectors and, where a vocabulary head is tied to it, hidden states -> scores of all rows.

    This class is the interface, and the implementation that is trained. Other implementations inherit it and write `call` and
    `reverse` (`transposed.py`, `packed.py`, `quantized.py`).
    """

    def __init__(self, rows: int, size: int, *, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.shape, self.stddev = (rows, size), stddev
        self.output_shape = (None, None, size)

    def build(self, input_shape: Any = None) -> None:
        first = normal(self.stddev)
        self.embeddings = self.add_weight(name="embeddings", shape=self.shape, initializer=first, autocast=False)

    def call(self, ids: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """int32 [B, S] -> [B, S, D]. The rows asked for are cast, not the table."""
        # From the table's tensor: after a gather from the variable, every other read of it would be a copy of the whole table.
        return tf.cast(tf.gather(self.matrix, ids), self.compute_dtype)

    def reverse(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """hidden @ table^T. [M, D] -> [M, rows]."""
        return tf.matmul(hidden, tf.cast(self.matrix, hidden.dtype), transpose_b=True)

    @property
    def matrix(self) -> tf.Tensor:
        """The table, [rows, D]."""
        return tf.convert_to_tensor(self.embeddings)

    def settings(self) -> dict[str, Any]:
        """The constructor's keywords that make a layer like this one."""
        return dict(stddev=self.stddev, name=self.name, dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(rows=self.shape[0], size=self.shape[1], stddev=self.stddev)
