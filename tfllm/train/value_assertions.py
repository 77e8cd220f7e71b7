"""Assertions in the graph about the values of a batch, where an operation would accept any value and the result would be wrong.

Input: a batch in the vocabulary of `tfllm.features`. Output: assertion operations. When one fails, `train.step_errors` raises a
ValueError with its message, before the weights are updated.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfllm.features import ANSWER_PLACES, ROW_WEIGHTS, SEGMENT_IDS, SPAN_ENDS, SPAN_STARTS, TARGET_IDS, TOKEN_IDS

MESSAGE_START = "not accepted: "
"""How the messages begin. They have no quote and no bracket in them: `step_errors` reads up to the first."""
VALUE = "{value}"
"""Stands in a message for the value that follows it in the assertion's data."""


def assert_0_to_1(name: str, values: tf.Tensor, advice: str) -> tf.Operation:
    """labels [[1, -100, 0]] -> an error"""
    return _assert(tf.reduce_all((values >= 0) & (values <= 1)), f"{name} are from 0 to 1: {advice}")


def assert_class_numbers(name: str, values: tf.Tensor, num_classes: int, advice: str) -> tf.Operation:
    """labels [0, 3], 3 classes -> an error that names 3"""
    lowest, highest = tf.reduce_min(values), tf.reduce_max(values)
    return _assert(
        (lowest >= 0) & (highest < num_classes),
        f"{name}={VALUE} is invalid: expected class numbers from 0 to {num_classes - 1}. {advice}",
        tf.where(highest < num_classes, lowest, highest),
    )


def assert_not_copied(values: Mapping[str, tf.Tensor]) -> tf.Operation:
    """token_ids 5 6 7, target_ids 5 6 7 -> an error"""
    return _assert(
        tf.reduce_any(values[TOKEN_IDS] != values[TARGET_IDS]),
        "y is token_ids itself, and the target of a place is the next token, which a model would copy: "
        "give the ids as labels in the dict, which are shifted",
    )


def assert_spans(values: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Asserts that each answer is inside its row, at places where answers may be; 0 and 0 is no answer.

    Rows of weight 0 are not checked.
    """
    starts, ends = values[SPAN_STARTS], values[SPAN_ENDS]
    length = tf.shape(values[TOKEN_IDS])[1]
    valid = (starts >= 0) & (starts <= ends) & (ends < length)
    for name in (SEGMENT_IDS, ANSWER_PLACES):
        if name in values:
            for place in (starts, ends):
                allowed = tf.gather(values[name], tf.clip_by_value(place, 0, length - 1), batch_dims=1)
                valid &= (allowed > 0) | (place == 0)
    if ROW_WEIGHTS in values:
        valid |= values[ROW_WEIGHTS] == 0
    return _assert(
        tf.reduce_all(valid),
        "span_starts and span_ends are places of the row, the end not before the start, in no padding, and where "
        "answer_places, if given, are 1; both are 0 where the row holds no answer",
    )


def _assert(condition: tf.Tensor, message: str, *value: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(condition, [MESSAGE_START + message, *value])
