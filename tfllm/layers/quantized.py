"""Layers for inference that multiply integers of 8 bits: weights with a scale an output, inputs with a range a row.

Input: a layer whose matrix no longer changes. Output: a layer with the integers and their scales. Ranges that need not be
symmetric lose least in small models (Dettmers et al. 2022, arXiv:2208.07339, table 1: "zeropoint vector-wise").
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm.layers.base import Linear, constant
from tfllm.layers.call_options import CallOptions
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.onednn import packed_integer_matmul

_WEIGHTS, _INPUTS = 64, 255
"""The largest integers of weights (from -64) and of inputs (from 0): processors without VNNI add two products of them in 16
bits and cut off what is more, 2 * 127 * 255 for one. An export is served on processors of all kinds."""
_TINY = 1e-30


class Int8Linear(Linear):
    """About the same map, in integers of 8 bits. The bias is exact."""

    def __init__(self, linear: Linear):
        super().__init__(linear.sizes[0], *linear.parts, **linear.settings())
        self.kernel = quantized_variables(linear.matrix, linear)
        if self.use_bias:
            self.bias = constant(linear.bias.value, "bias", linear, autocast=True)
        self.built = True

    def product(self, x: tf.Tensor, options: CallOptions) -> tf.Tensor:
        product = quantized_product(x, self.kernel)
        return tf.nn.bias_add(product, tf.convert_to_tensor(self.bias)) if self.use_bias else product

    @property
    def matrix(self) -> tf.Tensor:
        return dequantized(self.kernel)


class Int8Embedding(Embedding):
    """The same vectors, and about the same scores, in integers of 8 bits: for a table that a vocabulary head is tied to."""

    def __init__(self, embedding: Embedding, table: keras.Variable):
        """table: [rows, D], where vectors are looked up."""
        super().__init__(*embedding.shape, **embedding.settings())
        self.embeddings, self.kernel = table, quantized_variables(tf.transpose(embedding.matrix), embedding)
        self.built = True

    def reverse(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        return quantized_product(hidden, self.kernel)


class Int8VocabularyHead(VocabularyHead):
    """About the same scores, of a head with a kernel of its own, in integers of 8 bits. The bias is exact."""

    def __init__(self, head: VocabularyHead):
        super().__init__(head.shape[1], head.shape[0], **head.settings())
        self.kernel = quantized_variables(tf.transpose(head.matrix), head)
        if self.use_bias:
            self.bias = constant(head.bias.value, "bias", head)
        self.built = True

    def product(self, hidden: tf.Tensor, options: CallOptions) -> tf.Tensor:
        return quantized_product(hidden, self.kernel)

    @property
    def matrix(self) -> tf.Tensor:
        return tf.transpose(dequantized(self.kernel))


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


def quantized_variables(kernel: tf.Tensor, layer: keras.layers.Layer) -> Quantized:
    """`quantized` as variables of a layer. float32 [I, O]."""
    values = quantized(kernel)
    return Quantized(*(constant(value, f"kernel_{name}", layer) for name, value in values._asdict().items()))


def dequantized(matrix: Quantized) -> tf.Tensor:
    """float32 [I, O]."""
    return tf.cast(tf.convert_to_tensor(matrix.integers), tf.float32) * tf.convert_to_tensor(matrix.scales)


def quantized_product(x: tf.Tensor, matrix: Quantized) -> tf.Tensor:
    """x @ kernel, about, for a kernel that never changes. Floating [M, I] -> the same dtype [M, O]."""
    exact = tf.cast(x, tf.float32)
    least = tf.reduce_min(exact, 1, keepdims=True)
    step = tf.maximum((tf.reduce_max(exact, 1, keepdims=True) - least) / _INPUTS, _TINY)
    # A cast cuts off what is behind the point.
    above = tf.cast(exact / step + (0.5 - least / step), tf.uint8)
    products = packed_integer_matmul(above, tf.convert_to_tensor(matrix.integers))
    scales, sums = tf.convert_to_tensor(matrix.scales), tf.convert_to_tensor(matrix.sums)
    return tf.cast(products * step * scales + least * sums, x.dtype)
