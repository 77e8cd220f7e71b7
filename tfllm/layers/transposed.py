"""Layers for inference that store their matrix the other way round, as products of few rows want it.

Input: a layer whose matrix no longer changes. Output: a layer with a copy of the matrix in the compute dtype.

A decoder multiplies one row a text and step. For one row in float32 a kernel [O, I] is read faster than [I, O], and a
vocabulary's table [D, V] faster than [V, D]. Up to 8 rows are multiplied fastest as x @ kernel^T, from 16 as kernel @ x^T, by
oneDNN. Where TensorFlow runs without it, the first takes several times as long as the second from 2 rows on
(docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.base import Linear, constant, sizes_of
from tfllm.layers.call_options import CallOptions
from tfllm.layers.devices import ONEDNN_BY_DEFAULT
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.packed import packed_product

_FEW = 12


class TransposedLinear(Linear):
    """The same map with a kernel [O, I].

    Args:
        prepack: in decoding loops oneDNN keeps a packed copy of the kernel, too (`packed.py`).
    """

    def __init__(self, linear: Linear, *, prepack: bool = False):
        super().__init__(linear.sizes[0], *linear.parts, **linear.settings())
        self.prepack = prepack
        self.kernel = constant(tf.transpose(tf.cast(linear.matrix, self.compute_dtype)), "kernel", linear)
        if self.use_bias:
            self.bias = constant(linear.bias.value, "bias", linear, autocast=True)
        self.built = True

    def product(self, x: tf.Tensor, options: CallOptions) -> tf.Tensor:
        kernel = self.kernel.value

        def plain(x: tf.Tensor) -> tf.Tensor:
            return transposed_product(x, kernel, options)

        product = packed_product(x, kernel, options, plain=plain, transpose_b=True) if self.prepack else plain(x)
        return tf.nn.bias_add(product, tf.convert_to_tensor(self.bias)) if self.use_bias else product

    @property
    def matrix(self) -> tf.Tensor:
        return tf.transpose(self.kernel.value)

    @property
    def one_row_differs(self) -> bool:
        """Is one row multiplied in another way than several? Then a loop is worth tracing for both (`generation.decode`)."""
        return self.compute_dtype == "float32" and (self.prepack or ONEDNN_BY_DEFAULT)


class TransposedEmbedding(Embedding):
    """The same table as [D, rows]: for one that a vocabulary head is tied to. `prepack` is `TransposedLinear`'s."""

    def __init__(self, embedding: Embedding, *, prepack: bool = False):
        super().__init__(*embedding.shape, **embedding.settings())
        self.prepack = prepack
        self.columns = constant(tf.transpose(tf.cast(embedding.matrix, self.compute_dtype)), "embeddings", embedding)
        self.built = True

    def call(self, ids: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        found = transposed_rows(tf.reshape(ids, [-1]), tf.convert_to_tensor(self.columns))
        return tf.cast(tf.reshape(found, [*sizes_of(ids), self.shape[1]]), self.compute_dtype)

    def reverse(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        return columns_product(hidden, self.columns.value, options, prepack=self.prepack)

    @property
    def matrix(self) -> tf.Tensor:
        return tf.transpose(self.columns.value)


class TransposedVocabularyHead(VocabularyHead):
    """The same scores, of a head with a kernel of its own, as [D, V]. `prepack` is `TransposedLinear`'s."""

    def __init__(self, head: VocabularyHead, *, prepack: bool = False):
        super().__init__(head.shape[1], head.shape[0], **head.settings())
        self.prepack = prepack
        self.columns = constant(tf.transpose(tf.cast(head.matrix, self.compute_dtype)), "kernel", head)
        if self.use_bias:
            self.bias = constant(head.bias.value, "bias", head)
        self.built = True

    def product(self, hidden: tf.Tensor, options: CallOptions) -> tf.Tensor:
        return columns_product(hidden, self.columns.value, options, prepack=self.prepack)

    @property
    def matrix(self) -> tf.Tensor:
        return tf.transpose(self.columns.value)


def transposed_product(x: tf.Tensor, kernel: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
    """x @ kernel^T. [M, I], [O, I] -> [M, O]. A graph suits the processor it was made on, as a server runs it."""

    def few() -> tf.Tensor:
        return tf.matmul(x, kernel, transpose_b=True)

    def many() -> tf.Tensor:
        return tf.transpose(tf.matmul(kernel, x, transpose_b=True))

    if x.dtype != tf.float32:  # rounded products in bfloat16 have no such valley
        return few()
    # One row is multiplied as fast either way. Without a branch around few(), TensorFlow would fuse its product with the
    # addition of a bias into another one, which reads such a kernel slowly.
    return tf.cond(tf.shape(x)[0] <= _FEW, few, many) if ONEDNN_BY_DEFAULT and not options.one_row else many()


def columns_product(x: tf.Tensor, columns: tf.Variable, options: CallOptions, *, prepack: bool) -> tf.Tensor:
    """x @ columns. [M, D], [D, V] -> [M, V]."""

    def plain(x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, columns)

    return packed_product(x, columns, options, plain=plain) if prepack else plain(x)


def transposed_rows(ids: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows of the table whose transpose is given. int32 [M], [D, V] -> [M, D]."""
    return tf.transpose(tf.gather(columns, ids, axis=1))
