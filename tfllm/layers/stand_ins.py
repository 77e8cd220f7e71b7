"""What layers do in inference in place of reading their own matrix: another copy of it, in the form the graph wants.

Enters: functions by layer, from whoever keeps the copies (`models.inference`). Layers ask for theirs. Some functions multiply
one row in another way than several. A branch beside every product costs a single text time (docs/performance.md), so a loop is
traced for one row and for several, and branches as a whole.
"""

from __future__ import annotations

import contextlib
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
    told_apart: frozenset[int] = frozenset()
    """The `id` of each model whose functions multiply one row in another way than several."""


_in_use: ContextVar[StandIns] = ContextVar("stand_ins")
_repeated: ContextVar[bool] = ContextVar("repeated", default=False)
_one_row: ContextVar[bool] = ContextVar("one_row", default=False)
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
    """compute(), all of whose products are the model's and have as many rows, int32 []: traced for one and for several."""

    def alone() -> Any:
        token = _one_row.set(True)
        try:
            return compute()
        finally:
            _one_row.reset(token)

    return tf.cond(rows <= 1, alone, compute) if id(model) in _in_use.get(_NONE).told_apart else compute()


def is_one_row() -> bool:
    """Is it known that what is traced has one row, or none?"""
    return _one_row.get()
