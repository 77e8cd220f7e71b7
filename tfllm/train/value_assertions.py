"""What values a batch may hold, where an operation would take any: checked in the graph, so a wrong one ends the step by name.

Enters: a batch in the vocabulary of `tfllm.features`. Leaves: assertions, which `train.step_errors` makes a ValueError of.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfllm.features import ANSWER_PLACES, ROW_WEIGHTS, SEGMENT_IDS, SPAN_ENDS, SPAN_STARTS, TARGET_IDS, TOKEN_IDS

NOT_ACCEPTED = "not accepted: "
"""Begins what is said of a wrong value; neither a quote nor a bracket stands in it."""


def between_0_and_1(name: str, value: tf.Tensor, advice: str) -> tf.Operation:
    """labels [[1, -100, 0]] -> an error"""
    return _demand(tf.reduce_all((value >= 0) & (value <= 1)), f"{name} are from 0 to 1: {advice}")


def not_copied(values: Mapping[str, tf.Tensor]) -> tf.Operation:
    """token_ids 5 6 7, target_ids 5 6 7 -> an error"""
    return _demand(
        tf.reduce_any(values[TOKEN_IDS] != values[TARGET_IDS]),
        "y is token_ids itself, and the target of a place is the next token, which a model would copy: "
        "give the ids as labels in the dict, which are shifted",
    )


def spans(values: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Each answer is inside its row, where one may be; 0 and 0 is none. Rows of weight 0 may say anything."""
    starts, ends = values[SPAN_STARTS], values[SPAN_ENDS]
    length = tf.shape(values[TOKEN_IDS])[1]
    good = (starts >= 0) & (starts <= ends) & (ends < length)
    for name in (SEGMENT_IDS, ANSWER_PLACES):
        if name in values:
            for place in (starts, ends):
                there = tf.gather(values[name], tf.clip_by_value(place, 0, length - 1), batch_dims=1)
                good &= (there > 0) | (place == 0)
    if ROW_WEIGHTS in values:
        good |= values[ROW_WEIGHTS] == 0
    return _demand(
        tf.reduce_all(good),
        "span_starts and span_ends are places of the row, the end not before the start, in no padding, and where "
        "answer_places, if given, are 1; both are 0 where the row holds no answer",
    )


def _demand(condition: tf.Tensor, said: str) -> tf.Operation:
    return tf.debugging.Assert(condition, [NOT_ACCEPTED + said])
