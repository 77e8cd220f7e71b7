"""Applies a function to many rows in the graph, `ROWS` rows at a time, so the needed memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

ROWS = 32

Tensors = dict[str, tf.Tensor]


def map_batches(function: Callable[[Tensors], Tensors], rows: Tensors, found: dict[str, tf.TensorSpec]) -> Tensors:
    """The outputs of `function` for all rows, concatenated.

    Args:
        function: from tensors [n, ...], n at most `ROWS`, to tensors with as many rows or other numbers of them.
        rows: the inputs, [N, ...] each.
        found: names, dtypes and shapes [n, ...] of the outputs.
    """
    count = tf.shape(next(iter(rows.values())))[0]

    def step(number: tf.Tensor, arrays: dict[str, tf.TensorArray]) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        part = slice(number * ROWS, (number + 1) * ROWS)
        given = function({name: each[part] for name, each in rows.items()})
        return number + 1, {name: array.write(number, given[name]) for name, array in arrays.items()}

    empty = {
        name: tf.TensorArray(spec.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=spec.shape)
        for name, spec in found.items()
    }
    _, arrays = tf.while_loop(
        lambda number, _: (number == 0) | (number * ROWS < count), step, [tf.constant(0), empty], parallel_iterations=1
    )
    return {name: array.concat() for name, array in arrays.items()}
