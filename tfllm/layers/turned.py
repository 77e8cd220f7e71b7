"""Matrices the other way round, as products of few rows want them: a decoder multiplies one row a text and step.

For one row in float32 a kernel [O, I] is read faster than [I, O], and a vocabulary's table [D, V] faster than [V, D]. Up to 8
rows are multiplied soonest as x @ kernel^T, from 16 as kernel @ x^T, by oneDNN. Where TensorFlow runs without it, the first
takes several times as long as the second from 2 rows on (docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.devices import ONEDNN_BY_DEFAULT
from tfllm.layers.stand_ins import is_one_row

_FEW = 12


def turned_product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel^T. [M, I], [O, I] -> [M, O]. A graph suits the processor it was made on, as a server runs it."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    if x.dtype != tf.float32:  # rounded products in bfloat16 have no such valley
        return few()
    # One row is multiplied as soon either way. Without a branch around few(), TensorFlow would fuse its product with the
    # addition of a bias into another one, which reads such a kernel slowly.
    return tf.cond(tf.shape(x)[0] <= _FEW, few, many) if ONEDNN_BY_DEFAULT and not is_one_row() else many()


def turned_rows(ids: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows of the table whose transpose is given. int32 [M], [D, V] -> [M, D]."""
    return tf.transpose(tf.gather(columns, ids, axis=1))
