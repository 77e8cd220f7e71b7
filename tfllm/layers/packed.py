"""Products of few rows with a matrix that is packed for them: where the same ones are made again and again, as in decoding.

A packed copy pays only there; anywhere else the plain product is made. In float32 the plain matrix is read as soon for one row
or for many, and what oneDNN packs for less than 7 rows is of no use for more, so rows are filled up to 8 (docs/performance.md).
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.onednn import packed_matmul
from tfllm.layers.stand_ins import StandIn, is_one_row, is_repeated

_LEAST, _MOST = 8, 32


def packed_product(x: tf.Tensor, matrix: tf.Tensor | tf.Variable, *, plain: StandIn, transpose_b: bool = False) -> tf.Tensor:
    """x @ matrix, which never changes, and which `plain` multiplies by, too. [M, I], [I, O] ([O, I]) -> [M, O]."""
    if tf.executing_eagerly() or not is_repeated():
        return plain(x)

    def packed(x: tf.Tensor) -> tf.Tensor:
        return packed_matmul(x, tf.convert_to_tensor(matrix), transpose_b=transpose_b)

    if x.dtype != tf.float32:
        return packed(x)
    if is_one_row():
        return plain(x)
    rows = tf.shape(x)[0]

    def filled_up() -> tf.Tensor:
        return packed(tf.pad(x, [[0, tf.maximum(_LEAST - rows, 0)], [0, 0]]))[:rows]

    return tf.cond((rows > 1) & (rows <= _MOST), filled_up, lambda: plain(x))
