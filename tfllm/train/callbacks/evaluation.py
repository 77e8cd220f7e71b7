"""Scores that are not sums over batches (an F1, a correlation), computed after each epoch in addition to Keras' validation.

Input: a function that evaluates the model. Output: `val_…` entries in the epoch's logs, images and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np


class Evaluation(NamedTuple):
    """The results of one evaluation."""

    scores: dict[str, float]
    images: dict[str, Callable[[], np.ndarray]] = {}  # noqa: RUF012  (never mutated)
    """Functions that draw images for TensorBoard, uint8 [height, width, 4]; called after the epoch is saved."""
    tables: dict[str, Any] = {}  # noqa: RUF012  (never mutated)
    """Lists and dictionaries (as in JSON) for the epoch's record; no curve shows them."""


class EvaluationCallback(keras.callbacks.Callback):
    """Adds `val_…` scores to each epoch's logs."""

    def __init__(self, evaluate: Callable[[], Evaluation]):
        super().__init__()
        self._evaluate = evaluate
        self._latest: Evaluation | None = None
        self.tables: dict[str, Any] = {}
        """`val_…` tables of the latest evaluation."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._latest = self._evaluate()
        self.tables = {f"val_{name}": table for name, table in self._latest.tables.items()}
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in self._latest.scores.items()})

    def images(self) -> dict[str, np.ndarray]:
        """Draws the images of the latest evaluation; evaluates first if there was none yet."""
        self._latest = self._latest or self._evaluate()
        return {name: draw() for name, draw in self._latest.images.items()}
