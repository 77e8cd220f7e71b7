"""Products with packed matrices: the plain ones' numbers, for any numbers of rows in any order, and only in loops."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.call_options import DECODING, INFERENCE
from tfllm.layers.onednn import packs
from tfllm.layers.packed import packed_product

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("transpose_b", [False, True], ids=["IO", "OI"])
@pytest.mark.parametrize(("dtype", "within"), [each for each in (("float32", 1e-5), ("bfloat16", 2e-2)) if packs(each[0])])
def test_any_number_of_rows_in_any_order(transpose_b, dtype, within):
    values = RANDOM.standard_normal([80, 48])
    matrix = tf.Variable(tf.cast(values.T if transpose_b else values, dtype))

    @tf.function(input_signature=[tf.TensorSpec([None, 80], dtype)], autograph=False)
    def product(x):
        plain = lambda x: tf.matmul(x, matrix, transpose_b=transpose_b)  # noqa: E731
        return packed_product(x, matrix, DECODING, plain=plain, transpose_b=transpose_b)

    for rows in (32, 1, 8, 2, 7, 9, 33, 64, 3, 0, 8):
        x = tf.cast(RANDOM.standard_normal([rows, 80]), dtype)
        expected = tf.cast(x, tf.float64).numpy() @ tf.cast(values, dtype).numpy().astype(np.float64)
        np.testing.assert_allclose(tf.cast(product(x), tf.float64), expected, rtol=within, atol=10 * within)


def test_outside_a_loop_nothing_is_packed():
    matrix = tf.Variable(tf.ones([4, 2]))

    @tf.function(autograph=False)
    def product(x):
        return packed_product(x, matrix, INFERENCE, plain=lambda x: tf.fill([8, 2], 5.0))

    np.testing.assert_array_equal(product(tf.ones([8, 4])), np.full([8, 2], 5.0))


def test_in_a_loop_the_packed_matrix_is_multiplied():
    """Shown by what must not be done: after the first product the matrix is not looked at any more."""
    matrix = tf.Variable(tf.eye(16))

    @tf.function(input_signature=[tf.TensorSpec([None, 16])], autograph=False)
    def product(x):
        return packed_product(x, matrix, DECODING, plain=lambda x: tf.matmul(x, matrix))

    x = tf.constant(RANDOM.standard_normal([8, 16]), tf.float32)
    np.testing.assert_allclose(product(x), x, rtol=1e-6)
    matrix.assign(tf.zeros([16, 16]))
    np.testing.assert_allclose(product(x), x, rtol=1e-6)
    assert not product(x[:1]).numpy().any(), "one row is as soon multiplied by the plain matrix"
