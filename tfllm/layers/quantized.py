"""Products of integers of 8 bits: weights with a scale an output, inputs with a range a row, taken when they come.

Enters: a kernel. Leaves: its integers and scales, and the product with floating rows. Ranges that need not be symmetric lose
least in small models (Dettmers et al. 2022, arXiv:2208.07339, table 1: "zeropoint vector-wise").
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfllm.layers.onednn import packed_integer_matmul

_WEIGHTS, _INPUTS = 64, 255
"""The largest integers of weights (from -64) and of inputs (from 0): processors without VNNI add two products of them in 16
bits and cut off what is more, 2 * 127 * 255 for one. An export is served on processors of all kinds."""
_TINY = 1e-30


class Quantized(NamedTuple):
    """integers * scales is the kernel, to half a scale."""

    integers: tf.Tensor
    """int8 [I, O]."""
    scales: tf.Tensor
    """float32 [O]."""
    sums: tf.Tensor
    """float32 [O]: of each output's weights."""


def quantized(kernel: tf.Tensor) -> Quantized:
    """Nearest integers; the largest of each output is 64 or -64. float32 [I, O]."""
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
    products = packed_integer_matmul(above, tf.convert_to_tensor(matrix.integers))
    return tf.cast(products * step * matrix.scales + least * matrix.sums, x.dtype)
