"""The arithmetic of rows: every literal row of the docstrings, and references in plain Python."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.batching import packing
from tfllm.data.batching.targets import next_token_targets


def i64(*values):
    return tf.constant(values, tf.int64)


def test_rows_of_a_shard_as_in_the_docstrings():
    assert packing.ring_rows(11, 3) == 3
    assert packing.strided_rows(11, 4, 2) == 4
    assert [packing.strided_rows(length, 4, 4) for length in (1, 2, 5, 6, 9, 10)] == [0, 1, 1, 2, 2, 3]


def test_ring_places_as_in_the_docstring():
    places = packing.ring_places(i64(8, 0, 7), i64(10, 10, 7 + 1), 3)
    assert places.numpy().tolist() == [[8, 9, 0, 1], [0, 1, 2, 3], [7, 0, 1, 2]]


def test_targets_there_and_strided_weights_as_in_the_docstrings():
    rows = i64(0, 1, 2, -1)
    there = packing.targets_there(rows, i64(7, 7, 7, 7), 4, 2)
    assert there.numpy().astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    weights = packing.strided_weights(rows, there, 2)
    assert weights.numpy().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("targets", "length", "stride"), [(1, 4, 1), (7, 4, 2), (8, 4, 4), (30, 7, 3), (5, 8, 8)])
def test_strided_rows_score_every_target_once(targets, length, stride):
    scored = []
    for row in range(packing.strided_rows(targets + 1, length, stride)):
        there = packing.targets_there(i64(row), i64(targets), length, stride)
        weights = packing.strided_weights(i64(row), there, stride).numpy()[0]
        assert weights.sum() > 0
        for column in np.flatnonzero(weights):
            scored.append(row * stride + column + 1)
            assert row == 0 or column >= length - stride
    assert sorted(scored) == list(range(1, targets + 1))


def test_document_masks_as_in_the_docstring():
    ids = tf.constant([[17, 9, 1, 33, 8, 1, 41, 0]])
    masks = packing.document_masks(ids, 1, ids != 0)
    assert masks["segment_ids"].numpy().tolist() == [[1, 1, 2, 2, 2, 3, 3, 0]]
    assert masks["positions"].numpy().tolist() == [[0, 1, 0, 1, 2, 0, 1, 0]]


def test_framed_masks_as_in_the_docstring():
    ids = tf.constant([[3, 17, 9, 1, 33, 8, 4, 0], [3, 1, 41, 17, 1, 9, 8, 4]])
    masks = packing.framed_masks(ids, 1, tf.constant([7, 8]))
    assert masks["segment_ids"].numpy().tolist() == [[1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 1, 1, 2, 2, 2, 2]]
    assert masks["positions"].numpy().tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 0, 1, 2, 3]]


def test_framed_masks_where_cls_and_sep_are_the_separator():
    ids = tf.constant([[1, 17, 9, 1, 33, 1, 0, 0], [1, 1, 41, 17, 9, 8, 1, 1]])
    masks = packing.framed_masks(ids, 1, tf.constant([6, 8]))
    assert masks["segment_ids"].numpy().tolist() == [[1, 1, 1, 2, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 2, 2]]
    assert masks["positions"].numpy().tolist() == [[0, 1, 2, 0, 1, 2, 0, 0], [0, 1, 2, 3, 4, 5, 0, 1]]


def test_segments_as_in_the_docstring():
    masks = packing.segments(tf.constant([[0, 0, 1, 0, 1, 0]]) > 0, tf.constant([[1, 1, 1, 1, 1, 0]]) > 0)
    assert masks["segment_ids"].numpy().tolist() == [[1, 1, 2, 2, 3, 0]]
    assert masks["positions"].numpy().tolist() == [[0, 1, 0, 1, 0, 0]]


def test_document_masks_are_what_a_loop_finds():
    rng = random.Random(3)
    ids = [[rng.choice([1, 1, 5, 6, 7, 8, 9]) for _ in range(37)] for _ in range(50)]
    ids += [[1] * 37, [5] * 37]
    masks = packing.document_masks(tf.constant(ids), 1)
    for row, segments, positions in zip(ids, masks["segment_ids"].numpy(), masks["positions"].numpy(), strict=True):
        segment, position = 0, -1
        for place, id in enumerate(row):
            segment, position = (segment + 1, 0) if id == 1 or place == 0 else (segment, position + 1)
            assert (segments[place], positions[place]) == (segment, position)


def test_causal_shift_as_in_the_docstring():
    batch = next_token_targets(tf.constant([[1, 41, 17, 9, 1]]), tf.ones([1, 4]))
    assert {name: value.numpy().tolist() for name, value in batch.items()} == {
        "token_ids": [[1, 41, 17, 9]],
        "target_ids": [[41, 17, 9, 1]],
        "target_weights": [[1, 1, 1, 1]],
    }
    there = tf.constant([[True, True, False, False]])
    batch = next_token_targets(tf.constant([[17, 9, 1, 7, 7]]), tf.cast(there, tf.float32), there)
    assert {name: value.numpy().tolist() for name, value in batch.items()} == {
        "token_ids": [[17, 9, 0, 0]],
        "target_ids": [[9, 1, 0, 0]],
        "target_weights": [[1, 1, 0, 0]],
    }
