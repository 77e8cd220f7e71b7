"""The stack of every model: token ids in, hidden states out, from what stands before (decoders) or all around (encoders)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import DROPOUT_SEED, POSITIONS, SEGMENT_IDS, TOKEN_IDS, TYPE_IDS
from tfllm.layers import positions as encodings
from tfllm.layers.base import Composite
from tfllm.layers.block import Block
from tfllm.layers.cache import Cache, check_room, new_cache, write_labels
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import dropout
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import Pooler
from tfllm.layers.masks import attention_penalty
from tfllm.layers.norms import norm
from tfllm.layers.stateless_random import fold_in

Features = dict[str, tf.Tensor]


class _Start(NamedTuple):
    """What the first block is given."""

    x: tf.Tensor
    penalty: tf.Tensor | None
    turn: encodings.Rotation | None
    cache: Cache | None


class Transformer(Composite):
    """Embeddings, `num_layers` blocks, and a final norm where norms come first; a pooler where the config has one."""

    def __init__(self, config: ModelConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.config, self.output_shape = config, (None, None, config.hidden_size)
        policy = dict(dtype=self.dtype_policy)
        size, stddev = config.hidden_size, config.initializer_range
        self.token_embedding = Embedding(config.vocab_size, size, stddev=stddev, name="token_embedding", **policy)
        self.position_embedding = self.type_embedding = self.embedding_norm = self.final_norm = None
        self.pooler: Any = None
        if config.positions == "learned":
            rows = config.max_length + config.position_offset
            self.position_embedding = Embedding(rows, size, stddev=stddev, name="position_embedding", **policy)
        if config.num_types:
            self.type_embedding = Embedding(config.num_types, size, stddev=stddev, name="type_embedding", **policy)
        if config.embedding_norm:
            self.embedding_norm = norm(config.norm, size, epsilon=config.norm_epsilon, name="embedding_norm", **policy)
        self.blocks = [block_from(config, name=f"block_{i}", **policy) for i in range(config.num_layers)]
        if config.norm_place == "pre":
            self.final_norm = norm(config.norm, size, epsilon=config.norm_epsilon, name="final_norm", **policy)
        if config.pooler:
            self.pooler = Pooler(size, stddev=stddev, name="pooler", **policy)

    def call(
        self,
        features: Features,
        cache: Cache | None = None,
        training: bool = False,
        places: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """Hidden states [B, S, D]; with a cache, also the cache with the S tokens written behind what it held.

        Args:
            places: int32 [B, P], of the tokens whose hidden states are wanted, [B, P, D]; None for all. Of the others the last
                block makes only what these see of them.
            options: of the call, for the layers.

        Raises:
            ValueError: the row is longer than a model with learned positions can place.
        """
        seed = features[DROPOUT_SEED] if training else None
        x, penalty, turn, cache = self._start(features, cache, seed, options)
        keys, values = [], []
        for i, block in enumerate(self.blocks):
            wanted = places if i == len(self.blocks) - 1 else None
            block_seed = None if seed is None else fold_in(seed, i + 1)
            given: dict[str, Any] = dict(turn=turn, seed=block_seed, places=wanted, options=options)
            if cache is not None:
                slots = (cache.keys[i], cache.values[i])
                x, (key, value) = block(x, penalty, cache=slots, start=cache.length, **given)
                keys.append(key)
                values.append(value)
            elif training and self.config.remat:
                x = _forgetful(block, penalty, given)(x)
            else:
                x, _ = block(x, penalty, **given)
        if self.final_norm is not None:
            x = self.final_norm(x, options=options)
        if cache is None:
            return x
        written = cache.length + tf.shape(features[TOKEN_IDS])[1]
        return x, cache._replace(keys=tuple(keys), values=tuple(values), length=written)

    def attention_map(self, features: Features, layer: int) -> tf.Tensor:
        """Attention probabilities of one block, to look at: float32 [B, N, S, S]."""
        x, penalty, turn, _ = self._start(features, None, None, CallOptions())
        for block in self.blocks[:layer]:
            x, _ = block(x, penalty, turn=turn)
        block = self.blocks[layer]
        query, key, _ = block.attention.project(block.attention_norm(x) if block.pre else x, turn)
        return tf.cast(block.attention.probabilities(query, key, penalty), tf.float32)

    def new_cache(self, batch_size: int | tf.Tensor, length: int | tf.Tensor) -> Cache:
        """An empty cache for `batch_size` rows of at most `length` tokens."""
        config = self.config
        return new_cache(
            batch_size,
            length,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            dtype=self.compute_dtype,
        )

    def _start(self, features: Features, cache: Cache | None, seed: tf.Tensor | None, options: CallOptions) -> _Start:
        ids, config = features[TOKEN_IDS], self.config
        # Without positions and segments one mask serves all rows, and an encoder needs none.
        places, segments = features.get(POSITIONS), features.get(SEGMENT_IDS)
        unmasked = segments is None and not config.causal and not config.sliding_window
        if places is None:
            places = (0 if cache is None else cache.length) + tf.range(tf.shape(ids)[1])[None]
        if config.positions == "learned":
            places = _reached(places, ids, config.max_length, decoding=cache is not None)
        if segments is None:
            segments = tf.ones_like(places)
        key_places, key_segments = places, segments
        if cache is not None:
            if tf.executing_eagerly():
                check_room(cache, *ids.shape)
            key_places = write_labels(cache.positions, places, cache.length)
            key_segments = write_labels(cache.segment_ids, segments, cache.length)
            cache = cache._replace(positions=key_places, segment_ids=key_segments)
        penalty = None
        if not unmasked:
            penalty = attention_penalty(
                places,
                segments,
                key_positions=key_places,
                key_segments=key_segments,
                causal=config.causal,
                window=config.sliding_window,
            )
        turn = None
        if config.positions == "rotary":
            turn = encodings.rotation(places, self._frequencies())
        return _Start(self._embed(features, places, seed, options), penalty, turn, cache)

    def _embed(self, features: Features, places: tf.Tensor, seed: tf.Tensor | None, options: CallOptions) -> tf.Tensor:
        x = self.token_embedding(features[TOKEN_IDS], options=options)
        if self.position_embedding is not None:
            x += self.position_embedding(places + self.config.position_offset, options=options)
        elif self.config.positions == "sinusoidal":
            x += tf.cast(encodings.sinusoids(places, self.config.hidden_size), x.dtype)
        if self.type_embedding is not None:
            # With one kind of text (RoBERTa) both texts of a pair are of it.
            types = features.get(TYPE_IDS) if self.config.num_types > 1 else None
            x += self.type_embedding(tf.zeros([1, 1], tf.int32) if types is None else types, options=options)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x, options=options)
        return dropout(x, self.config.dropout, None if seed is None else fold_in(seed, 0), options)

    def _frequencies(self) -> Any:
        scaling = self.config.rope_scaling
        options = {} if scaling is None else vars(scaling)
        return encodings.rotary_frequencies(self.config.head_dim, self.config.rope_theta, **options)


def _reached(places: tf.Tensor, ids: tf.Tensor, max_length: int, *, decoding: bool) -> tf.Tensor:
    """The places of rows that learned positions reach to their end; `decoding` has looked at its prompts before.

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
        return places
    length = tf.shape(ids)[1]
    with tf.control_dependencies([tf.debugging.Assert(length <= max_length, ["a row of", length, advice])]):
        return tf.identity(places)


def first_places(features: Features) -> tf.Tensor:
    """Of the token that stands for its row: int32 [B, 1]."""
    return tf.zeros_like(features[TOKEN_IDS][:, :1])


def _forgetful(block: Any, penalty: tf.Tensor, given: dict[str, Any]) -> Any:
    """The block as a function that keeps its input only and runs again in the backward pass (Chen et al. 2016)."""
    return tf.recompute_grad(lambda x: block(x, penalty, **given)[0])


def block_from(config: ModelConfig, **kwargs: Any) -> Block:
    """The block an architecture is made of."""
    residual_stddev = config.initializer_range / (math.sqrt(2 * config.num_layers) if config.norm_place == "pre" else 1)
    return Block(
        config.hidden_size,
        attention=dict(
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            causal=config.causal,
            qkv_bias=config.qkv_bias,
            output_bias=config.attention_output_bias,
            qk_norm=config.norm if config.qk_norm else "",
            norm_epsilon=config.norm_epsilon,
            dropout=config.attention_dropout,
            stddev=config.initializer_range,
            output_stddev=residual_stddev,
        ),
        feedforward=dict(
            inner_size=config.ffn_size,
            activation=config.activation,
            gated=config.gated_ffn,
            use_bias=config.ffn_bias,
            stddev=config.initializer_range,
            output_stddev=residual_stddev,
        ),
        norm_kind=config.norm,
        norm_place=config.norm_place,
        norm_epsilon=config.norm_epsilon,
        dropout=config.dropout,
        **kwargs,
    )
