"""Functions that write their gradient by hand, for graphs that take gradients and graphs that never will.

TensorFlow registers the gradient of every such function of a graph, and with it all that the graph holds, for as long as the
process lives (tensorflow #97697). A graph that only answers leaves it out, so that it and its weights can go.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_left_out: ContextVar[bool] = ContextVar("gradients_left_out", default=False)


def own_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """`tf.custom_gradient`, but inside `without_gradients`, where it is the function alone."""
    with_gradient = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors: Any) -> Any:
        return function(*tensors)[0] if _left_out.get() else with_gradient(*tensors)

    return call


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Inside, no gradient can be taken through what is built."""
    token = _left_out.set(True)
    try:
        yield
    finally:
        _left_out.reset(token)
