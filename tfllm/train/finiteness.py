"""A loss or gradient that is no number ends training before it reaches a weight, and says at which step."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_NON_FINITE = "not finite:"
_OUTSIDE = r"\S* = -?\d+ is not in \[0, \d+\)|a label value of -?\d+ which is outside the valid range of \[0, \d+\)"
"""TensorFlow's words for a place, and for a class, that is not there."""
_TOO_LONG = r"\[(a row of)\] \[(\d+)\] \[(tokens is longer than [^\]]+)\]"
"""The stack's words for a row that learned positions do not reach (models/transformer.py)."""


class NonFiniteError(FloatingPointError):
    """A loss or gradient was infinite or not a number; the update was not applied."""


def assert_finite(loss: tf.Tensor, norm: tf.Tensor, *, step: tf.Tensor) -> tf.Operation:
    """What must come before an update. Loss and gradient norm float32 [], step int []."""
    finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
    return tf.debugging.Assert(finite, [_NON_FINITE, "step", step, "loss", loss, "gradient norm", norm])


@contextlib.contextmanager
def naming_the_step(optimizer: Any = None) -> Iterator[None]:
    """Makes of a failed `assert_finite`, of a row too long, or of an id that no table has, the error that says what to do.

    Args:
        optimizer: which counts the steps; None in evaluation.

    Raises:
        ValueError: the row's length and the model's, or the id and where it may be.
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
        _, found, values = error.message.partition(_NON_FINITE)
        if not found:
            raise
        raise NonFiniteError(
            f"{where}the loss or the gradient is not finite ({values.splitlines()[0].strip('] ')}]). The update was not "
            f"applied; the weights are those before it, checkpoints on disk are untouched. The batch is the "
            f"one a dataset with start_step={step} gives first. Try a lower learning rate, a longer warm-up or clip_norm."
        ) from error
