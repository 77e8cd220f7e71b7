"""Dropout by a counter hash: its rate, its scale, its independence, its exact repetition."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.layers.dropout import dropout
from tfllm.layers.stateless_random import fold_in, random_words
from tfllm.models import CausalLM

COUNT = 1 << 20
ONES = tf.ones([1, COUNT])


def kept(seed: int | tf.Tensor, rate: float = 0.1) -> np.ndarray:
    return dropout(ONES, rate, tf.reshape(seed, [1])).numpy()[0] > 0


def row_seed(run: int, step: int, row: int = 0) -> tf.Tensor:
    """As the training step makes it."""
    return fold_in(fold_in(tf.constant(run), step), row)


def test_no_seed_and_no_rate_are_the_identity():
    assert dropout(ONES, 0.1, None) is ONES
    assert dropout(ONES, 0.0, tf.constant([1])) is ONES
    assert dropout(ONES, 0.001, tf.constant([1])) is ONES, "finer than the steps of 1/256"


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.25, 0.5, 0.999])
def test_rate_and_scale_fit_each_other(rate):
    threshold = min(round(rate * 256), 255)
    p = threshold / 256
    values = dropout(ONES, rate, tf.constant([3])).numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(256 / (256 - threshold))}
    error = np.sqrt(p * (1 - p) / COUNT)
    assert abs((values == 0).mean() - p) < 4 * error
    assert abs(values.mean(dtype=np.float64) - 1) < 4 * error / (1 - p)
    assert values.var(dtype=np.float64) == pytest.approx(p / (1 - p), rel=0.03)


def test_bfloat16_keeps_its_type_and_nearly_its_mean():
    values = dropout(tf.cast(ONES, tf.bfloat16), 0.1, tf.constant([3]))
    assert values.dtype == tf.bfloat16
    assert tf.reduce_mean(tf.cast(values, tf.float32)).numpy() == pytest.approx(1, abs=2**-8)


def test_the_rate_is_that_of_every_seed_and_every_quarter_of_a_word():
    p = 26 / 256
    for step in range(50):
        dropped = ~kept(row_seed(0, step))
        assert abs(dropped.mean() - p) < 4.5 * np.sqrt(p * (1 - p) / COUNT)
        lanes = dropped.reshape(-1, 4).mean(0)
        assert np.abs(lanes - p).max() < 5 * np.sqrt(p * (1 - p) / (COUNT / 4))


def test_exact_repetition():
    x, seeds = tf.random.stateless_normal([7, 33, 5], [1, 2]), tf.range(9, 16)
    first = dropout(x, 0.3, seeds)
    np.testing.assert_array_equal(first, dropout(x, 0.3, seeds))
    np.testing.assert_array_equal(first, tf.function(dropout)(x, 0.3, seeds))
    np.testing.assert_array_equal(first, tf.function(dropout, jit_compile=True)(x, 0.3, seeds))
    assert first.shape == x.shape
    survived = first.numpy() != 0
    np.testing.assert_array_equal(first.numpy()[survived], (x * tf.constant(256 / 179)).numpy()[survived])


def test_the_gradient_has_the_mask_of_the_forward_pass():
    x = tf.random.stateless_normal([1, 1001], [3, 4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = dropout(x, 0.4, tf.constant([11]))
    gradient = tape.gradient(y, x).numpy()
    np.testing.assert_array_equal(gradient == 0, y.numpy() == 0)
    assert set(np.unique(gradient)) == {np.float32(0), np.float32(256 / 154)}


def test_a_row_is_dropped_alike_wherever_it_is_computed():
    x, seeds = tf.random.stateless_normal([6, 5, 3], [1, 2]), tf.range(6)
    whole = dropout(x, 0.3, seeds)
    np.testing.assert_array_equal(whole[4:], dropout(x[4:], 0.3, seeds[4:]))
    np.testing.assert_array_equal(whole[2], dropout(x[2:3], 0.3, seeds[2:3])[0])


def test_masks_of_steps_seeds_rows_and_layers_are_unrelated():
    seeds = [row_seed(run, step, row) for run in range(4) for step in range(4) for row in range(2)]
    seeds += [fold_in(fold_in(seeds[0], layer + 1), use) for layer in range(8) for use in range(3)]
    p = 230 / 256
    count = COUNT // 8
    masks = (np.array([kept(seed)[:count] for seed in seeds], np.float32) - p) / np.float32(np.sqrt(p * (1 - p)))
    correlations = (masks @ masks.T / count) * (1 - np.eye(len(seeds)))
    assert np.abs(correlations).max() * np.sqrt(count) < 5
    assert (correlations * np.sqrt(count)).std() < 1.1, "spread as of independent masks"


def test_nearby_seeds_give_other_masks():
    mask = tf.function(lambda seed: dropout(ONES[:4096], 0.5, seed) > 0)
    masks = [mask(tf.constant(seed)).numpy().tobytes() for seed in range(-500, 500)]
    assert len(set(masks)) == len(masks)


def test_rows_and_columns_of_a_mask_are_unrelated():
    """A batch of 64 rows of 16 places and 1024 units: no row, place or unit is favoured, none follows another."""
    dropped = ~kept(row_seed(1, 1)).reshape(64, 16, 1024)
    p = 26 / 256
    for axes in ((1, 2), (0, 2), (0, 1)):
        shares = dropped.mean(axes)
        spread = np.sqrt(p * (1 - p) * shares.size / COUNT)
        assert np.abs(shares - p).max() < 5 * spread and shares.std() == pytest.approx(spread, rel=0.35)
    rows = dropped.reshape(1024, 1024).astype(np.float32)
    correlations = np.corrcoef(rows) - np.eye(1024)
    assert np.abs(correlations).max() * np.sqrt(1024) < 6.5
    assert (correlations * np.sqrt(1024)).std() == pytest.approx(1, abs=0.05)


def test_every_dropout_of_a_model_has_a_mask_of_its_own(monkeypatch):
    """Embedding, attention and both sublayers, in both blocks."""
    seeds = []

    def noted(seed, count):
        seeds.extend(seed.numpy().tolist())
        return random_words(seed, count)

    monkeypatch.setattr("tfllm.layers.dropout.random_words", noted)
    sizes = {"vocab_size": 9, "max_length": 8, "num_layers": 2, "hidden_size": 8, "num_heads": 2}
    model = CausalLM(ModelConfig(**sizes, dropout=0.1, attention_dropout=0.1))
    model({"token_ids": tf.constant([[1, 2, 3]]), "dropout_seed": tf.constant([5])}, training=True)
    assert len(seeds) == len(set(seeds)) == 1 + 2 * 3
