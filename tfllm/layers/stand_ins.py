"""What layers do in inference in place of reading their own matrix: another copy of it, in the form the graph wants.

Enters: functions by layer, from whoever keeps the copies (`models.inference`). Layers ask for theirs. Some functions multiply
few rows in another way than many. A branch beside every product costs time (docs/performance.md), so a loop whose steps all
have as many rows is traced once for each range of numbers of rows, and branches as a whole.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import tensorflow as tf

StandIn = Callable[[tf.Tensor], tf.Tensor]


class StandIns(NamedTuple):
    """Functions, and what they replace."""

    functions: Mapping[int, StandIn]
    """By a layer's `id`: of a map [M, I] -> [M, O], of a table of vectors int32 [M] -> [M, D]."""
    variables: frozenset[int]
    """The `id` of each variable that is not read any more."""
    borders: Mapping[int, frozenset[int]] = {}
    """By a model's `id`: numbers of rows at which its functions change their ways; loops are traced for the ranges between."""


_in_use: ContextVar[StandIns] = ContextVar("stand_ins")
_repeated: ContextVar[bool] = ContextVar("repeated", default=False)
_rows: ContextVar[tuple[float, float]] = ContextVar("rows", default=(0, math.inf))
"""The fewest and the most that a product has."""
_NONE = StandIns({}, frozenset())


@contextlib.contextmanager
def use_stand_ins(stand_ins: StandIns) -> Iterator[None]:
    """Inside, layers use these."""
    token = _in_use.set(stand_ins)
    try:
        yield
    finally:
        _in_use.reset(token)


def stand_in(layer: Any) -> StandIn | None:
    """The layer's function, if one is in use."""
    return _in_use.get(_NONE).functions.get(id(layer))


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """Inside, layers are traced into a loop: what helps to do the same again and again may be prepared."""
    token = _repeated.set(True)
    try:
        yield
    finally:
        _repeated.reset(token)


def is_repeated() -> bool:
    return _repeated.get()


def is_replaced(variable: Any) -> bool:
    """Is the variable read by nobody, for a copy stands in for it?"""
    return id(variable) in _in_use.get(_NONE).variables


def by_rows(model: Any, rows: tf.Tensor, compute: Callable[[], Any]) -> Any:
    """compute(), all of whose products are the model's and have `rows` rows, int32 []: traced for each range, one is run."""

    def within(fewest: float, borders: list[int]) -> Any:
        def traced() -> Any:
            token = _rows.set((fewest, borders[0] if borders else math.inf))
            try:
                return compute()
            finally:
                _rows.reset(token)

        if not borders:
            return traced()
        return tf.cond(rows <= borders[0], traced, lambda: within(borders[0] + 1, borders[1:]))

    return within(0, sorted(_in_use.get(_NONE).borders.get(id(model), ())))


def one_row_at_most() -> bool:
    """Is it known of the products that are traced?"""
    return _rows.get()[1] <= 1


def choose(x: tf.Tensor, least: int, most: int, inside: Callable[[], tf.Tensor], outside: Callable[[], tf.Tensor]) -> tf.Tensor:
    """inside() where x [M, I] has `least` to `most` rows, else outside(). What `by_rows` leaves open, the graph asks."""
    fewest, largest = _rows.get()
    if least <= fewest and largest <= most:
        return inside()
    if largest < least or most < fewest:
        return outside()
    rows = tf.shape(x)[0]
    return tf.cond((rows >= least) & (rows <= most) if least else rows <= most, inside, outside)
