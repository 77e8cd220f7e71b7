"""Stand-ins for a model: their scores follow a rule that a test can state, and the cache is only counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import POSITIONS, TOKEN_IDS
from tfllm.layers.cache import new_cache
from tfllm.layers.stack import StackOutput


class RuleModel:
    """A model whose scores of the next token are `rule(token, position)`, float32 [V] for every place."""

    def __init__(self, vocab_size: int, rule: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], **config: Any):
        settings = dict(max_length=1000, positions="rotary") | config
        self.config = ModelConfig(vocab_size=vocab_size, num_layers=1, hidden_size=2, num_heads=1, **settings)
        self.rule = rule

    def new_cache(self, rows: tf.Tensor, length: tf.Tensor) -> Any:
        return new_cache(rows, length, num_layers=1, num_kv_heads=1, head_dim=2, dtype="float32")

    def stack(self, features: dict[str, tf.Tensor], cache: Any, output_positions: Any = None, options: Any = None) -> Any:
        ids = features[TOKEN_IDS]
        length = tf.shape(ids)[1]
        positions = features.get(POSITIONS)
        if positions is None:
            positions = tf.broadcast_to(cache.length + tf.range(length)[None], tf.shape(ids))
        hidden = tf.stack([ids, positions], -1)
        hidden = hidden if output_positions is None else tf.gather(hidden, output_positions, batch_dims=1)
        return StackOutput(hidden, cache._replace(length=cache.length + length))

    def logits(self, hidden: tf.Tensor, options: Any = None) -> tf.Tensor:
        assert hidden.shape.rank == 2, "the vocabulary is to be scored for one place a row"
        scores = self.rule(hidden[..., 0], hidden[..., 1])
        return tf.ensure_shape(scores, [None, self.config.vocab_size])


def script(vocab_size: int, ids: list[int], prompt_length: int) -> RuleModel:
    """A model that says `ids` after a prompt of `prompt_length` tokens (the separator included), then token 2 for ever."""
    said = tf.constant([2] * (prompt_length - 1) + ids + [2] * 1000)
    return RuleModel(vocab_size, lambda token, position: 30.0 * tf.one_hot(tf.gather(said, position), vocab_size))


def fixed(log_probs: np.ndarray) -> RuleModel:
    """A model whose next token does not depend on anything."""
    scores = tf.constant(log_probs, tf.float32)
    return RuleModel(len(log_probs), lambda token, position: tf.repeat(scores[None], tf.size(token), axis=0))
