"""Matrices the other way round, as products of few rows want them: a decoder multiplies one row a text and step.

Enters: copies of variables, transposed, from whoever can keep them (`exporting.weights`). Layers ask for theirs.

On a CPU in float32 oneDNN reads a kernel [O, I] faster than [I, O] for up to 8 rows, a vocabulary's table [D, V] faster than
[V, D]; for 16 to 64 rows x @ kernel^T is several times slower than the same product as kernel @ x^T (docs/performance.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_FEW = 12
_copies: ContextVar[Mapping[int, tf.Tensor]] = ContextVar("copies")


@contextlib.contextmanager
def use_turned(copies: Mapping[int, tf.Tensor]) -> Iterator[None]:
    """Inside, layers use these transposed copies, by the variable's `id`, and not the variables themselves."""
    token = _copies.set(copies)
    try:
        yield
    finally:
        _copies.reset(token)


def turned(variable: Any) -> tf.Tensor | None:
    """The transposed copy of a variable, if one is in use."""
    copy = _copies.get({}).get(id(variable))
    return None if copy is None else tf.convert_to_tensor(copy)


def affine_turned(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """x @ kernel^T (+ bias). [M, I], [O, I], [O] -> [M, O]."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    # Rounded products in bfloat16 have no such valley.
    y = tf.cond(tf.shape(x)[0] <= _FEW, few, many) if x.dtype == tf.float32 else few()
    return y if bias is None else tf.nn.bias_add(y, bias)
