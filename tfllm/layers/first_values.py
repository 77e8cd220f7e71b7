"""A matrix's first values: drawn, or zeros where whoever makes the model assigns all of them at once.

Drawing those of GPT-2 small takes longer than reading its file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import keras

_assigned_soon: ContextVar[bool] = ContextVar("assigned soon", default=False)


@contextlib.contextmanager
def assigned_soon() -> Iterator[None]:
    """Inside, models are made of zeros: every weight is assigned before anybody sees them."""
    token = _assigned_soon.set(True)
    try:
        yield
    finally:
        _assigned_soon.reset(token)


def normal(stddev: float) -> keras.initializers.Initializer:
    """Draws from the normal distribution about 0."""
    return keras.initializers.Zeros() if _assigned_soon.get() else keras.initializers.RandomNormal(stddev=stddev)
