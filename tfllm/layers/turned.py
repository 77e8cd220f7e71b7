"""Matrices the other way round, as products of few rows want them: a decoder multiplies one row a text and step.

On a CPU in float32 oneDNN reads a kernel [O, I] faster than [I, O] for one row, with AVX-512 for up to 8, and a vocabulary's
table [D, V] faster than [V, D]; for more rows x @ kernel^T is several times slower than the same product as kernel @ x^T
(docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.onednn import HAS_AVX512

_FEW = 12 if HAS_AVX512 else 1
"""An export keeps the number of the processor that wrote it."""


def turned_product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel^T. [M, I], [O, I] -> [M, O]."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    # Rounded products in bfloat16 have no such valley.
    return tf.cond(tf.shape(x)[0] <= _FEW, few, many) if x.dtype == tf.float32 else few()


def turned_rows(ids: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows of the table whose transpose is given. int32 [M], [D, V] -> [M, D]."""
    return tf.transpose(tf.gather(columns, ids, axis=1))
