"""The decoding loop, in the graph: the prompts are read once, then each step chooses one token, until every row has ended.

Input: a model with the cached forward pass (`model.stack`, `model.logits`), prompts padded on the right, and their settings.
Output: the `DecodingState` with the chosen tokens, their log-probabilities, their number, and why each row ended. The same
functions run in `tfllm.generate`, in `tfllm.stream` and in an export, so the loop has no Python, no XLA and no custom op.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfllm.generation.decoding_state import (
    RUNNING,
    DecodingInputs,
    DecodingState,
    choose_next,
    decoding_inputs,
    initial_state,
    positions_of,
)
from tfllm.generation.model_steps import Prompts, decode_step, is_on_mesh, prefill
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import ALL_OFF, SharedSettings
from tfllm.layers.cache import is_full, slots_at_first, with_a_slot
from tfllm.layers.call_options import DECODING, CallOptions


def decode(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings = ALL_OFF) -> DecodingState:
    """Continues every prompt until all rows have ended.

    Args:
        prompts: P of them. With `settings` of B = n P rows, each prompt is read once and continued n times, side by side.
        settings: B rows.

    Returns:
        The last state; see `decoding_state.results`.
    """
    state = begin(model, prompts, settings, shared)
    return advance(model, prompts, settings, shared, state=state, until=tf.int32.max)


def begin(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings = ALL_OFF) -> DecodingState:
    """Reads the prompts, makes room for all tokens to come, and chooses the first tokens."""
    inputs = decoding_inputs(model, prompts, settings, shared)
    rows = tf.size(inputs.budget)
    room = tf.maximum(tf.reduce_max(inputs.budget), 1)
    slots = initial_slots(model, prompts, room - 1)
    logits, cache = prefill(model, prompts, rows // tf.size(prompts.lengths), slots)
    return choose_next(logits, initial_state(inputs, room, cache), inputs)


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    shared: SharedSettings = ALL_OFF,
    *,
    state: DecodingState,
    until: int | tf.Tensor,
) -> DecodingState:
    """Continues until a row has `until` tokens, or every row has ended."""
    return continue_rows(model, decoding_inputs(model, prompts, settings, shared), state, until)


def continue_rows(
    model: Any, inputs: DecodingInputs, state: DecodingState, until: int | tf.Tensor = tf.int32.max
) -> DecodingState:
    """`advance` for inputs that are there already."""

    def body(state: DecodingState, options: CallOptions) -> tuple[DecodingState]:
        positions = positions_of(model.config, inputs.prompts.lengths, state.num_tokens)
        logits, cache = decode_step(model, state.last, positions, state.cache, options=options)
        return (choose_next(logits, state._replace(cache=cache), inputs),)

    def unfinished(state: DecodingState) -> tf.Tensor:
        return (state.step < until) & tf.reduce_any(state.finish == RUNNING)

    if is_on_mesh(model):
        return while_loop(unfinished, partial(body, options=DECODING), state)

    def run(options: CallOptions) -> DecodingState:
        return while_loop_with_growing_cache(unfinished, partial(body, options=options), state)

    return by_rows(model, tf.size(state.last), run)


def by_rows(model: Any, rows: tf.Tensor, run: Callable[[CallOptions], Any]) -> Any:
    """run(options), whose matrix products are those of the model and have `rows` rows, int32 [].

    If the model's layers multiply one row in another way than several, `run` is traced for both cases: a branch beside every
    product costs a single text time (docs/performance.md).
    """
    layers = model._flatten_layers() if isinstance(model, keras.layers.Layer) else ()
    if not any(getattr(layer, "one_row_differs", False) for layer in layers):
        return run(DECODING)
    one_row = dataclasses.replace(DECODING, one_row=True)
    return tf.cond(rows <= 1, lambda: run(one_row), lambda: run(DECODING))


def while_loop(unfinished: Callable[[Any], tf.Tensor], body: Callable[[Any], tuple[Any]], state: Any) -> Any:
    """Runs `body` as long as the state is `unfinished`. Returns the last state."""
    return tf.while_loop(unfinished, body, [state], parallel_iterations=1)[0]


def while_loop_with_growing_cache(unfinished: Callable[[Any], tf.Tensor], body: Callable[[Any], tuple[Any]], state: Any) -> Any:
    """`while_loop` with a body that fills one slot of the state's cache. The cache gets more slots whenever it is full."""

    def until_full(state: Any) -> tuple[Any]:
        state = state.with_cache(with_a_slot(state.cache))
        return (while_loop(lambda state: unfinished(state) & ~is_full(state.cache), body, state),)

    return while_loop(unfinished, until_full, state)


def initial_slots(model: Any, prompts: Prompts, room: tf.Tensor) -> tf.Tensor:
    """Slots to add to those of the prompts, if `room` tokens will follow. On a mesh: all of them at once."""
    return room if is_on_mesh(model) else slots_at_first(tf.shape(prompts.token_ids)[1], room)
