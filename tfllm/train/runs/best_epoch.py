"""Which epoch of a run was the best."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any


def best_epoch(history: Sequence[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    """The record with the best value of a measure, the first of equals; None where it was never a number.

    Losses, errors, perplexities and bits per byte are best low, all others high.

    >>> best_epoch([{"step": 4, "val_loss": 2.0}, {"step": 8, "val_loss": 1.5}], "val_loss")
    {'step': 8, 'val_loss': 1.5}

    Raises:
        ValueError: the last epoch has no such measure.
    """
    if measure not in history[-1]:
        raise ValueError(f"best={measure!r} was not measured; the epoch's measures are {', '.join(history[-1])}")
    low = re.fullmatch("val_(.*_)?(loss|error|perplexity|bits_per_byte)", measure)
    measured = [record for record in history if not math.isnan(record[measure])]
    return (min if low else max)(measured, key=lambda record: record[measure], default=None)
