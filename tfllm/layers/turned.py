"""Matrices the other way round, as products of few rows want them: a decoder multiplies one row a text and step.

On a CPU in float32 oneDNN reads a kernel [O, I] faster than [I, O], as kernel @ x^T; as x @ kernel^T it takes several times as
long, but for one row, and with AVX-512 for up to 8, which it then reads soonest. A vocabulary's table it reads faster as [D, V]
than as [V, D] (docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.onednn import HAS_AVX512
from tfllm.layers.stand_ins import fits, up_to

_FEW = 12
BORDERS = frozenset({1}) if HAS_AVX512 else frozenset[int]()
"""Numbers of rows that `turned_product` would know, in float32."""


def turned_product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel^T. [M, I], [O, I] -> [M, O]. An export keeps the ways of the processor that wrote it."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    if x.dtype != tf.float32:  # rounded products in bfloat16 have no such valley
        return few()
    # One row is read as soon this way or that. Without a branch around it, TensorFlow would fuse the first product with the
    # addition of a bias into one that takes seven times as long.
    return up_to(_FEW, x, few, many) if HAS_AVX512 and not fits(1) else many()


def turned_rows(ids: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows of the table whose transpose is given. int32 [M], [D, V] -> [M, D]."""
    return tf.transpose(tf.gather(columns, ids, axis=1))
