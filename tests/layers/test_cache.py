"""The cache: the docstring's slots, writing into it, and what happens when it is full."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.layers.cache import Cache, new_cache, rollback, slots_at_first, with_a_slot, with_room, write, write_labels
from tfllm.models import CausalLM
from tfllm.presets import preset


def test_writing_at_a_slot_leaves_the_others():
    slots = tf.reshape(tf.range(2 * 2 * 4 * 3), [2, 2, 4, 3])
    new = -tf.reshape(tf.range(1, 2 * 2 * 2 * 3 + 1), [2, 2, 2, 3])
    expected = slots.numpy()
    expected[:, :, 1:3] = new.numpy()
    np.testing.assert_array_equal(write(slots, new, tf.constant(1)), expected)


def test_labels_are_broadcast_over_rows():
    slots = tf.zeros([2, 4], tf.int32)
    written = write_labels(slots, tf.constant([[7, 8]]), tf.constant(2))
    assert written.numpy().tolist() == [[0, 0, 7, 8], [0, 0, 7, 8]]


@pytest.mark.parametrize(("slots", "more"), [(32, 32), (256, 64), (1024, 160)])
def test_a_full_cache_gets_more_slots_and_no_other(slots, more):
    cache = new_cache(2, slots, num_layers=2, num_kv_heads=1, head_dim=3, dtype="float32")
    cache = cache._replace(values=(cache.values[0] + 1, cache.values[1] + 2), positions=cache.positions + 5)
    assert with_a_slot(cache._replace(length=tf.constant(slots - 1))).keys[1].shape[2] == slots
    longer = with_a_slot(cache._replace(length=tf.constant(slots)))
    for before, after in zip(tf.nest.flatten(cache)[:-1], tf.nest.flatten(longer)[:-1], strict=True):
        axis = 2 if before.shape.rank == 4 else 1
        assert after.shape[axis] == slots + more
        kept, new = tf.split(after, [slots, more], axis)
        np.testing.assert_array_equal(kept, before)
        assert not np.any(new)
    assert int(longer.length) == slots


def test_slots_are_multiples_where_any_are_wanted():
    for filled, room, more in ((0, 9, 32), (1, 9, 31), (31, 500, 1), (32, 1, 32), (40, 0, 0)):
        assert int(slots_at_first(tf.constant(filled), tf.constant(room))) == more


def test_prompts_of_two_lengths_then_one_token_each():
    """The rows of the module's docstring."""
    config = ModelConfig(vocab_size=9, max_length=8, num_layers=1, hidden_size=4, num_heads=2, positions="rotary")
    model = CausalLM(config)
    prompts = {
        "token_ids": tf.constant([[3, 4, 5], [6, 0, 0]]),
        "positions": tf.constant([[0, 1, 2], [0, 0, 0]]),
        "segment_ids": tf.constant([[1, 1, 1], [1, 0, 0]]),
    }
    _, cache = model(prompts, cache=model.new_cache(2, 5))
    more = {"token_ids": tf.constant([[7], [8]]), "positions": tf.constant([[3], [1]])}
    _, cache = model(more, cache=cache)
    assert cache.segment_ids.numpy().tolist() == [[1, 1, 1, 1, 0], [1, 0, 0, 1, 0]]
    assert cache.positions.numpy().tolist() == [[0, 1, 2, 3, 0], [0, 0, 0, 1, 0]]
    assert int(cache.length) == 4


def test_a_new_cache_is_empty_and_of_the_compute_dtype():
    cache = new_cache(3, 7, num_layers=2, num_kv_heads=2, head_dim=4, dtype="bfloat16")
    assert len(cache.keys) == len(cache.values) == 2
    assert cache.keys[0].shape == (3, 2, 7, 4) and cache.keys[0].dtype == tf.bfloat16
    assert cache.positions.shape == cache.segment_ids.shape == (3, 7)
    assert not cache.segment_ids.numpy().any() and int(cache.length) == 0


def test_writing_past_the_end_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        write(tf.zeros([1, 1, 3, 2]), tf.ones([1, 1, 2, 2]), tf.constant(2))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_a_full_cache_takes_no_more(positions):
    model = CausalLM(preset("llama-tiny", vocab_size=20, num_layers=1, positions=positions))
    _, cache = model({"token_ids": tf.constant([[1, 2, 3, 4]])}, cache=model.new_cache(1, 5))
    _, cache = model({"token_ids": tf.constant([[5]])}, cache=cache)
    with pytest.raises(ValueError, match="5 slots, 5 of them filled: no room for 1 more tokens"):
        model({"token_ids": tf.constant([[6]])}, cache=cache)
    with pytest.raises(ValueError, match="the cache is of 2 rows, the tokens of 1"):
        model({"token_ids": tf.constant([[6]])}, cache=model.new_cache(2, 5))


def labels(cache: Cache) -> list[list[int | None]]:
    """The positions of each row's tokens, None where a slot is empty."""
    rows = zip(cache.positions.numpy().tolist(), cache.segment_ids.numpy().tolist(), strict=True)
    return [[place if there else None for place, there in zip(*row, strict=True)] for row in rows]


def labelled(rows: list[list[int | None]], length: int) -> Cache:
    """A cache of one layer whose keys are the positions, its values their negatives."""
    positions = tf.constant([[place or 0 for place in row] for row in rows])
    keys = tf.cast(positions, tf.float32)[:, None, :, None]
    there = tf.constant([[int(place is not None) for place in row] for row in rows])
    return Cache((keys,), (-keys,), positions, there, tf.constant(length))


def test_rollback_rows_of_the_docstring():
    cache = labelled([[0, 1, 2, 3, 4, None], [0, 1, None, 2, None, None]], 5)
    found = rollback(cache, tf.constant([3, 2]))
    assert labels(found) == [[0, 1, 2, None, None, None], [0, 1, None, None, None, None]]
    assert int(found.length) == 3


def test_with_room_closes_up_only_where_it_must():
    cache = labelled([[0, 1, None, 2, None, 3, None], [0, None, 1, None, 2, None, None]], 6)
    assert int(with_room(cache, 1).length) == 6
    found = with_room(cache, 2)
    assert labels(found) == [[0, 1, 2, 3, None, None, None], [0, 1, 2, None, None, None, None]]
    assert int(found.length) == 4
    for kind, sign in ((found.keys[0], 1), (found.values[0], -1)):
        assert kind.numpy()[:, 0, :, 0][:, :3].tolist() == [[0, sign, 2 * sign], [0, sign, 2 * sign]]


def test_rows_that_accept_different_numbers_of_guesses_never_outgrow_their_room():
    """As in speculative decoding: each round writes up to K + 1 slots and keeps some of them, until every budget is spent."""
    random, guesses, lengths, budgets = np.random.default_rng(0), 4, np.array([3, 7, 1]), np.array([30, 12, 25])
    rows = [[place if place < length else None for place in range(7)] + [None] * (30 + guesses) for length in lengths]
    cache, count = labelled(rows, 7), np.ones(3, int)
    while (count < budgets).any():
        start = lengths + count - 1
        width = min(guesses, max(budgets - count - 1))
        cache = with_room(rollback(cache, tf.constant(start, tf.int32)), 1 + width)
        assert int(cache.length) + 1 + width <= 37 + guesses
        assert [sorted(place for place in row if place is not None) for row in labels(cache)] == [[*range(n)] for n in start]
        places = tf.constant(start[:, None] + np.arange(1 + width), tf.int32)
        cache = cache._replace(
            positions=write_labels(cache.positions, places, cache.length),
            segment_ids=write_labels(cache.segment_ids, tf.ones_like(places), cache.length),
            length=cache.length + 1 + width,
        )
        count = np.minimum(count + np.where(count < budgets, 1 + random.integers(0, width + 1, 3), 0), budgets)
