"""An automaton over tokens, followed in the graph: pure functions of tensors, one state a row.

Enters: an `Automaton` of tensors and the rows' states. Leaves: which tokens each row may say next, and its state behind one.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.generation.automata import Automaton


def allowed(automaton: Automaton, states: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """The tokens that lead on from each state: int32 [B] -> bool [B, V]."""
    edges = _edges(automaton, states)
    places = tf.stack([tf.cast(edges.value_rowids(), tf.int32), tf.gather(automaton.ids, edges.values)], 1)
    return tf.scatter_nd(places, tf.ones_like(edges.values), [tf.size(states), vocabulary]) > 0


def following(automaton: Automaton, states: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """The state behind each row's token; the first where the token leads nowhere. int32 [B], [B] -> [B]."""
    edges = _edges(automaton, states)
    rows = edges.value_rowids()
    taken = tf.gather(automaton.ids, edges.values) == tf.gather(tokens, rows)
    reached = tf.where(taken, tf.gather(automaton.next, edges.values), 0)
    return tf.maximum(tf.math.unsorted_segment_max(reached, rows, tf.size(states)), 0)


def _edges(automaton: Automaton, states: tf.Tensor) -> tf.RaggedTensor:
    """Places of each state's transitions: int32 [B, (edges)]."""
    return tf.ragged.range(tf.gather(automaton.row_splits, states), tf.gather(automaton.row_splits, states + 1))
