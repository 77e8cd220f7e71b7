"""Products of few rows with a matrix that oneDNN packs for them, in decoding loops.

A packed copy pays only there: elsewhere the plain product is made. In float32 the plain matrix is read as fast for one row or
for many, and what oneDNN packs for less than 7 rows is of no use for more, so rows are filled up to 8 (docs/performance.md).
`transposed.py` has the layers whose matrix is transposed, too. Here are those of a table in bfloat16, which is read fastest as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from tfllm.layers.base import constant
from tfllm.layers.call_options import CallOptions
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.onednn import packed_matmul

_LEAST, _MOST = 8, 32


class PackedEmbedding(Embedding):
    """The same table in the compute dtype, for one that a vocabulary head is tied to: scores are packed products."""

    def __init__(self, embedding: Embedding):
        super().__init__(*embedding.shape, **embedding.settings())
        self.embeddings = constant(tf.cast(embedding.matrix, self.compute_dtype), "embeddings", embedding)
        self.built = True

    def reverse(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        plain = partial(super().reverse, options=options)
        return packed_product(hidden, self.embeddings.value, options, plain=plain, transpose_b=True)


class PackedVocabularyHead(VocabularyHead):
    """The same scores by packed products, of a head with a kernel of its own, in the compute dtype."""

    def __init__(self, head: VocabularyHead):
        super().__init__(head.shape[1], head.shape[0], **head.settings())
        self.kernel = constant(tf.cast(head.matrix, self.compute_dtype), "kernel", head)
        if self.use_bias:
            self.bias = constant(head.bias.value, "bias", head)
        self.built = True

    def product(self, hidden: tf.Tensor, options: CallOptions) -> tf.Tensor:
        plain = partial(super().product, options=options)
        return packed_product(hidden, self.kernel.value, options, plain=plain, transpose_b=True)


def packed_product(
    x: tf.Tensor,
    matrix: tf.Tensor | tf.Variable,
    options: CallOptions,
    *,
    plain: Callable[[tf.Tensor], tf.Tensor],
    transpose_b: bool = False,
) -> tf.Tensor:
    """x @ matrix, which never changes, and which `plain` multiplies by, too. [M, I], [I, O] ([O, I]) -> [M, O]."""
    if tf.executing_eagerly() or not options.in_loop:
        return plain(x)

    def packed(x: tf.Tensor) -> tf.Tensor:
        return packed_matmul(x, tf.convert_to_tensor(matrix), transpose_b=transpose_b)

    if x.dtype != tf.float32:
        return packed(x)
    if options.one_row:
        return plain(x)
    rows = tf.shape(x)[0]

    def filled_up() -> tf.Tensor:
        return packed(tf.pad(x, [[0, tf.maximum(_LEAST - rows, 0)], [0, 0]]))[:rows]

    return tf.cond((rows > 1) & (rows <= _MOST), filled_up, lambda: plain(x))
