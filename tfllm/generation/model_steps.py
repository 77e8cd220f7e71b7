"""The forward passes of a decoder: `prefill` reads the prompts, `decode_step` reads each row's last token.

Input: token ids, positions and the key-value cache. Output: logits of the next token, and the cache with what was read. On a
mesh (`tfllm.train.distribution.tensor_parallel`) the logits are gathered, and the cache stays on the mesh: each device has its
heads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.experimental import dtensor

from tfllm.features import POSITIONS, SEGMENT_IDS, TOKEN_IDS
from tfllm.layers.cache import Cache, padded
from tfllm.layers.call_options import DECODING, INFERENCE, CallOptions
from tfllm.train.distribution.sharding import MODEL, layout_of
from tfllm.train.distribution.tensor_parallel import TensorParallel

Head = Callable[[tf.Tensor], tf.Tensor]


class Prompts(NamedTuple):
    """The texts to continue. Each begins with the separator."""

    token_ids: tf.Tensor
    """int32 [B, S], padded on the right."""
    lengths: tf.Tensor
    """int32 [B]."""


def prompt_features(prompts: Prompts) -> dict[str, tf.Tensor]:
    """The features that `model.stack` reads."""
    segments = tf.cast(tf.range(tf.shape(prompts.token_ids)[1])[None] < prompts.lengths[:, None], tf.int32)
    return {TOKEN_IDS: prompts.token_ids, SEGMENT_IDS: segments}


def hidden_states(
    model: Any, ids: tf.Tensor, positions: tf.Tensor, cache: Cache, options: CallOptions = DECODING
) -> tuple[tf.Tensor, Cache]:
    """Reads tokens that follow those in the cache. int32 [B, S], [B, S] -> float [B, S, D], and the cache."""
    features = {TOKEN_IDS: ids, POSITIONS: positions, SEGMENT_IDS: tf.ones_like(positions)}
    found = model.stack(features, cache=cache, options=options)
    return found.last_hidden_state, found.cache


def prefill(
    model: Any, prompts: Prompts, copies: tf.Tensor, slots: tf.Tensor, *, head: Head | None = None
) -> tuple[tf.Tensor, Cache]:
    """Reads the prompts.

    Args:
        prompts: P of them.
        copies: int32 []: rows for each prompt, side by side.
        slots: int32 []: empty slots to add to the cache.
        head: maps hidden states [P, D] to the result; by default, the model's head.

    Returns:
        Logits of the next token, float32 [copies * P, V], and the cache.
    """
    if is_on_mesh(model):
        return _on_mesh(model, _prefill, prompts, int(copies), int(slots))
    return _prefill(model, prompts, copies, slots, head)


def decode_step(
    model: Any,
    last: tf.Tensor,
    positions: tf.Tensor,
    cache: Cache,
    *,
    head: Head | None = None,
    options: CallOptions = DECODING,
) -> tuple[tf.Tensor, Cache]:
    """Reads one more token of each row.

    Args:
        last: int32 [B], the tokens. positions: int32 [B], their positions.
        head: maps hidden states [B, D] to the result; by default, the model's head.
        options: of the call, if it is not the step of a loop for any number of rows.

    Returns:
        Logits of the next token, float32 [B, V], and the cache.
    """
    if is_on_mesh(model):
        return _on_mesh(model, _decode_step, last, positions, cache)
    return _decode_step(model, last, positions, cache, head, options)


def is_on_mesh(model: Any) -> bool:
    """Are the model's weights on a mesh? Then its steps are called from Python, not from a graph."""
    return isinstance(getattr(model, "distribute_strategy", None), TensorParallel)


def _prefill(
    model: Any, prompts: Prompts, copies: tf.Tensor, slots: tf.Tensor, head: Head | None = None
) -> tuple[tf.Tensor, Cache]:
    count, longest = tf.shape(prompts.token_ids)[0], tf.shape(prompts.token_ids)[1]
    # Logits are computed for the last token of each prompt only.
    last = prompts.lengths[:, None] - 1
    empty = model.new_cache(count, longest)
    found = model.stack(prompt_features(prompts), cache=empty, output_positions=last, options=INFERENCE)
    result = (head or partial(model.logits, options=INFERENCE))(found.last_hidden_state[:, 0])
    own = found.cache._replace(length=(), memory=())  # what each copy has for itself
    result, rows = tf.nest.map_structure(lambda each: tf.repeat(each, copies, axis=0), (result, own))
    return result, padded(rows._replace(length=found.cache.length, memory=found.cache.memory), slots)


def _decode_step(
    model: Any,
    last: tf.Tensor,
    positions: tf.Tensor,
    cache: Cache,
    head: Head | None = None,
    options: CallOptions = DECODING,
) -> tuple[tf.Tensor, Cache]:
    hidden, cache = hidden_states(model, last[:, None], positions[:, None], cache, options)
    return (head or partial(model.logits, options=options))(hidden[:, 0]), cache


def _on_mesh(model: Any, step: Callable[..., tuple[tf.Tensor, Cache]], *inputs: Any) -> tuple[tf.Tensor, Cache]:
    """`step(model, *inputs)` on the mesh: logits for the outside, and a cache that stays on the mesh."""
    strategy, attributes = model.distribute_strategy, model.__dict__
    traced = attributes.setdefault("_generation_steps", {})  # not an attribute that Keras tracks
    if step not in traced:
        split = model.config.num_kv_heads % strategy.mesh.dim_size(MODEL) == 0
        layout = layout_of(strategy.mesh, 4, 1 if split else None)

        def on_mesh(*inputs: Any) -> tuple[tf.Tensor, Cache]:
            logits, cache = step(model, *inputs)
            keys, values = (tuple(dtensor.relayout(each, layout) for each in kind) for kind in (cache.keys, cache.values))
            return strategy.whole(logits), cache._replace(keys=keys, values=values)

        traced[step] = strategy.function(on_mesh)
    logits, cache = traced[step](*inputs)
    return strategy.here(logits), cache
