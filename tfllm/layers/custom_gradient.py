"""Functions with a hand-written gradient, for graphs that take gradients and for graphs that never will.

TensorFlow registers the gradient of every such function of a graph, and with it all that the graph holds, for as long as the
process lives (tensorflow #97697). With `options.gradients=False` nothing is registered: the graph and its weights can be freed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.layers.call_options import CallOptions


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """`tf.custom_gradient` for a function of tensors and the keyword `options`.

    Args:
        function: (*tensors, options=CallOptions) -> the result, and a function from its gradient to those of the tensors.

    Returns:
        (*tensors, options=CallOptions) -> the result. With `options.gradients=False` it has no gradient.
    """

    @functools.wraps(function)
    def call(*tensors: Any, options: CallOptions) -> Any:
        def with_options(*tensors: Any) -> Any:
            return function(*tensors, options=options)

        return tf.custom_gradient(with_options)(*tensors) if options.gradients else with_options(*tensors)[0]

    return call
