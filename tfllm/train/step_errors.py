"""Errors of a training step in words: a loss that is not finite, an id out of range, a value that is not accepted.

Input: errors that TensorFlow raises while a graph runs. Output: ValueError or `NonFiniteError` with the step, the reason, and
what to do. They are raised before the weights are updated.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfllm.train.value_assertions import MESSAGE_START, VALUE

_NON_FINITE = "not finite:"
_OUT_OF_RANGE = r"\S* = -?\d+ is not in \[0, \d+\)|a label value of -?\d+ which is outside the valid range of \[0, \d+\)"
"""TensorFlow's words for an index that a table does not have, and for a target that the vocabulary does not have."""
_TOO_LONG = r"\[(a row of)\] \[(\d+)\] \[(tokens is longer than [^\]]+)\]"
"""Our assertion's words for a row that is longer than the table of positions (models/transformer.py)."""
_NOT_ACCEPTED = MESSAGE_START + r"([^\]'\n]+)(?:['\]]\s*\[?(-?\d+))?"
"""A message of `value_assertions` and its value: `[message] [7]` in a graph; `b'message'`, then `7`, in eager mode."""
_WEIGHT = r"weight[^\d-]+(-?[\d.e+-]+)"


class NonFiniteError(FloatingPointError):
    """A loss or gradient was infinite or not a number; the update was not applied."""


def assert_finite(loss: tf.Tensor, norm: tf.Tensor, *, weight: tf.Tensor, step: tf.Tensor) -> tf.Operation:
    """An assertion that must run before the weights are updated.

    Args:
        loss: float32 [], the mean loss.
        norm: float32 [], the global norm of its gradient.
        weight: float32 [], the summed weight. In a batch of weight 0 no target counts; where it has a gradient all the same,
            weights below 0 cancel those above.
        step: int [], the number of the step, for the message.
    """
    finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
    has_weight = (weight > 0) | (norm == 0)
    message = [_NON_FINITE, "step", step, "loss", loss, "gradient norm", norm, "weight", weight]
    return tf.debugging.Assert(finite & has_weight, message)


@contextlib.contextmanager
def explain_errors(optimizer: Any = None) -> Iterator[None]:
    """Turns an InvalidArgumentError of a step into an error that says what is wrong with the batch and what to do.

    Args:
        optimizer: counts the steps; None in evaluation and prediction.

    Raises:
        ValueError: a row is too long, an id is out of range, or a value is not accepted.
        NonFiniteError: names the step, its loss and gradient norm, and how to get its batch.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        step = None if optimizer is None else int(optimizer.iterations.numpy())
        if (explained := _explained(error.message, step)) is None:
            raise
        raise explained from error


def _explained(message: str, step: int | None) -> Exception | None:
    """The error for a message of TensorFlow's; None if the message is about something else."""
    where = "" if step is None else f"step {step}: "
    if too_long := re.search(_TOO_LONG, message):
        return ValueError(f"{where}{' '.join(too_long.groups())}")
    if out_of_range := re.search(_OUT_OF_RANGE, message):
        return ValueError(
            f"{where}an id of the batch is out of range ({out_of_range[0]}): expected token ids and targets from 0 to "
            "vocab_size - 1, type ids from 0 to num_types - 1. A target that does not count has weight 0 and an id in this "
            "range"
        )
    if not_accepted := re.search(_NOT_ACCEPTED, message):
        return ValueError(f"{where}{not_accepted[1].replace(VALUE, str(not_accepted[2]))}")
    _, found, values = message.partition(_NON_FINITE)
    if not found:
        return None
    if (weight := re.search(_WEIGHT, values)) and float(weight[1]) <= 0:
        return ValueError(
            f"{where}the weights of the batch sum to {weight[1]}, and what they weigh does not vanish. The update was not "
            "applied. Give weights of 0 or more (sample_weight, class_weight, target_weights), and one above 0"
        )
    return NonFiniteError(
        f"{where}the loss or the gradient is not finite ({values.splitlines()[0].strip('] ')}]). The update was not "
        f"applied; the weights are those before it, checkpoints on disk are untouched. The batch is the "
        f"one a dataset with start_step={step} gives first. Try a lower learning rate, a longer warm-up or clip_norm."
    )
