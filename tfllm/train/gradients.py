"""Gradients of one replica's rows, in one pass or, with less memory, in several micro-batches.

Input: a task's loss function, variables, features. Output: a gradient for each variable, and the summed loss and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Features = dict[str, tf.Tensor]
MetricSums = dict[str, tuple[tf.Tensor, tf.Tensor]]
"""Metric name -> (sum, weight), float32 [] each."""


class LossAndMetrics(NamedTuple):
    """A task's loss and metrics for a batch, as sums."""

    loss: tf.Tensor
    """float32 []: sum over tokens or rows, with a gradient."""
    weight: tf.Tensor
    """float32 []: summed weight of the tokens or rows; the step minimises loss / weight."""
    metrics: MetricSums


def compute_gradients(
    loss_fn: Callable[[Features], LossAndMetrics],
    variables: Sequence[Any],
    features: Features,
    *,
    num_microbatches: int,
    mean: bool,
) -> tuple[list[tf.Tensor], LossAndMetrics]:
    """Gradients of the summed loss, one per variable, and the sums of loss and metrics.

    Args:
        features: [B, ...] each.
        loss_fn: a task's `loss_and_metrics`.
        num_microbatches: equal parts of the rows, in their order, computed one after the other.
        mean: gradients of loss / weight, divided at the start of the backward pass; with one micro-batch only.

    Raises:
        ValueError: `num_microbatches` does not divide B.
    """
    values = [variable.value for variable in variables]
    if num_microbatches == 1:
        return _single_pass(loss_fn, values, features, mean)
    micro = {name: _split_rows(name, value, num_microbatches) for name, value in features.items()}

    def of_microbatch(rows: Features) -> tuple[list[tf.Tensor], LossAndMetrics]:
        return _single_pass(loss_fn, values, rows, mean=False)

    def body(i: tf.Tensor, gradients: Any, total: Any) -> tuple[Any, ...]:
        more = of_microbatch({name: value[i] for name, value in micro.items()})
        return i + 1, *tf.nest.map_structure(tf.add, (gradients, total), more)

    shapes = tf.function(of_microbatch).get_concrete_function(
        {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in micro.items()}
    )
    start = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), shapes.structured_outputs)
    _, summed, total = tf.while_loop(lambda i, *_: i < num_microbatches, body, [tf.constant(0), *start], parallel_iterations=1)
    return summed, total


def at_least_epsilon(weight: tf.Tensor) -> tf.Tensor:
    """The weight, or a small number if it is 0: a batch without a target has weight 0 and loss 0."""
    return tf.maximum(weight, tf.keras.backend.epsilon())


def _single_pass(
    loss_fn: Callable[[Features], LossAndMetrics], values: Sequence[tf.Tensor], features: Features, mean: bool
) -> tuple[list[tf.Tensor], LossAndMetrics]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        result = loss_fn(features)
    upstream = tf.ones_like(result.loss)
    if mean:
        upstream /= tf.cast(at_least_epsilon(result.weight), upstream.dtype)
    found = tape.gradient(result.loss, values, output_gradients=upstream, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in found], result


def _split_rows(name: str, value: tf.Tensor, count: int) -> tf.Tensor:
    """[B, ...] -> [count, B / count, ...]."""
    if value.shape[0] is None:
        raise ValueError(
            f"gradient_accumulation={count} needs batches of one known size, and those of {name} vary: make them with "
            "batch(…, drop_remainder=True)"
        )
    if value.shape[0] % count:
        raise ValueError(
            f"gradient_accumulation={count} does not divide the batch: {name} has {value.shape[0]} rows. "
            "Give a batch_size that is a multiple of it"
        )
    shape = [count, value.shape[0] // count]
    return tf.ensure_shape(tf.reshape(value, tf.concat([shape, tf.shape(value)[1:]], 0)), [*shape, *value.shape[1:]])
