"""What layers do in inference in place of reading their own matrix: another copy of it, in the form the graph wants.

Enters: functions by layer, from whoever keeps the copies (`models.inference`). Layers ask for theirs.
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


_in_use: ContextVar[StandIns] = ContextVar("stand_ins")
_repeated: ContextVar[bool] = ContextVar("repeated", default=False)
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
