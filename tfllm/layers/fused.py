"""Element-wise functions as one loop over memory, compiled by XLA, inside training steps.

Enters: a function of tensors and variables, decorated once, at the top of its module. Leaves: the same function, which a
training step (`fusing`) compiles, and everybody else runs op by op. Products stay outside: on a CPU XLA's are slower than
oneDNN's.

Only a training step asks for it: it runs where TensorFlow was installed. An export may be served by a program that was built
without XLA's compiler. Small tensors and those of varying shape (each would be compiled anew) are left to the ops.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import tensorflow as tf

from tfllm.layers.mesh import on_mesh
from tfllm.layers.own_gradient import own_gradient

Function = TypeVar("Function", bound=Callable[..., Any])
MIN_ELEMENTS = 1 << 18
"""Elements of the first tensor: below, a pass costs less than the call."""

_asked: ContextVar[bool] = ContextVar("fusing", default=False)
_compiling: ContextVar[bool] = ContextVar("compiling", default=False)


def fusing() -> contextlib.AbstractContextManager[None]:
    """Inside, graphs are built of compiled functions where that is faster."""
    return _set(_asked)


def fused(function: Function) -> Function:
    """The function, compiled where a training step runs it.

    Args:
        function: of tensors or variables, which it may assign (in place), and numbers; the first is as large as any. No
            gradient is taken through it: it is part of a function with `own_gradient`, or of an optimizer.
    """

    @tf.function(jit_compile=True, autograph=False)
    def compiled(*tensors: tf.Tensor, **settings: Any) -> Any:
        with _set(_compiling):
            return function(*tensors, **settings)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor, **settings: Any) -> Any:
        return (compiled if _pays(tensors[0]) else function)(*tensors, **settings)

    return call  # type: ignore[return-value]


def rounded(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """float32 `x` in the dtype a fused function gives: to the nearest, ties to even.

    XLA makes no vectors of its own conversion to bfloat16; of integers it does. Upper half of the bits, plus half an ulp.
    """
    if dtype != tf.bfloat16 or not _compiling.get():
        return tf.cast(x, dtype)

    @own_gradient
    def by_bits(x: tf.Tensor):  # type: ignore[no-untyped-def]
        bits = tf.bitcast(x, tf.uint32)
        odd = tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)) & 1
        upper = tf.bitwise.right_shift(bits + odd + tf.constant(0x7FFF, tf.uint32), tf.constant(16, tf.uint32))
        upper = tf.where(tf.math.is_nan(x), tf.constant(0x7FC0, tf.uint32), upper)
        return tf.bitcast(tf.cast(upper, tf.uint16), tf.bfloat16), lambda upstream: tf.cast(upstream, tf.float32)

    return by_bits(x)


@contextlib.contextmanager
def _set(flag: ContextVar[bool]) -> Iterator[None]:
    token = flag.set(True)
    try:
        yield
    finally:
        flag.reset(token)


def _pays(x: tf.Tensor) -> bool:
    return _asked.get() and not tf.executing_eagerly() and (x.shape.num_elements() or 0) >= MIN_ELEMENTS and not on_mesh()
