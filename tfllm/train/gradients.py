"""Gradients of one replica's rows, in one pass or, for less memory, in several one after the other.

Enters: a task's objective, variables, features. Leaves: a gradient for each variable, and what the objective said of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Features = dict[str, tf.Tensor]
MetricSums = dict[str, tuple[tf.Tensor, tf.Tensor]]
"""Metric name -> (sum, weight), float32 [] each."""


class Objective(NamedTuple):
    """What a task says of a batch."""

    loss: tf.Tensor
    """float32 []: sum over what is counted (tokens, rows), with a gradient."""
    weight: tf.Tensor
    """float32 []: how much was counted; the step minimises loss / weight."""
    measures: MetricSums


def gradients(
    objective: Callable[[Features], Objective], variables: Sequence[Any], features: Features, *, parts: int, mean: bool
) -> tuple[list[tf.Tensor], Objective]:
    """Gradients of the summed loss, one a variable, and the summed objective.

    Args:
        features: [B, ...] each.
        parts: micro-batches the rows are taken in, in their order.
        mean: gradients of loss / weight, divided where the backward pass starts; of a single part.

    Raises:
        ValueError: `parts` does not divide B.
    """
    values = [variable.value for variable in variables]
    if parts == 1:
        return _in_one_pass(objective, values, features, mean)
    micro = {name: _split_rows(name, value, parts) for name, value in features.items()}

    def of_part(part: Features) -> tuple[list[tf.Tensor], Objective]:
        return _in_one_pass(objective, values, part, mean=False)

    def body(i: tf.Tensor, gradients: Any, said: Any) -> tuple[Any, ...]:
        more = of_part({name: value[i] for name, value in micro.items()})
        return i + 1, *tf.nest.map_structure(tf.add, (gradients, said), more)

    shapes = tf.function(of_part).get_concrete_function(
        {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in micro.items()}
    )
    start = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), shapes.structured_outputs)
    _, total, said = tf.while_loop(lambda i, *_: i < parts, body, [tf.constant(0), *start], parallel_iterations=1)
    return total, said


def at_least_epsilon(weight: tf.Tensor) -> tf.Tensor:
    """A batch without a target has weight 0 and loss 0."""
    return tf.maximum(weight, tf.keras.backend.epsilon())


def _in_one_pass(
    objective: Callable[[Features], Objective], values: Sequence[tf.Tensor], features: Features, mean: bool
) -> tuple[list[tf.Tensor], Objective]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        said = objective(features)
    upstream = tf.ones_like(said.loss)
    if mean:
        upstream /= tf.cast(at_least_epsilon(said.weight), upstream.dtype)
    found = tape.gradient(said.loss, values, output_gradients=upstream, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in found], said


def _split_rows(name: str, value: tf.Tensor, count: int) -> tf.Tensor:
    """[B, ...] -> [count, B / count, ...]."""
    if value.shape[0] is None:
        raise ValueError(
            f"gradient_accumulation={count} wants batches of one known size, those of {name} vary: make them by "
            "batch(…, drop_remainder=True)"
        )
    if value.shape[0] % count:
        raise ValueError(
            f"gradient_accumulation={count} does not divide the batch: {name} has {value.shape[0]} rows. "
            "Give a batch_size that is a multiple of it"
        )
    shape = [count, value.shape[0] // count]
    return tf.ensure_shape(tf.reshape(value, tf.concat([shape, tf.shape(value)[1:]], 0)), [*shape, *value.shape[1:]])
