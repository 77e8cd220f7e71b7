"""Products with a transposed copy are those with the matrix itself."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.base import Linear
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.turned import affine_turned, use_turned

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 12, 13, 40])
@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_rows_of_any_number(rows, dtype, within):
    x, kernel, bias = (tf.cast(RANDOM.standard_normal(shape), dtype) for shape in ([rows, 16], [24, 16], [24]))
    exact = [tf.cast(each, tf.float64).numpy() for each in (x, kernel, bias)]
    for given, expected in ((bias, exact[0] @ exact[1].T + exact[2]), (None, exact[0] @ exact[1].T)):
        np.testing.assert_allclose(
            tf.cast(affine_turned(x, kernel, given), tf.float64), expected, rtol=within, atol=10 * within
        )


def test_layers_use_the_copy_in_place_of_the_variable():
    linear = Linear(16, 8, 4, use_bias=True, stddev=0.1)
    table = Embedding(30, 16, stddev=0.1)
    linear.build()
    table.build()
    head = VocabularyHead(16, 30, embedding=table, stddev=0.1)
    head.build()
    x, ids = tf.constant(RANDOM.standard_normal([2, 3, 16]), tf.float32), tf.constant([[3, 4, 29], [0, 3, 3]])
    expected = linear(x), table(ids), head(x)
    copies = {id(variable): tf.transpose(variable) for variable in (linear.kernel, table.embeddings)}
    linear.kernel.assign(tf.zeros_like(linear.kernel))
    table.embeddings.assign(tf.zeros_like(table.embeddings))
    with use_turned(copies):
        found = linear(x), table(ids), head(x)
    for mine, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)
    assert not np.any(head(x)), "outside, the variables are used again"
