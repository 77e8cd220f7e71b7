"""Speculative decoding (Leviathan et al. 2023, arXiv:2211.17192), in the graph: drafts are read in one pass and checked.

Input: as of `decode.py`, and perhaps a draft model. Output: as of `decode.py`, token for token. At every position, the token is
chosen from the model's own logits, by the same function and with the same random number as without drafts. A row goes on to its
next position as long as the chosen token equals the draft that was read there. So the text does not depend on the drafts.

    so far        drafts         chosen by the model   then
    to be , or    not to see     not to be             to be , or not to be      two of three accepted, and one token more

The rows accept different numbers of drafts. `layers.cache.rollback` removes rejected drafts from the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.decode import while_loop
from tfllm.generation.decoding_state import (
    RUNNING,
    WAITING,
    DecodingInputs,
    DecodingState,
    Results,
    choose_next,
    decoding_inputs,
    initial_state,
    past_of,
    positions_of,
    results,
)
from tfllm.generation.drafting import Draft, draft_with_model, prompt_lookup
from tfllm.generation.model_steps import Prompts, hidden_states, prefill
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import SharedSettings
from tfllm.layers.cache import Cache, rollback, with_room
from tfllm.layers.call_options import DECODING


class SpeculativeState(NamedTuple):
    """The state of B rows. A nested structure for `tf.while_loop`."""

    generated: DecodingState
    draft_cache: Cache | tuple[()]
    """Of the draft model, if there is one."""
    num_drafted: tf.Tensor
    """int32 [B]: tokens drafted so far."""
    num_accepted: tf.Tensor
    """int32 [B]: how many of them were accepted."""


def decode(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings, draft_model: Any = None) -> Results:
    """Continues every prompt until all rows have ended. Shapes: as of `decode.decode`."""
    state = begin(model, prompts, settings, shared, draft_model)
    state = advance(model, prompts, settings, shared, draft_model, state=state, until=tf.int32.max)
    found = results(state.generated)
    return found._replace(num_draft_tokens=state.num_drafted, num_accepted_tokens=state.num_accepted)


def begin(
    model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings, draft_model: Any = None
) -> SpeculativeState:
    """Reads the prompts, and chooses the first tokens."""
    assert shared.drafts is not None
    inputs = decoding_inputs(model, prompts, settings, shared)
    room = tf.maximum(tf.reduce_max(inputs.budget), 1)
    copies = tf.size(inputs.budget) // tf.size(prompts.lengths)
    # A row that reads drafts may get at least one more token. So it has read at most its prompt and its budget less two.
    slots = room + shared.drafts.num_tokens
    logits, cache = prefill(model, prompts, copies, slots)
    generated = choose_next(logits, initial_state(inputs, room, cache), inputs)
    draft_cache = () if draft_model is None else prefill(draft_model, prompts, copies, slots)[1]
    return SpeculativeState(generated, draft_cache, tf.zeros_like(inputs.budget), tf.zeros_like(inputs.budget))


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    shared: SharedSettings,
    draft_model: Any = None,
    *,
    state: SpeculativeState,
    until: int | tf.Tensor,
) -> SpeculativeState:
    """Continues until a row has `until` tokens, or every row has ended."""
    inputs = decoding_inputs(model, prompts, settings, shared)

    def unfinished(state: SpeculativeState) -> tf.Tensor:
        return (state.generated.step < until) & tf.reduce_any(state.generated.finish == RUNNING)

    def body(state: SpeculativeState) -> tuple[SpeculativeState]:
        draft, draft_cache = _draft(draft_model, state, inputs)
        logits, cache = _read_drafts(model, state.generated, draft, inputs)
        generated, accepted = _accept_drafts(logits, draft, state.generated._replace(cache=cache), inputs)
        return (SpeculativeState(generated, draft_cache, state.num_drafted + draft.count, state.num_accepted + accepted),)

    return while_loop(unfinished, body, state)


def _draft(draft_model: Any, state: SpeculativeState, inputs: DecodingInputs) -> tuple[Draft, Cache | tuple[()]]:
    """The next drafts, and the draft model's cache. None for rows that have ended, nor for the last token of a budget."""
    generated, drafts, cache = state.generated, inputs.shared.drafts, state.draft_cache
    assert drafts is not None
    if isinstance(cache, Cache):
        draft, cache = draft_with_model(draft_model, cache, generated, inputs, num_tokens=drafts.num_tokens)
    else:
        past = past_of(generated, inputs)
        draft = prompt_lookup(past, num_tokens=drafts.num_tokens, ngram_size=drafts.ngram_size)
    count = tf.minimum(draft.count, inputs.budget - generated.num_tokens - 1)
    return draft._replace(count=tf.where(generated.finish == RUNNING, count, 0)), cache


def _read_drafts(model: Any, generated: DecodingState, draft: Draft, inputs: DecodingInputs) -> tuple[tf.Tensor, Cache]:
    """Reads each row's last token and its drafts. Returns the logits of the token after each, float32 [1 + W, B, V].

    W is the number of drafts of the row that has most.
    """
    width = tf.reduce_max(draft.count)
    ids = tf.concat([generated.last[:, None], draft.token_ids[:, :width]], 1)
    counts = generated.num_tokens[:, None] + tf.range(1 + width)
    positions = positions_of(model.config, inputs.prompts.lengths[:, None], counts)
    cache = with_room(rollback(generated.cache, positions[:, 0]), 1 + width)
    hidden, cache = hidden_states(model, ids, positions, cache)
    hidden = tf.transpose(hidden, [1, 0, 2])
    logits = model.logits(tf.reshape(hidden, [-1, hidden.shape[2]]), options=DECODING)
    return tf.reshape(logits, [1 + width, -1, logits.shape[1]]), cache


def _accept_drafts(
    logits: tf.Tensor, draft: Draft, generated: DecodingState, inputs: DecodingInputs
) -> tuple[DecodingState, tf.Tensor]:
    """Chooses tokens as long as they equal the drafts, and one more. Also returns how many were equal: int32 [B]."""
    last = tf.shape(draft.token_ids)[1] - 1

    def unfinished(index: tf.Tensor, generated: DecodingState, accepted: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(generated.finish == RUNNING)

    def body(index: tf.Tensor, generated: DecodingState, accepted: tf.Tensor) -> tuple[tf.Tensor, DecodingState, tf.Tensor]:
        running = generated.finish == RUNNING
        generated = choose_next(logits[index], generated, inputs)
        drafted = tf.gather(draft.token_ids, tf.minimum(index, last), axis=1)
        equal = running & (index < draft.count) & (generated.last == drafted)
        finish = tf.where((generated.finish == RUNNING) & ~equal, WAITING, generated.finish)
        return index + 1, generated._replace(finish=finish), accepted + tf.cast(equal, tf.int32)

    start = (tf.constant(0), generated, tf.zeros_like(draft.count))
    _, generated, accepted = tf.while_loop(unfinished, body, start, parallel_iterations=1)
    finish = tf.where(generated.finish == WAITING, RUNNING, generated.finish)
    return generated._replace(finish=finish), accepted
