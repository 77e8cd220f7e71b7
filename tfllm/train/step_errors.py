"""A loss or gradient that is no number ends training before it reaches a weight, and says at which step."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfllm.train.value_assertions import NOT_ACCEPTED

_NON_FINITE = "not finite:"
_OUTSIDE = r"\S* = -?\d+ is not in \[0, \d+\)|a label value of -?\d+ which is outside the valid range of \[0, \d+\)"
"""TensorFlow's words for a place, and for a class, that is not there."""
_TOO_LONG = r"\[(a row of)\] \[(\d+)\] \[(tokens is longer than [^\]]+)\]"
"""The stack's words for a row that learned positions do not reach (models/transformer.py)."""
_REFUSED = NOT_ACCEPTED + r"([^\]'\n]+)"
_WEIGHT = r"weight[^\d-]+(-?[\d.e+-]+)"


class NonFiniteError(FloatingPointError):
    """A loss or gradient was infinite or not a number; the update was not applied."""


def assert_finite(loss: tf.Tensor, norm: tf.Tensor, *, weight: tf.Tensor, step: tf.Tensor) -> tf.Operation:
    """What must come before an update. The mean loss, its gradient's norm and the summed weight float32 [], step int [].

    A batch of weight 0 is one in which nothing counts: where it has a gradient, weights below 0 cancel those above.
    """
    finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
    counts = (weight > 0) | (norm == 0)
    said = [_NON_FINITE, "step", step, "loss", loss, "gradient norm", norm, "weight", weight]
    return tf.debugging.Assert(finite & counts, said)


@contextlib.contextmanager
def naming_the_step(optimizer: Any = None) -> Iterator[None]:
    """Makes of a failed assertion, of a row too long, or of an id that no table has, the error that says what to do.

    Args:
        optimizer: which counts the steps; None in evaluation.

    Raises:
        ValueError: the row's length and the model's, the id and where it may be, or a value that is not accepted.
        NonFiniteError: the step, its loss and norm, and how to get its batch.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        step = None if optimizer is None else int(optimizer.iterations.numpy())
        where = "" if step is None else f"step {step}: "
        if too_long := re.search(_TOO_LONG, error.message):
            raise ValueError(f"{where}{' '.join(too_long.groups())}") from error
        if outside := re.search(_OUTSIDE, error.message):
            raise ValueError(
                f"{where}an id of the batch is in no table ({outside[0]}). Token ids and targets are "
                "from 0 to vocab_size - 1, classes from 0 to their number - 1; targets that do not count have weight 0"
            ) from error
        if refused := re.search(_REFUSED, error.message):
            raise ValueError(f"{where}{refused[1]}") from error
        _, found, values = error.message.partition(_NON_FINITE)
        if not found:
            raise
        if (weight := re.search(_WEIGHT, values)) and float(weight[1]) <= 0:
            raise ValueError(
                f"{where}the weights of the batch sum to {weight[1]}, and what they weigh does not vanish. The update was not "
                "applied. Give weights of 0 or more (sample_weight, class_weight, target_weights), and one above 0"
            ) from error
        raise NonFiniteError(
            f"{where}the loss or the gradient is not finite ({values.splitlines()[0].strip('] ')}]). The update was not "
            f"applied; the weights are those before it, checkpoints on disk are untouched. The batch is the "
            f"one a dataset with start_step={step} gives first. Try a lower learning rate, a longer warm-up or clip_norm."
        ) from error
