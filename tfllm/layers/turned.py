"""Matrices the other way round, as products of few rows want them: a decoder multiplies one row a text and step.

On a CPU in float32 oneDNN reads a kernel [O, I] faster than [I, O], as kernel @ x^T; as x @ kernel^T it takes several times as
long, but for one row, and with AVX-512 for up to 8, which it then reads soonest. A vocabulary's table it reads faster as [D, V]
than as [V, D] (docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.onednn import HAS_AVX512
from tfllm.layers.stand_ins import up_to

_FEW = 12
BORDERS = frozenset({_FEW}) if HAS_AVX512 else frozenset[int]()
"""Numbers of rows up to which `turned_product` does otherwise than beyond, in float32."""


def turned_product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel^T. [M, I], [O, I] -> [M, O]. An export keeps the way of the processor that wrote it."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    if x.dtype != tf.float32:  # rounded products in bfloat16 have no such valley
        return few()
    return up_to(_FEW, x, few, many) if HAS_AVX512 else many()


def turned_rows(ids: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows of the table whose transpose is given. int32 [M], [D, V] -> [M, D]."""
    return tf.transpose(tf.gather(columns, ids, axis=1))
