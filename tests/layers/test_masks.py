"""Attention masks: the docstring's rows, windows, caches."""

import numpy as np
import tensorflow as tf

from tfllm.layers.masks import HIDDEN, at_queries, attention_mask


def seen(positions, segments, *, key_positions=None, key_segments=None, causal=True, window=0):
    """1 where a query sees a key: [S, T] of one row."""
    mask = attention_mask(
        tf.constant([positions]),
        tf.constant([segments]),
        key_positions=tf.constant([positions if key_positions is None else key_positions]),
        key_segments=tf.constant([segments if key_segments is None else key_segments]),
        causal=causal,
        window=window,
    ).numpy()
    assert mask.dtype == bool and mask.shape[:2] == (1, 1)
    return mask[0, 0].astype(int).tolist()


def test_documents_of_a_packed_row_do_not_see_each_other():
    assert seen([0, 1, 0, 1, 0], [1, 1, 2, 2, 0]) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_without_causality_documents_see_all_of_themselves():
    assert seen([0, 1, 0, 1, 0], [1, 1, 2, 2, 0], causal=False) == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_a_window_counts_the_token_itself():
    assert seen([0, 1, 2, 3], [1, 1, 1, 1], window=2) == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert seen([0, 1, 2], [1, 1, 1], window=1, causal=False) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert seen([0, 1, 2], [1, 1, 1], window=2, causal=False) == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]


def test_a_window_is_of_positions_and_not_of_slots():
    """Prompts of three and one tokens, padded to three, and one more token each: the slots of the cache."""
    row = {"key_positions": [0, 1, 2, 1], "key_segments": [1, 0, 0, 1]}
    assert seen([1], [1], window=2, **row) == [[1, 0, 0, 1]]


def test_empty_slots_and_padding_are_not_seen():
    assert seen([3], [1], key_positions=[0, 1, 2, 3, 0, 0], key_segments=[1, 1, 1, 1, 0, 0]) == [[1, 1, 1, 1, 0, 0]]
    assert seen([0], [0], key_positions=[0, 0], key_segments=[0, 1]) == [[0, 0]]


def test_hidden_keys_get_no_probability_in_bfloat16_either():
    scores = tf.cast(tf.constant([[300.0, -300.0]]) - tf.constant([[HIDDEN, 0.0]]), tf.bfloat16)
    assert tf.nn.softmax(scores).numpy().astype(np.float32).tolist() == [[0.0, 1.0]]


def test_the_queries_that_are_asked_for():
    """Of a mask that serves all rows, and of one a row."""
    places = tf.constant([[2, 0], [1, 1]])
    positions, ones = tf.range(3)[None], tf.ones([1, 3], tf.int32)
    shared = attention_mask(positions, ones, key_positions=positions, key_segments=ones, causal=True)
    assert at_queries(shared, places).numpy().astype(int).tolist() == [
        [[[1, 1, 1], [1, 0, 0]]],
        [[[1, 1, 0], [1, 1, 0]]],
    ]
    segments = tf.constant([[1, 1, 1], [1, 2, 2]])
    rows = attention_mask(positions, segments, key_positions=positions, key_segments=segments, causal=True)
    assert at_queries(rows, places).numpy().astype(int).tolist() == [[[[1, 1, 1], [1, 0, 0]]], [[[0, 1, 0], [0, 1, 0]]]]
