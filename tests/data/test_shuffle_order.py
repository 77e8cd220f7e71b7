"""The order of draws: permutations that are permutations, unlike each other, and mixtures that add up exactly."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.batching import shuffle_order


def permutation(size, seed=0, epoch=0):
    index = tf.range(size, dtype=tf.int64)
    key = shuffle_order.random_keys(seed, tf.fill([size], tf.constant(epoch, tf.int64)))
    return shuffle_order.permute_index(index, tf.fill([size], tf.constant(size, tf.int64)), key).numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 1000, 1024])
def test_a_permutation_holds_every_row_once(size):
    for epoch in (0, 1, 2**40):
        assert sorted(permutation(size, epoch=epoch)) == list(range(size))


def test_as_in_the_docstring():
    assert sorted(permutation(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1000, 65_536])
def test_epochs_seeds_and_neighbours_are_unrelated(size):
    """The op's own default, four rounds and a counter for a key, fails this by two orders of magnitude."""
    drawn = [permutation(size, seed, epoch) for seed in (0, 1, 2**31) for epoch in (0, 1, 2, 256, 65_536, 2**32)]
    pairs = itertools.combinations(drawn, 2)
    scores = [abs(np.corrcoef(one, other)[0, 1]) * size**0.5 for one, other in pairs]
    assert max(scores) < 5
    assert np.mean(scores) < 1.1
    for one in drawn:
        assert abs(np.corrcoef(one, np.arange(size))[0, 1]) * size**0.5 < 5
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) * size**0.5 < 5
        steps = np.bincount((one[1:] - one[:-1]) % size, minlength=size)
        assert steps.max() < 14


def test_the_first_row_is_any_row():
    size, epochs = 50, 5000
    key = shuffle_order.random_keys(3, tf.range(epochs, dtype=tf.int64))
    first = shuffle_order.permute_index(
        tf.zeros([epochs], tf.int64), tf.fill([epochs], tf.constant(size, tf.int64)), key
    ).numpy()
    counts = np.bincount(first, minlength=size)
    assert ((counts - 100) ** 2 / 100).sum() < 110  # chi-square of 49 degrees of freedom: 110 is one in a million


def test_shares_as_in_the_docstring():
    assert shuffle_order.draws_per_store([1, 1, 1], 10) == [4, 3, 3]
    assert shuffle_order.draws_per_store([5]) == [shuffle_order.BLOCK]
    assert shuffle_order.draws_per_store([0.7, 0.2, 0.1]) == [7000, 2000, 1000]


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [1, float("nan")], [1, float("inf")], [1, 1e-9]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights="):
        shuffle_order.draws_per_store(weights)


def test_draws_of_a_mixture():
    counts = [2, 1]
    store, number = (part.numpy() for part in shuffle_order.choose_store(tf.range(300, dtype=tf.int64), counts, 4))
    for block in range(100):
        assert sorted(store[3 * block : 3 * block + 3]) == [0, 0, 1]
    assert len({tuple(store[3 * block : 3 * block + 3]) for block in range(100)}) == 3
    for which, count in enumerate(counts):  # each store's own draws: every number once, block after block
        mine = number[store == which]
        assert sorted(mine) == list(range(100 * count))
        assert (mine // count == np.arange(100 * count) // count).all()


def test_one_store_counts_straight():
    store, number = shuffle_order.choose_store(tf.constant([5, 6, 7], tf.int64), [shuffle_order.BLOCK], 0)
    assert store.numpy().tolist() == [0, 0, 0]
    assert number.numpy().tolist() == [5, 6, 7]


def test_below_as_in_the_docstring():
    number = tf.constant([0, 2**31, 2**32 - 1], tf.uint32)
    assert shuffle_order.random_below(number, 10).numpy().tolist() == [0, 5, 9]
    assert shuffle_order.random_bool(number, 0.5).numpy().tolist() == [True, False, False]
    assert shuffle_order.random_bool(number, 0.0).numpy().tolist() == [False] * 3
    assert shuffle_order.random_bool(number, 1.0).numpy().tolist() == [True] * 3


def test_numbers_are_even_and_unrelated():
    """Of neighbouring counters, and of neighbouring keys: mean, and correlation with the next one."""
    keys = shuffle_order.random_keys(0, tf.range(2000, dtype=tf.int64))
    found = shuffle_order.random_uint32(keys, tf.range(500)).numpy() / 2**32
    error = 4 / found.size**0.5
    assert abs(found.mean() - 0.5) < error * 12**-0.5
    for one, two in ((found[:, 1:], found[:, :-1]), (found[1:], found[:-1])):
        assert abs(((one - 0.5) * (two - 0.5)).mean() * 12) < error * 1.01
    counts = np.bincount((found.ravel() * 256).astype(int), minlength=256)
    assert abs(counts - found.size / 256).max() < 5 * (found.size / 256) ** 0.5
