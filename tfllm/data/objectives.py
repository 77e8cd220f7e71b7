"""Rows of ids in, what the model reads and what it should say out: a batch in the vocabulary of
tfllm/features.py."""

from __future__ import annotations

import tensorflow as tf

from tfllm import features


def causal_shift(rows: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
    """Predict every token from those before it.

        rows     1 41 17  9  1        weights 1 1 1 1
        -> token_ids       1 41 17  9
           target_ids     41 17  9  1
           target_weights  1  1  1  1

    Args:
        rows: int32 [B, S+1].
        weights: float32 [B, S], what each target counts.

    Returns:
        TOKEN_IDS, TARGET_IDS int32 [B, S], TARGET_WEIGHTS float32 [B, S].
    """
    return {
        features.TOKEN_IDS: rows[:, :-1],
        features.TARGET_IDS: rows[:, 1:],
        features.TARGET_WEIGHTS: weights,
    }
