"""The cache: the docstring's slots, writing into it, and what happens when it is full."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.layers.cache import new_cache, write, write_labels
from tfllm.models import CausalLM


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
