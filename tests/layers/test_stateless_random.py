"""The counter hash: reproducible, and as even as its uses need, over bits, bytes, neighbours and seeds.

Limits are in standard errors of a fair generator over a million words, and the draws are fixed by their seeds: a bias that
could be felt in training is far beyond the limits, and no test can fail by chance.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.stateless_random import fold_in, random_words

COUNT = 1 << 20
SEEDS = [0, 1, 2, -1, 12345, 2**31 - 1, -(2**31)]


@pytest.fixture(scope="module")
def words() -> dict[int, np.ndarray]:
    return {seed: random_words(tf.constant(seed), COUNT).numpy() for seed in SEEDS}


def chi_square(counts: np.ndarray) -> float:
    """How many standard deviations the counts are less even than chance."""
    expected = counts.sum() / counts.size
    return (np.square(counts - expected).sum() / expected - (counts.size - 1)) / np.sqrt(2 * (counts.size - 1))


def standard_errors(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two arrays of bits or numbers, in standard errors."""
    return float(np.corrcoef(first, second)[0, 1] * np.sqrt(first.size))


def test_the_same_seed_gives_the_same_words_and_a_prefix_of_more(words):
    assert words[1].dtype == np.uint32 and words[1].shape == (COUNT,)
    np.testing.assert_array_equal(random_words(tf.constant(1), 1000), words[1][:1000])
    in_graph = tf.function(random_words)(tf.constant(1), tf.constant(1000))
    np.testing.assert_array_equal(in_graph, words[1][:1000])


def test_the_words_are_those_of_the_first_release():
    """Runs are resumed and results repeated by these words: a change of them is a change of format."""
    assert random_words(tf.constant(7), 4).numpy().tolist() == [1562129541, 2786315837, 234999938, 898648837]
    assert fold_in(tf.constant([7, -7]), 3).numpy().tolist() == [52487495, 668568258]


def test_every_bit_is_as_often_one_as_zero(words):
    for word in words.values():
        ones = np.array([(word >> np.uint32(bit) & np.uint32(1)).mean() for bit in range(32)])
        assert np.abs(2 * ones - 1).max() * np.sqrt(COUNT) < 4.5


def test_bits_of_a_word_do_not_go_together(words):
    for word in (words[0], words[12345]):
        few = word[: COUNT // 8]
        bits = np.array([few >> np.uint32(bit) & np.uint32(1) for bit in range(32)], np.float32) * 2 - 1
        correlations = bits @ bits.T / few.size - np.eye(32)
        assert np.abs(correlations).max() * np.sqrt(few.size) < 5


def test_bytes_are_even_in_every_lane(words):
    for word in words.values():
        lanes = word.view(np.uint8).reshape(-1, 4)
        assert max(chi_square(np.bincount(lane, minlength=256)) for lane in lanes.T) < 5


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 64, 256, 384, 768, 1024, 1536, 8192])
def test_neighbouring_bytes_do_not_go_together(words, lag):
    for word in words.values():
        lanes = word.view(np.uint8)
        pairs = (lanes[:-lag] >> 4).astype(np.uint8) << 4 | lanes[lag:] >> 4
        assert chi_square(np.bincount(pairs, minlength=256)) < 6
        for threshold in (26, 128):
            dropped = (lanes < threshold).astype(np.float32) - threshold / 256
            assert abs(dropped[:-lag] @ dropped[lag:] / (dropped @ dropped)) * np.sqrt(lanes.size) < 5


def test_runs_are_as_long_as_chance_makes_them(words):
    """Lengths of runs of bytes under 26 (dropout 0.1): geometric, so P(run > k) = p^k."""
    for word in words.values():
        low = np.flatnonzero(np.diff(np.concatenate([[0], word.view(np.uint8) < 26, [0]]).astype(np.int8)))
        lengths = low[1::2] - low[::2]
        p = 26 / 256
        for k in (1, 2, 3):
            share = (lengths > k).mean()
            assert abs(share - p**k) < 5 * np.sqrt(p**k / lengths.size)


@pytest.mark.parametrize("distance", [1, 2, 3, 17, 1024, 65536])
def test_seeds_whose_counters_overlap_share_nothing(distance):
    """The worst two seeds: the second's counter is the first's, some places on. (Correlation 1.0 if the key were added.)"""
    apart = np.int32(np.uint32(distance * 0x9E3779B9 % 2**32).view(np.int32))
    first = random_words(tf.constant(5), COUNT).numpy()
    second = random_words(tf.constant(5) + apart, COUNT).numpy()
    for shift, most in ((0, 0.005), (distance, 0.05)):
        ours = first[shift:].view(np.uint8).reshape(-1, 4)
        theirs = second[: COUNT - shift].view(np.uint8).reshape(-1, 4)
        for lane in range(4):
            for threshold in (26, 128):
                p = threshold / 256
                both = ((ours[:, lane] < threshold) & (theirs[:, lane] < threshold)).mean()
                assert abs(both - p * p) / (p * (1 - p)) < most


def test_nearby_seeds_share_nothing(words):
    for first, second in ((0, 1), (1, 2), (-1, 0), (0, 12345)):
        assert not (words[first] == words[second]).mean() * COUNT > 3
        ours, theirs = (words[seed].view(np.uint8).astype(np.float32) for seed in (first, second))
        assert abs(standard_errors(ours, theirs)) < 5


def test_folding_gives_new_seeds():
    numbers = tf.range(COUNT)
    children = fold_in(tf.constant(7), numbers).numpy()
    assert children.dtype == np.int32
    # As many repeats as random 32-bit numbers have: n^2 / 2^33.
    assert COUNT - np.unique(children).size < 3 * COUNT**2 / 2**33
    assert np.unique(fold_in(numbers, 7).numpy()).size == COUNT
    assert fold_in(tf.constant(7), 0) != fold_in(tf.constant(0), 7)
    assert abs(standard_errors(children[:-1], children[1:])) < 5
    assert abs(standard_errors(children.astype(np.float64), np.arange(COUNT))) < 5
    np.testing.assert_array_equal(fold_in(tf.constant(7), 5), children[5])


def test_a_changed_bit_of_the_seed_changes_half_of_the_bits():
    seeds = np.random.default_rng(0).integers(-(2**31), 2**31, 20_000).astype(np.int32)
    for bit in (0, 1, 7, 16, 30, 31):
        flipped = seeds ^ np.int32(np.uint32(1 << bit).view(np.int32))
        changed = fold_in(tf.constant(seeds), 3).numpy() ^ fold_in(tf.constant(flipped), 3).numpy()
        share = np.bitwise_count(changed.view(np.uint32)).mean() / 32
        assert abs(share - 0.5) < 0.02
