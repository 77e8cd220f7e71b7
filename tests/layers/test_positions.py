"""Rotary and sinusoidal positions against numpy, worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.positions import rotary_frequencies, rotate, rotation, sinusoids


def test_frequencies_fall_from_one():
    np.testing.assert_allclose(rotary_frequencies(4, 10_000.0), [1.0, 0.01], rtol=1e-7)
    np.testing.assert_allclose(rotary_frequencies(8, 16.0), [1.0, 0.5, 0.25, 0.125], rtol=1e-6)


def test_rotation_turns_unit_i_with_unit_i_plus_half():
    """H=4, position 3, frequencies 1 and 0.01: (1, 3) turn by 3 radians, (2, 4) by 0.03."""
    x = tf.constant([[[[1.0, 2.0, 3.0, 4.0]]]])
    turned = rotate(x, rotation(tf.constant([[3]]), rotary_frequencies(4, 10_000.0))).numpy()[0, 0, 0]
    c, s, small_c, small_s = math.cos(3), math.sin(3), math.cos(0.03), math.sin(0.03)
    by_hand = [1 * c - 3 * s, 2 * small_c - 4 * small_s, 3 * c + 1 * s, 4 * small_c + 2 * small_s]
    np.testing.assert_allclose(turned, by_hand, rtol=1e-6)


def test_rotation_equals_complex_multiplication():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    positions = rng.integers(0, 40, size=(2, 5))
    frequencies = rotary_frequencies(6, 500.0)
    turned = rotate(tf.constant(x), rotation(tf.constant(positions, tf.int32), frequencies)).numpy()
    numbers = x[..., :3] + 1j * x[..., 3:]
    numbers = numbers * np.exp(1j * positions[:, None, :, None] * frequencies)
    np.testing.assert_allclose(turned, np.concatenate([numbers.real, numbers.imag], -1), atol=1e-5)


def test_products_depend_on_distance_only():
    rng = np.random.default_rng(1)
    query, key = (tf.constant(rng.normal(size=(1, 1, 1, 8)), tf.float32) for _ in range(2))
    frequencies = rotary_frequencies(8, 100.0)

    def product(i, j):
        left = rotate(query, rotation(tf.constant([[i]]), frequencies))
        return float(tf.reduce_sum(left * rotate(key, rotation(tf.constant([[j]]), frequencies))))

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert abs(product(7, 3) - product(7, 4)) > 0.01


def test_llama_3_scaling_keeps_short_waves_and_stretches_long_ones():
    """Published rule: wavelengths under 64/4 stay, over 64/1 are divided by the factor, between they are blended."""
    plain = rotary_frequencies(8, 500.0)
    scaled = rotary_frequencies(
        8, 500.0, factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_max_length=64
    )
    wavelengths = 2 * math.pi / plain
    assert wavelengths[0] < 16 < wavelengths[1] < 64 < wavelengths[2]
    smooth = (64 / wavelengths[1] - 1.0) / (4.0 - 1.0)
    between = (1 - smooth) * plain[1] / 8 + smooth * plain[1]
    np.testing.assert_allclose(scaled, [plain[0], between, plain[2] / 8, plain[3] / 8], rtol=1e-6)
    np.testing.assert_array_equal(rotary_frequencies(8, 500.0, factor=1.0), plain)


def test_sinusoids_follow_the_paper():
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same."""
    positions, size = [[0, 1, 5], [2, 2, 90]], 6
    table = sinusoids(tf.constant(positions), size).numpy()
    assert table.shape == (2, 3, 6)
    for row in range(2):
        for column in range(3):
            for i in range(size // 2):
                angle = positions[row][column] / 10_000 ** (2 * i / size)
                assert table[row, column, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
                assert table[row, column, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)
