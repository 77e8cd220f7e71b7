"""Products of 8-bit integers: weights with a scale an output, inputs with a range a row, taken when they come.

Enters: a kernel. Leaves: its integers and scales, and the product with floating rows. Ranges that need not be symmetric lose
least in small models (Dettmers et al. 2022, arXiv:2208.07339, table 1: "zeropoint vector-wise").

oneDNN multiplies bytes by a matrix that is packed for it, and packs once only what it is told will not change. TensorFlow tells
it so of constants, but a model in constants is copied with every graph (two gigabytes for 124 MB of GPT-2 small), and 2 GB are
the most a graph's file holds. So the kernel that TensorFlow itself puts in the place of the public op
`QuantizedMatMulWithBiasAndDequantize` stands here by name, and its matrix is a variable.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.framework import op_def_library

_WEIGHTS, _INPUTS = 127, 255
"""The largest integers of weights (from -127) and of inputs (from 0)."""
_TINY = 1e-30
_KERNEL = {"_kernel": AttrValue(s=b"QuantizedMklOp")}


class Quantized(NamedTuple):
    """integers * scales is the kernel, to half a scale."""

    integers: tf.Tensor
    """int8 [I, O]."""
    scales: tf.Tensor
    """float32 [O]."""
    sums: tf.Tensor
    """float32 [O]: of each output's weights."""


def quantized(kernel: tf.Tensor) -> Quantized:
    """Nearest integers; the largest of each output is 127 or -127. float32 [I, O]."""
    scales = tf.maximum(tf.reduce_max(tf.abs(kernel), 0) / _WEIGHTS, _TINY)
    integers = tf.round(kernel / scales)
    return Quantized(tf.cast(integers, tf.int8), scales, tf.reduce_sum(integers, 0) * scales)


def quantized_product(x: tf.Tensor, matrix: Quantized) -> tf.Tensor:
    """x @ kernel, about, for a kernel that never changes. Floating [M, I] -> the same dtype [M, O]."""
    exact = tf.cast(x, tf.float32)
    least = tf.reduce_min(exact, 1, keepdims=True)
    step = tf.maximum((tf.reduce_max(exact, 1, keepdims=True) - least) / _INPUTS, _TINY)
    # A cast cuts off what is behind the point.
    above = tf.cast(exact / step + (0.5 - least / step), tf.uint8)
    products = _product(above, tf.convert_to_tensor(matrix.integers))
    return tf.cast(products * step * matrix.scales + least * matrix.sums, x.dtype)


def _product(x: tf.Tensor, integers: tf.Tensor) -> tf.Tensor:
    """uint8 [M, I], int8 [I, O] -> float32 [M, O]."""
    # With these ranges an integer stands for itself.
    ranges = dict(min_a=0.0, max_a=float(_INPUTS), min_b=-float(_WEIGHTS), max_b=float(_WEIGHTS))
    ranges |= dict(min_freezed_output=0.0, max_freezed_output=1.0)
    inputs = {name: tf.constant(value) for name, value in ranges.items()}
    inputs |= {"a": tf.bitcast(x, tf.quint8), "b": tf.bitcast(integers, tf.qint8), "bias": tf.zeros(integers.shape[1:])}
    with tf.compat.v1.get_default_graph()._attr_scope(_KERNEL):
        return op_def_library.apply_op(
            "_MklQuantizedMatMulWithBiasAndDequantize",
            name="product",
            Toutput=tf.float32,
            transpose_a=False,
            transpose_b=False,
            input_quant_mode="SCALED",
            is_weight_const=True,
            is_bias_const=True,
            **inputs,
        )
