"""Next-token targets of a causal language model.

In: rows of S + 1 ids. Out: TOKEN_IDS, TARGET_IDS and TARGET_WEIGHTS [B, S], the names of `tfllm/features.py`.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm import features


def next_token_targets(rows: tf.Tensor, weights: tf.Tensor, there: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """Predict every token from those before it.

        rows     1 41 17  9  1        weights 1 1 1 1
        -> token_ids       1 41 17  9
           target_ids     41 17  9  1
           target_weights  1  1  1  1
        rows    17  9  1  7  7        weights 1 1 0 0, there 1 1 0 0 (7 is whatever was read past the end)
        -> token_ids      17  9  0  0
           target_ids      9  1  0  0
           target_weights  1  1  0  0

    Args:
        rows: int32 [B, S+1].
        weights: float32 [B, S], what each target counts.
        there: bool [B, S], false where a target is padding; None: all are there.

    Returns:
        TOKEN_IDS, TARGET_IDS int32 [B, S], TARGET_WEIGHTS float32 [B, S].
    """
    inputs, targets = rows[:, :-1], rows[:, 1:]
    if there is not None:
        inputs, targets = tf.where(there, inputs, 0), tf.where(there, targets, 0)
    return {features.TOKEN_IDS: inputs, features.TARGET_IDS: targets, features.TARGET_WEIGHTS: weights}
