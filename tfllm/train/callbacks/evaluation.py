"""Scores that no sum over batches gives (an F1, a correlation): found after each epoch, beside Keras' own validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np


class Evaluation(NamedTuple):
    """What an evaluation found."""

    scores: dict[str, float]
    images: dict[str, Callable[[], np.ndarray]] = {}  # noqa: RUF012  (never changed)
    """Drawn for TensorBoard when the epoch is saved: uint8 [height, width, 4]."""
    tables: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    """More numbers for the epoch's record, which no curve shows: lists and dictionaries, as JSON has them."""


class EvaluationCallback(keras.callbacks.Callback):
    """Adds `val_…` scores to each epoch's logs."""

    def __init__(self, evaluate: Callable[[], Evaluation]):
        super().__init__()
        self._evaluate = evaluate
        self._latest: Evaluation | None = None
        self.tables: dict[str, Any] = {}
        """`val_…` tables of the newest evaluation."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._latest = self._evaluate()
        self.tables = {f"val_{name}": table for name, table in self._latest.tables.items()}
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in self._latest.scores.items()})

    def images(self) -> dict[str, np.ndarray]:
        """Those of the newest evaluation, drawn now; of one made now, where there was none yet."""
        self._latest = self._latest or self._evaluate()
        return {name: draw() for name, draw in self._latest.images.items()}
