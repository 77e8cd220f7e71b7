"""What tasks on an encoder share: a stack, and one dense layer on top."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, get_args

import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import DROPOUT_SEED, SEGMENT_IDS
from tfllm.layers.base import Linear
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import dropout
from tfllm.layers.stateless_random import fold_in
from tfllm.models.base import LanguageModel
from tfllm.models.transformer import Features, Transformer, first_positions

Pooling = Literal["pooler", "first", "mean"]
HEAD_SEED = 1 << 20
"""Folded into the seed of the dropout before the head; blocks count from 0."""


class EncoderTask(LanguageModel):
    """An encoder with a dense layer on every token, or on what stands for the whole row, as its `pooling` says.

    Args:
        outputs: numbers the dense layer gives; 0 for no layer.
        max_length: longest row in tokens that predictions read, as the rows of training were; the config's unless given.
    """

    pooling: Pooling | None = None
    """What stands for the whole row; None: the task reads every token."""

    def __init__(self, config: ModelConfig, *, outputs: int, max_length: int | None = None, seed: int = 0, **kwargs: Any):
        super().__init__(config, seed=seed, **kwargs)
        if max_length is not None:
            self.set_max_length(max_length)
        self.stack = Transformer(config, name="encoder", dtype=self.dtype_policy)
        self.head: Any = None
        if outputs:
            self.head = last_layer(config, outputs, name="head")
        self.build()

    @classmethod
    def from_pretrained(cls, pretrained: LanguageModel | str | Path, **settings: Any) -> Self:
        from tfllm.models.folder import get  # which imports the base

        pretrained = get(pretrained)
        # What stands for a text is what the checkpoint has learnt to let stand for it.
        if getattr(pretrained, "pooling", None) and "pooling" in inspect.signature(cls).parameters:
            settings.setdefault("pooling", pretrained.pooling)
        return super().from_pretrained(pretrained, **settings)

    def settings(self) -> dict[str, Any]:
        return {"max_length": self.max_length}

    def set_max_length(self, max_length: int) -> None:
        """Makes predictions read as much of a text as the rows that were learnt from.

        Raises:
            ValueError: the model cannot place so many tokens, or so few hold no text.
        """
        if max_length < 4 or (self.config.positions == "learned" and max_length > self.config.max_length):
            raise ValueError(f"max_length={max_length}: give 4 to {self.config.max_length}, the most this model places")
        self.max_length = max_length

    def set_lengths_of(self, rows: Any) -> None:
        """Makes predictions read as much of a text as `rows` do, the labelled rows that the model learns from.

        Raises:
            ValueError: the model cannot place rows so long.
        """
        self.set_max_length(rows.max_length)

    def freeze(self, blocks: int) -> None:
        """Keeps the embeddings and the first `blocks` blocks as they are; call it before `compile`.

        Raises:
            ValueError: the stack has fewer blocks.
        """
        if not 0 <= blocks <= len(self.stack.blocks):
            raise ValueError(f"freeze({blocks}): the stack has {len(self.stack.blocks)} blocks; give 0 to that many")
        tables = (self.stack.token_embedding, self.stack.position_embedding, self.stack.type_embedding)
        for layer in (*tables, self.stack.embedding_norm, *self.stack.blocks[:blocks]):
            if layer is not None:
                layer.trainable = False

    def output_positions(self, features: Features) -> tf.Tensor | None:
        return first_positions(features) if self.pooling in ("pooler", "first") else None

    def on_head(self, x: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """The dense layer, behind the config's dropout. [..., D] -> float32 [..., outputs]."""
        assert self.head is not None
        seed = fold_in(features[DROPOUT_SEED], HEAD_SEED) if training else None
        return self.head(dropout(x, self.config.dropout, seed, options), options=options)

    def pooled(self, hidden: tf.Tensor, features: Features, options: CallOptions) -> tf.Tensor:
        """What stands for the row: the pooled or bare first token, or the mean of all. [B, S or 1, D] -> [B, D]."""
        if self.pooling != "mean":
            return self.stack.pooler(hidden, options=options) if self.pooling == "pooler" else hidden[:, 0]
        segments = features.get(SEGMENT_IDS)
        if segments is None:
            return tf.cast(tf.reduce_mean(tf.cast(hidden, tf.float32), 1), hidden.dtype)
        there = tf.cast(segments > 0, tf.float32)[..., None]
        sums = tf.reduce_sum(tf.cast(hidden, tf.float32) * there, 1)
        return tf.cast(sums / tf.maximum(tf.reduce_sum(there, 1), 1.0), hidden.dtype)


def last_layer(config: ModelConfig, outputs: int, *, name: str) -> Linear:
    """[..., D] -> float32 [..., outputs], whatever the model's dtype: in bfloat16 scores would tie, and miss labels."""
    settings: dict[str, Any] = dict(use_bias=True, stddev=config.initializer_range, dtype="float32")
    return Linear(config.hidden_size, outputs, name=name, **settings)


def check_pooling(pooling: str | None, config: ModelConfig) -> Pooling:
    """The pooling asked for; without one, the pooler where there is one, else the mean.

    Raises:
        ValueError: it is unknown, or the config has no pooler.
    """
    if pooling is None:
        return "pooler" if config.pooler else "mean"
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling={pooling!r} is unknown; it is one of {', '.join(get_args(Pooling))}")
    if pooling == "pooler" and not config.pooler:
        raise ValueError("pooling='pooler' wants a config with pooler=True; take 'first' or 'mean'")
    return pooling  # type: ignore[return-value]


def check_labels(labels: Any) -> tuple[str, ...]:
    """Labels as a tuple.

    Raises:
        ValueError: fewer than two, one twice, or something that is no string.
    """
    labels = tuple(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else (labels,)
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels={labels!r:.200}: give at least two different strings")
    return labels
