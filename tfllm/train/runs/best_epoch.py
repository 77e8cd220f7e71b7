"""Finds the best epoch of a run.

Input: the run's history. Output: one of its records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any


def best_epoch(history: Sequence[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The record with the best value of a metric, the first of equals; None if the metric was always nan.

    Losses, errors, perplexities and bits per byte are best low, all others high.

    >>> best_epoch([{"step": 4, "val_loss": 2.0}, {"step": 8, "val_loss": 1.5}], "val_loss")
    {'step': 8, 'val_loss': 1.5}

    Raises:
        ValueError: the last epoch has no such metric.
    """
    if metric not in history[-1]:
        raise ValueError(f"best={metric!r} was not measured; the epoch's metrics are {', '.join(history[-1])}")
    low_is_best = re.fullmatch("val_(.*_)?(loss|error|perplexity|bits_per_byte)", metric)
    measured = [record for record in history if not math.isnan(record[metric])]
    return (min if low_is_best else max)(measured, key=lambda record: record[metric], default=None)
