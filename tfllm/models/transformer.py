"""The stack of every model: token ids in, hidden states out, from what stands before (decoders) or all around (encoders)."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import DROPOUT_SEED, POSITIONS, SEGMENT_IDS, TOKEN_IDS, TYPE_IDS
from tfllm.layers.block import Role, TransformerBlock
from tfllm.layers.cache import Cache
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import dropout
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import Pooler
from tfllm.layers.norms import norm
from tfllm.layers.positions import rotary_frequencies, sinusoids
from tfllm.layers.stack import BlockStack, StackOutput
from tfllm.layers.stateless_random import fold_in

Features = dict[str, tf.Tensor]


class Block(TransformerBlock):
    """A model's block: Keras writes the name of the class into the paths of `.keras` files."""


class Transformer(BlockStack):
    """Embeddings, `num_layers` blocks, and a final norm where norms come first; a pooler where the config has one."""

    def __init__(self, config: ModelConfig, **kwargs: Any):
        super().__init__(role=role_of(config), window=config.sliding_window, remat=config.remat, **kwargs)
        self.config, self.output_shape = config, (None, None, config.hidden_size)
        policy = dict(dtype=self.dtype_policy)
        size, stddev = config.hidden_size, config.initializer_range
        self.token_embedding = Embedding(config.vocab_size, size, stddev=stddev, name="token_embedding", **policy)
        self.position_embedding = self.type_embedding = self.embedding_norm = None
        self.pooler: Any = None
        if config.positions == "learned":
            rows = config.max_length + config.position_offset
            self.position_embedding = Embedding(rows, size, stddev=stddev, name="position_embedding", **policy)
        if config.num_types:
            self.type_embedding = Embedding(config.num_types, size, stddev=stddev, name="type_embedding", **policy)
        if config.embedding_norm:
            self.embedding_norm = norm(config.norm, epsilon=config.norm_epsilon, name="embedding_norm", **policy)
        self.blocks = [block_from(config, name=f"block_{i}", **policy) for i in range(config.num_layers)]
        if config.norm_place == "pre":
            self.final_norm = norm(config.norm, epsilon=config.norm_epsilon, name="final_norm", **policy)
        if config.pooler:
            self.pooler = Pooler(size, stddev=stddev, name="pooler", **policy)
        if config.positions == "rotary":
            scaling = {} if config.rope_scaling is None else vars(config.rope_scaling)
            self.frequencies = rotary_frequencies(config.head_dim, config.rope_theta, **scaling)

    def build(self, input_shape: Any = None) -> None:
        super().build(self.output_shape)

    def call(
        self,
        features: Features,
        cache: Cache | None = None,
        training: bool = False,
        output_positions: tf.Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        options: CallOptions = CallOptions(),
    ) -> StackOutput:
        """Embeds the tokens and runs them through the blocks.

        Args:
            features: `token_ids` [B, S] and, optionally, `positions`, `segment_ids` and `type_ids`.
            other arguments: those of `run`.

        Raises:
            ValueError: the row is longer than a model with learned positions can place.
        """
        seed, positions = features[DROPOUT_SEED] if training else None, self._positions(features, cache)
        return self.run(
            self.embed(features, positions, seed=seed, options=options),
            positions,
            features.get(SEGMENT_IDS),
            cache=cache,
            training=training,
            seed=seed,
            output_positions=output_positions,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            options=options,
        )

    def embed(
        self,
        features: Features,
        positions: tf.Tensor | None = None,
        *,
        seed: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> tf.Tensor:
        """What enters the first block: the sum of the embeddings of tokens, positions and types, normalised and dropped.

        Args:
            features: `token_ids` [B, S] and, optionally, `positions` and `type_ids`.
            positions: int32 [B, S] or [1, S]; those of the features, or 0 ... S-1, unless given.
            seed: int32 [B], of the dropout; None for none.
            options: of the call.

        Returns:
            [B, S, D].
        """
        positions = self._positions(features, None) if positions is None else positions
        x = self.token_embedding(features[TOKEN_IDS], options=options)
        if self.position_embedding is not None:
            x += self.position_embedding(positions + self.config.position_offset, options=options)
        elif self.config.positions == "sinusoidal":
            x += tf.cast(sinusoids(positions, self.config.hidden_size), x.dtype)
        if self.type_embedding is not None:
            # With one kind of text (RoBERTa) both texts of a pair are of it.
            types = features.get(TYPE_IDS) if self.config.num_types > 1 else None
            x += self.type_embedding(tf.zeros([1, 1], tf.int32) if types is None else types, options=options)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x, options=options)
        return dropout(x, self.config.dropout, None if seed is None else fold_in(seed, 0), options)

    def _positions(self, features: Features, cache: Cache | None) -> tf.Tensor:
        """Of the tokens, as far as learned positions reach: int32 [B, S] or [1, S]."""
        ids, positions = features[TOKEN_IDS], features.get(POSITIONS)
        if positions is None:
            positions = (0 if cache is None else cache.length) + tf.range(tf.shape(ids)[1])[None]
        if self.config.positions == "learned":
            positions = _reached(positions, ids, self.config.max_length, decoding=cache is not None)
        return positions


def _reached(positions: tf.Tensor, ids: tf.Tensor, max_length: int, *, decoding: bool) -> tf.Tensor:
    """The positions of rows that learned positions reach to their end; `decoding` has looked at its prompts before.

    Raises:
        ValueError: the rows are longer; in a graph that does not know their length, InvalidArgumentError when it runs.
    """
    advice = (
        f"tokens is longer than max_length={max_length}, where learned positions end: cut the rows there, by "
        f"max_length={max_length} or sequence_length={max_length} of the data, or take a model that places more"
    )
    length = ids.shape[1]
    if length is not None and length > max_length:
        raise ValueError(f"a row of {length} {advice}")
    if length is not None or decoding:
        return positions
    length = tf.shape(ids)[1]
    with tf.control_dependencies([tf.debugging.Assert(length <= max_length, ["a row of", length, advice])]):
        return tf.identity(positions)


def first_positions(features: Features) -> tf.Tensor:
    """Of the token that stands for its row: int32 [B, 1]."""
    return tf.zeros_like(features[TOKEN_IDS][:, :1])


def role_of(config: ModelConfig) -> Role:
    return "decoder" if config.causal else "encoder"


def block_from(config: ModelConfig, **kwargs: Any) -> Block:
    """The block an architecture is made of."""
    residual_stddev = config.initializer_range / (math.sqrt(2 * config.num_layers) if config.norm_place == "pre" else 1)
    return Block(
        config.num_heads,
        config.ffn_size,
        role=role_of(config),
        input_size=config.hidden_size,
        head_dim=config.head_dim,
        num_kv_heads=config.num_kv_heads,
        qkv_bias=config.qkv_bias,
        output_bias=config.attention_output_bias,
        qk_norm=config.norm if config.qk_norm else None,
        activation=config.activation,
        gated=config.gated_ffn,
        ffn_bias=config.ffn_bias,
        norm=config.norm,
        norm_place=config.norm_place,
        norm_epsilon=config.norm_epsilon,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        stddev=config.initializer_range,
        output_stddev=residual_stddev,
        **kwargs,
    )
