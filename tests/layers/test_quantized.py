"""Products of 8 bits: what the integers say, exactly, and how near that is to the floating product."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.quantized import quantized, quantized_product

RANDOM = np.random.default_rng(0)
product = tf.function(quantized_product)


def by_hand(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """In float64: weights in 129 steps around 0, a row's inputs in 256 from its least to its largest."""
    scales = np.abs(kernel).max(0) / 64
    weights = np.round(kernel / scales)
    least = x.min(1, keepdims=True)
    step = (x.max(1, keepdims=True) - least) / 255
    return (np.floor((x - least) / step + 0.5) * step + least) @ (weights * scales)


@pytest.mark.parametrize("rows", [1, 8, 33])
def test_the_product_is_that_of_the_integers(rows):
    x, kernel = RANDOM.standard_normal([rows, 96]), RANDOM.standard_normal([96, 40])
    x[:, 3] += 30  # ranges that are not symmetric
    found = product(tf.constant(x, tf.float32), quantized(tf.constant(kernel, tf.float32))).numpy()
    # A number half way between two integers may go to either: one step of one input.
    np.testing.assert_allclose(found, by_hand(x, kernel), atol=0.5)
    assert np.abs(found - by_hand(x, kernel)).mean() < 0.01
    exact = x @ kernel
    assert np.sqrt(np.square(found - exact).mean()) / exact.std() < 0.05


def test_integers_that_8_bits_hold_lose_nothing():
    x = RANDOM.integers(-100, 156, [5, 64]).astype(np.float32)
    x[:, 0], x[:, 1] = -100, 155
    kernel = RANDOM.integers(-64, 65, [64, 7]).astype(np.float32)
    kernel[0] = 64
    np.testing.assert_allclose(product(x, quantized(tf.constant(kernel))), x @ kernel, rtol=1e-5, atol=0.5)


def test_the_largest_products_fit_what_every_processor_adds_them_in():
    kernel = np.array([[1.0, -1.0]] * 64, np.float32)
    integers = quantized(tf.constant(kernel)).integers.numpy().astype(int)
    assert 2 * 255 * np.abs(integers).max() < 2**15  # without VNNI, two at a time in 16 bits
    x = np.full([2, 64], 3.0, np.float32)
    x[:, ::9] = -1
    np.testing.assert_allclose(product(x, quantized(tf.constant(kernel))), x @ kernel, rtol=1e-5)


def test_rows_and_columns_of_one_number():
    x = np.array([[0.0] * 16, [2.5] * 16, [-1.0] * 16], np.float32)
    kernel = np.stack([np.zeros(16), np.full(16, 0.5)], 1).astype(np.float32)
    np.testing.assert_allclose(product(x, quantized(tf.constant(kernel))), x @ kernel, rtol=1e-5, atol=1e-6)


def test_bfloat16_comes_and_goes():
    x = tf.constant(RANDOM.standard_normal([4, 32]), tf.bfloat16)
    kernel = tf.constant(RANDOM.standard_normal([32, 8]), tf.float32)
    found = product(x, quantized(kernel))
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), tf.cast(x, tf.float32) @ kernel, atol=0.3)
