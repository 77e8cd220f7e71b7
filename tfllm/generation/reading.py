"""The model's part in decoding: prompts are read at once, then each row's last token; what was read stays in the cache.

Enters: token ids, lengths, places. Leaves: scores of the next token, and the cache. On a mesh
(`tfllm.train.distribution.tensor_parallel`) scores come out whole and the cache stays there, every device with its heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.experimental import dtensor

from tfllm.features import POSITIONS, SEGMENT_IDS, TOKEN_IDS
from tfllm.layers.cache import Cache, padded
from tfllm.train.distribution.sharding import MODEL, layout_of
from tfllm.train.distribution.tensor_parallel import TensorParallel


class Prompts(NamedTuple):
    """What is continued: it opens with the separator."""

    token_ids: tf.Tensor
    """int32 [B, S], padded on the right."""
    lengths: tf.Tensor
    """int32 [B]."""


class Reader(NamedTuple):
    """A model's two functions; the second result is the cache."""

    prompts: Callable[..., tuple[tf.Tensor, Cache]]
    """P prompts, copies of each, slots to add -> scores of the next token, float32 [copies P, V]."""
    tokens: Callable[..., tuple[tf.Tensor, Cache]]
    """The last tokens int32 [B], their places int32 [B], the cache -> scores of the next token, float32 [B, V]."""


def read(model: Any, ids: tf.Tensor, places: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, Cache]:
    """The hidden states of tokens behind what the cache holds. int32 [B, S], [B, S] -> [B, S, D]."""
    return model.stack({TOKEN_IDS: ids, POSITIONS: places, SEGMENT_IDS: tf.ones_like(places)}, cache=cache)


def features_of(prompts: Prompts) -> dict[str, tf.Tensor]:
    """What `model.stack` reads of them."""
    segments = tf.cast(tf.range(tf.shape(prompts.token_ids)[1])[None] < prompts.lengths[:, None], tf.int32)
    return {TOKEN_IDS: prompts.token_ids, SEGMENT_IDS: segments}


def reader_of(model: Any) -> Reader:
    """How `model` reads."""

    def prompts(prompts: Prompts, copies: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, Cache]:
        ids, lengths = prompts
        count, longest = tf.shape(ids)[0], tf.shape(ids)[1]
        # The vocabulary is scored for the last token of each prompt only.
        hidden, cache = model.stack(features_of(prompts), cache=model.new_cache(count, longest), places=lengths[:, None] - 1)
        logits = model.head(hidden[:, 0])
        logits, rows = tf.nest.map_structure(lambda each: tf.repeat(each, copies, axis=0), (logits, cache._replace(length=())))
        return logits, padded(rows._replace(length=cache.length), room)

    def tokens(last: tf.Tensor, places: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, Cache]:
        hidden, cache = read(model, last[:, None], places[:, None], cache)
        return model.head(hidden[:, 0]), cache

    reader = Reader(prompts, tokens)
    return _on_mesh(model, reader) if is_on_mesh(model) else reader


def is_on_mesh(model: Any) -> bool:
    """Do the model's weights stand on a mesh? Then its functions are called from Python, not from a graph."""
    return isinstance(getattr(model, "distribute_strategy", None), TensorParallel)


def _on_mesh(model: Any, reader: Reader) -> Reader:
    """The same with tensors from outside and scores for outside."""
    strategy, held = model.distribute_strategy, model.__dict__
    split = model.config.num_kv_heads % strategy.mesh.dim_size(MODEL) == 0
    slots = layout_of(strategy.mesh, 4, 1 if split else None)

    def placed(scores: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, Cache]:
        keys, values = (tuple(dtensor.relayout(each, slots) for each in kind) for kind in (cache.keys, cache.values))
        return strategy.whole(scores), cache._replace(keys=keys, values=values)

    if "_reader" not in held:  # past Keras' tracking; traced once a model
        held["_reader"] = Reader(*(strategy.function(lambda *given, read=read: placed(*read(*given))) for read in reader))
    traced = held["_reader"]

    def prompts(prompts: Prompts, copies: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, Cache]:
        scores, cache = traced.prompts(prompts, int(copies), int(room))
        return strategy.here(scores), cache

    def tokens(last: tf.Tensor, places: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, Cache]:
        scores, cache = traced.tokens(last, places, cache)
        return strategy.here(scores), cache

    return Reader(prompts, tokens)
