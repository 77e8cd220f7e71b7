"""Element-wise functions as one loop over memory, compiled by XLA, inside training steps.

Input: a function of tensors and variables, decorated once at the top of its module. Output: the same function with the keyword
`compiled`: with True it may be compiled, else it runs op by op. Matrix products stay outside: on a CPU XLA's are slower than
oneDNN's.

Only training steps ask for it: they run where TensorFlow was installed. A server may have been built without XLA's compiler.
Small tensors and tensors of unknown size are not compiled: each size would be compiled anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from tfllm.layers.mesh import on_mesh

Function = TypeVar("Function", bound=Callable[..., Any])
MIN_ELEMENTS = 1 << 16
"""Elements of the first tensor: below, a pass costs less than the call."""


def fused(function: Function) -> Function:
    """The function, compiled where the caller allows it and where it is faster.

    Args:
        function: of tensors or variables, which it may assign (in place), and of keywords. The first tensor is as large as any.
            It takes the keyword `compiled`, which is True while XLA compiles it. It is part of a function with a
            `custom_gradient`, or of an optimizer: gradients go through it only where a gradient has gradients taken.
    """
    by_xla = tf.function(functools.partial(function, compiled=True), jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor, compiled: bool, **settings: Any) -> Any:
        if compiled and _pays(tensors[0]):
            return by_xla(*tensors, **settings)
        return function(*tensors, compiled=False, **settings)

    return call  # type: ignore[return-value]


def rounded(x: tf.Tensor, dtype: tf.DType, *, compiled: bool) -> tf.Tensor:
    """float32 `x` in the dtype a fused function gives: to the nearest, ties to even.

    XLA makes no vectors of its own conversion to bfloat16; of integers it does. Upper half of the bits, plus half an ulp.
    """
    if dtype != tf.bfloat16 or not compiled:
        return tf.cast(x, dtype)

    @tf.custom_gradient
    def by_bits(x: tf.Tensor):  # type: ignore[no-untyped-def]
        bits = tf.bitcast(x, tf.uint32)
        odd = tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)) & 1
        upper = tf.bitwise.right_shift(bits + odd + tf.constant(0x7FFF, tf.uint32), tf.constant(16, tf.uint32))
        upper = tf.where(tf.math.is_nan(x), tf.constant(0x7FC0, tf.uint32), upper)
        return tf.bitcast(tf.cast(upper, tf.uint16), tf.bfloat16), lambda upstream: tf.cast(upstream, tf.float32)

    return by_bits(x)


def _pays(x: tf.Tensor) -> bool:
    return not tf.executing_eagerly() and (x.shape.num_elements() or 0) >= MIN_ELEMENTS and not on_mesh()
