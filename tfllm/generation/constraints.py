"""Steps of an automaton over tokens, in the graph: pure functions of tensors, with one automaton state for each row.

Input: an `Automaton` of tensors, and the rows' states. Output: which tokens each row may choose, and its state after a token.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.generation.automata import Automaton


def allowed_tokens(automaton: Automaton, states: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """The tokens that have a transition from each state. int32 [B] -> bool [B, V]."""
    transitions = _transitions(automaton, states)
    indices = tf.stack([tf.cast(transitions.value_rowids(), tf.int32), tf.gather(automaton.ids, transitions.values)], 1)
    return tf.scatter_nd(indices, tf.ones_like(transitions.values), [tf.size(states), vocabulary]) > 0


def next_states(automaton: Automaton, states: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """The state after each row's token; state 0 if the token has no transition. int32 [B], [B] -> [B]."""
    transitions = _transitions(automaton, states)
    rows = transitions.value_rowids()
    taken = tf.gather(automaton.ids, transitions.values) == tf.gather(tokens, rows)
    reached = tf.where(taken, tf.gather(automaton.next, transitions.values), 0)
    return tf.maximum(tf.math.unsorted_segment_max(reached, rows, tf.size(states)), 0)


def _transitions(automaton: Automaton, states: tf.Tensor) -> tf.RaggedTensor:
    """Indices of the transitions of each state: int32 [B, (transitions)]."""
    return tf.ragged.range(tf.gather(automaton.row_splits, states), tf.gather(automaton.row_splits, states + 1))
