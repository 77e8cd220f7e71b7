"""Contrastive search (Su et al. 2022), in the graph: probable tokens that are unlike the text so far.

Input: a model with the cached forward pass, prompts, and their settings. Output: as of `decode.py`. A candidate v, one of the
k most probable tokens, scores (1 - alpha) p(v) - alpha max_j cos(h_v, h_j). Here h are the outputs of the last layer, of the
candidate and of each token j before it. So each step reads k candidates. Reading the chosen one also gives the logits of the
next token.

    candidates   p    greatest similarity to a token before    alpha 0.6: score
    "the"       0.6           0.9                               -0.30
    "a"         0.3           0.2                                0.00         chosen
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.cache_rows import gather_rows
from tfllm.generation.decode import initial_slots, while_loop_with_growing_cache
from tfllm.generation.decoding_state import (
    RUNNING,
    DecodingInputs,
    DecodingState,
    Results,
    append_tokens,
    decoding_inputs,
    initial_state,
    past_of,
    positions_of,
    results,
    write_step,
)
from tfllm.generation.model_steps import Prompts, decode_step, prefill, prompt_features
from tfllm.generation.penalties import FORBIDDEN, adjust_logits
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import Contrast, SharedSettings
from tfllm.layers.cache import Cache
from tfllm.layers.call_options import DECODING, INFERENCE, CallOptions

_LEAST_COSINE = -1.0


class ContrastiveState(NamedTuple):
    """The state of B rows, each k times in the cache; D is the hidden size. A nested structure for `tf.while_loop`."""

    generated: DecodingState
    logits: tf.Tensor
    """float32 [B, V], of the next token."""
    prompt: tf.Tensor
    """float32 [B, S, D]: the prompt's hidden states, normalized to length 1."""
    hidden: tf.Tensor
    """float32 [M, B, D]: those of the chosen tokens."""

    @property
    def cache(self) -> Cache:
        return self.generated.cache

    def with_cache(self, cache: Cache) -> ContrastiveState:
        return self._replace(generated=self.generated.with_cache(cache))


def search(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings) -> Results:
    """Continues every prompt until all rows have ended. prompts, settings: P rows; settings of sampling have no effect."""
    state = begin(model, prompts, settings, shared)
    return results(advance(model, prompts, settings, shared, state=state, until=tf.int32.max).generated)


def begin(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings) -> ContrastiveState:
    """Reads the prompts and chooses the first tokens."""
    assert shared.contrast is not None
    inputs = decoding_inputs(model, prompts, settings, shared)
    candidates, room = shared.contrast.candidates, tf.maximum(tf.reduce_max(inputs.budget), 1)
    last, cache = prefill(model, prompts, candidates, initial_slots(model, prompts, room), head=tf.identity)
    last = last[::candidates]
    state = ContrastiveState(
        generated=initial_state(inputs, room, cache),
        logits=model.logits(last, options=INFERENCE),
        prompt=_hidden_states_of(model, prompts),
        hidden=tf.zeros([room, tf.shape(last)[0], last.shape[1]]),
    )
    return _step(model, state, inputs, shared.contrast, INFERENCE)


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    shared: SharedSettings,
    *,
    state: ContrastiveState,
    until: int | tf.Tensor,
) -> ContrastiveState:
    """Continues until a row has `until` tokens, or every row has ended."""
    contrast = shared.contrast
    assert contrast is not None
    inputs = decoding_inputs(model, prompts, settings, shared)

    def unfinished(state: ContrastiveState) -> tf.Tensor:
        return (state.generated.step < until) & tf.reduce_any(state.generated.finish == RUNNING)

    def body(state: ContrastiveState) -> tuple[ContrastiveState]:
        return (_step(model, state, inputs, contrast, DECODING),)

    return while_loop_with_growing_cache(unfinished, body, state)


def _step(
    model: Any, state: ContrastiveState, inputs: DecodingInputs, contrast: Contrast, options: CallOptions
) -> ContrastiveState:
    """Chooses one more token for each row, after reading all candidates."""
    generated, k = state.generated, contrast.candidates
    scores = adjust_logits(
        state.logits, past_of(generated, inputs), inputs.settings, inputs.shared, wanted=inputs.has_penalties
    )
    best = tf.math.top_k(scores, k)
    positions = tf.repeat(positions_of(model.config, inputs.prompts.lengths, generated.num_tokens + 1), k)
    last, given = tf.reshape(best.indices, [-1]), generated.cache
    hidden, cache = decode_step(model, last, positions, given, head=tf.identity, options=options)
    normalized = tf.reshape(_normalized(hidden), [-1, k, hidden.shape[1]])
    probabilities = tf.gather(tf.nn.softmax(scores), best.indices, batch_dims=1)
    ranks = rank(probabilities, _similarity(normalized, state, inputs.prompts.lengths), contrast.alpha)
    # A forbidden token must not win because it is unlike everything.
    pick = tf.argmax(tf.where(probabilities > 0, ranks, FORBIDDEN), 1, output_type=tf.int32)
    rows = tf.range(tf.size(pick)) * k + pick
    chosen = tf.gather(best.indices, pick, batch_dims=1)
    generated = generated._replace(cache=gather_rows(cache, tf.repeat(rows, k)))
    return ContrastiveState(
        generated=append_tokens(generated, chosen, state.logits, inputs),
        logits=model.logits(tf.gather(hidden, rows), options=options),
        prompt=state.prompt,
        hidden=write_step(state.hidden, generated.step, tf.gather(normalized, pick, batch_dims=1)),
    )


def rank(probabilities: tf.Tensor, similarity: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """The candidates' scores, as in the table above. float32 [B, k], [B, k], [] -> [B, k]."""
    return (1 - alpha) * probabilities - alpha * similarity


def _similarity(candidates: tf.Tensor, state: ContrastiveState, lengths: tf.Tensor) -> tf.Tensor:
    """The cosine of each candidate and the most similar token before it. [B, k, D] -> [B, k]."""
    in_prompt = tf.range(tf.shape(state.prompt)[1])[None] < lengths[:, None]
    to_prompt = tf.einsum("bkd,bsd->bks", candidates, state.prompt)
    to_prompt = tf.reduce_max(tf.where(in_prompt[:, None], to_prompt, _LEAST_COSINE), 2)
    to_generated = tf.einsum("bkd,mbd->bkm", candidates, state.hidden)
    was_generated = tf.range(tf.shape(state.hidden)[0]) < state.generated.step
    return tf.maximum(to_prompt, tf.reduce_max(tf.where(was_generated, to_generated, _LEAST_COSINE), 2))


def _hidden_states_of(model: Any, prompts: Prompts) -> tf.Tensor:
    """The hidden state of each token of the prompts, normalized: [B, S, D]. `prefill` gives those of the last tokens only."""
    rows, longest = tf.unstack(tf.shape(prompts.token_ids))
    empty = model.new_cache(rows, longest)
    return _normalized(model.stack(prompt_features(prompts), cache=empty, options=INFERENCE).last_hidden_state)


def _normalized(hidden: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(tf.cast(hidden, tf.float32), -1)
