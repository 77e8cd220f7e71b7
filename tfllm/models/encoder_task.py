"""The base class of encoders with a task: a stack of blocks, and one dense layer (the head) on its output."""

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
"""Folded into the seed of the dropout before the head. Blocks use the numbers from 0."""


class EncoderTask(LanguageModel):
    """An encoder with a dense layer, on each token or on one vector for the whole row (`pooling`).

    Args:
        outputs: size of the dense layer's output; 0: no dense layer.
        max_length: longest row in tokens that predictions read; that of the config by default.
    """

    pooling: Pooling | None = None
    """How the row becomes one vector. None: the task reads each token."""

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
        # The pooling with which the checkpoint was trained.
        if getattr(pretrained, "pooling", None) and "pooling" in inspect.signature(cls).parameters:
            settings.setdefault("pooling", pretrained.pooling)
        return super().from_pretrained(pretrained, **settings)

    def settings(self) -> dict[str, Any]:
        return {"max_length": self.max_length}

    def set_max_length(self, max_length: int) -> None:
        """Sets the longest row in tokens that predictions read.

        Raises:
            ValueError: the model has fewer positions, or the row has no room for text beside special tokens.
        """
        if max_length < 4 or (self.config.positions == "learned" and max_length > self.config.max_length):
            raise ValueError(
                f"max_length={max_length} is invalid: expected 4 to {self.config.max_length}, the positions of this model."
            )
        self.max_length = max_length

    def set_lengths_of(self, rows: Any) -> None:
        """Sets the longest row in tokens that predictions read to that of `rows`, the labelled rows of the training.

        Raises:
            ValueError: the model has fewer positions.
        """
        self.set_max_length(rows.max_length)

    def freeze(self, blocks: int) -> None:
        """Makes the embeddings and the first `blocks` blocks not trainable. Call it before `compile`.

        Raises:
            ValueError: the stack has fewer blocks.
        """
        if not 0 <= blocks <= len(self.stack.blocks):
            raise ValueError(f"blocks={blocks!r} is invalid: expected 0 to {len(self.stack.blocks)}, the blocks of this model.")
        tables = (self.stack.token_embedding, self.stack.position_embedding, self.stack.type_embedding)
        for layer in (*tables, self.stack.embedding_norm, *self.stack.blocks[:blocks]):
            if layer is not None:
                layer.trainable = False

    def output_positions(self, features: Features) -> tf.Tensor | None:
        return first_positions(features) if self.pooling in ("pooler", "first") else None

    def on_head(self, x: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Dropout with the config's rate, then the dense layer. [..., D] -> float32 [..., outputs]."""
        assert self.head is not None
        seed = fold_in(features[DROPOUT_SEED], HEAD_SEED) if training else None
        return self.head(dropout(x, self.config.dropout, seed, options), options=options)

    def pooled(self, hidden: tf.Tensor, features: Features, options: CallOptions) -> tf.Tensor:
        """One vector for each row: the first token, with or without the pooler, or the mean. [B, S or 1, D] -> [B, D]."""
        if self.pooling != "mean":
            return self.stack.pooler(hidden, options=options) if self.pooling == "pooler" else hidden[:, 0]
        segments = features.get(SEGMENT_IDS)
        if segments is None:
            return tf.cast(tf.reduce_mean(tf.cast(hidden, tf.float32), 1), hidden.dtype)
        there = tf.cast(segments > 0, tf.float32)[..., None]
        sums = tf.reduce_sum(tf.cast(hidden, tf.float32) * there, 1)
        return tf.cast(sums / tf.maximum(tf.reduce_sum(there, 1), 1.0), hidden.dtype)


def last_layer(config: ModelConfig, outputs: int, *, name: str) -> Linear:
    """A dense layer [..., D] -> float32 [..., outputs].

    It is float32 with every dtype policy: in bfloat16, different scores often become equal.
    """
    settings: dict[str, Any] = dict(use_bias=True, stddev=config.initializer_range, dtype="float32")
    return Linear(config.hidden_size, outputs, name=name, **settings)


def check_pooling(pooling: str | None, config: ModelConfig) -> Pooling:
    """The pooling. If `pooling` is None: "pooler" if the config has one, else "mean".

    Raises:
        ValueError: `pooling` is unknown, or it is "pooler" and the config has no pooler.
    """
    if pooling is None:
        return "pooler" if config.pooler else "mean"
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling={pooling!r} is invalid: expected one of {', '.join(get_args(Pooling))}.")
    if pooling == "pooler" and not config.pooler:
        raise ValueError(
            "pooling='pooler' is invalid: expected 'first' or 'mean', for the config has pooler=False. Give one of them, or a "
            "config with pooler=True."
        )
    return pooling  # type: ignore[return-value]


def check_labels(labels: Any) -> tuple[str, ...]:
    """The labels as a tuple.

    Raises:
        ValueError: there are fewer than two labels, two are equal, or one is no string.
    """
    labels = tuple(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else (labels,)
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels={labels!r:.200} is invalid: expected at least two different strings.")
    return labels
