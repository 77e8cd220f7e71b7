"""The decoding loop, in the graph: the prompts are read once, then each step chooses one token, until every row has ended.

Input: a model with the cached forward pass (`model.stack`, `model.head`), prompts padded on the right, and their settings.
Output: the `DecodingState` with the chosen tokens, their log-probabilities, their number, and why each row ended. The same
functions run in `tfllm.generate`, in `tfllm.stream` and in an export, so the loop has no Python, no XLA and no custom op.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
from tfllm.layers.stand_ins import by_rows, is_replaced, repeated


def decode(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings = ALL_OFF) -> DecodingState:
    """Continues every prompt until all rows have ended.

    Args:
        prompts: P of them. With `settings` of B = n P rows, each prompt is read once and continued n times, side by side.
        settings: B rows.

    Returns:
        The last state; see `decoding_state.results`.
    """
    with matrices_cast_once(model):
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

    def body(state: DecodingState) -> tuple[DecodingState]:
        positions = positions_of(model.config, inputs.prompts.lengths, state.num_tokens)
        logits, cache = decode_step(model, state.last, positions, state.cache)
        return (choose_next(logits, state._replace(cache=cache), inputs),)

    def unfinished(state: DecodingState) -> tf.Tensor:
        return (state.step < until) & tf.reduce_any(state.finish == RUNNING)

    if is_on_mesh(model):
        return while_loop(unfinished, body, state)
    return by_rows(model, tf.size(state.last), lambda: while_loop_with_growing_cache(unfinished, body, state))


def while_loop(unfinished: Callable[[Any], tf.Tensor], body: Callable[[Any], tuple[Any]], state: Any) -> Any:
    """Runs `body` as long as the state is `unfinished`. Returns the last state."""
    with repeated():
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


@contextlib.contextmanager
def matrices_cast_once(model: Any, draft_model: Any = None) -> Iterator[None]:
    """Inside, the matrices of mixed-precision models have their compute dtype: else every step would cast all of them."""
    models = [each for each in (model, draft_model) if getattr(each, "dtype_policy", None) is not None]
    mixed = any(each.dtype_policy.compute_dtype != each.dtype_policy.variable_dtype for each in models)
    if not mixed or is_on_mesh(model):
        yield
        return
    # Norms and biases are small, and some are used in float32. Out here an outer scope (an export) may have the values.
    values = {
        id(variable): tf.cast(variable.value, each.dtype_policy.compute_dtype) if len(variable.shape) > 1 else variable.value
        for each in models
        for variable in each.weights
        if not is_replaced(variable)
    }
    with keras.StatelessScope() as scope:
        scope.state_mapping.update(values)
        yield
