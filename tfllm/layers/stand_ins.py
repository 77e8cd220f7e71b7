"""What layers do in inference in place of reading their own matrix: another copy of it, in the form the graph wants.

Enters: functions by layer, from whoever keeps the copies (`models.inference`). Layers ask for theirs. Where functions do one
thing for few rows and another for more, a branch beside every product would cost 7% of a token (docs/performance.md): a loop
whose steps all have as many rows is traced for each range of numbers of rows, and branches once.
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
    borders: frozenset[int] = frozenset()
    """Numbers of rows up to which functions do otherwise than beyond (`fits`)."""


_in_use: ContextVar[StandIns] = ContextVar("stand_ins")
_repeated: ContextVar[bool] = ContextVar("repeated", default=False)
_rows: ContextVar[tuple[float, float]] = ContextVar("rows", default=(0, math.inf))
"""The fewest and the most that products have."""
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


def up_to(border: int, x: tf.Tensor, few: Callable[[], tf.Tensor], many: Callable[[], tf.Tensor]) -> tf.Tensor:
    """few() where x [M, I] has at most `border` rows, else many(). Inside `by_rows` that is known, elsewhere the graph asks."""
    if fits(border):
        return few()
    return many() if _rows.get()[0] > border else tf.cond(tf.shape(x)[0] <= border, few, many)


def fits(border: int) -> bool:
    """Is it known that there are no more rows?"""
    return _rows.get()[1] <= border


def by_rows(rows: tf.Tensor, compute: Callable[[], Any]) -> Any:
    """compute(), all of whose products have that many rows, int32 []: traced for each range between borders, and one is run."""

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

    return within(0, sorted(_in_use.get(_NONE).borders))
