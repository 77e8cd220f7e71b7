"""The state of decoding, and how one more token is added to it: pure functions of tensors.

Input: logits of the next token for B rows, and the state so far. Output: the state with one more token in each running row.
`decode.py`, `contrastive.py` and `speculative.py` are loops over these functions.

    prompts     1 41 17        lengths 3        tokens  9 33  1        num_tokens 3   (ended by the separator)
                1  8  0                2               52 60 17                   3   (reached its budget)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.generation.constraints import next_states
from tfllm.generation.model_steps import Prompts
from tfllm.generation.penalties import Past, adjust_logits, penalties_wanted
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.sampling import choose, log_prob
from tfllm.generation.shared_settings import SharedSettings, Stop
from tfllm.layers.cache import Cache
from tfllm.tokenizers.base import PAD_ID

RUNNING, EOS, STOP, LENGTH = range(4)
"""Why a row ended: not yet; the separator was chosen; a stop string occurred; its budget is used up."""
WAITING = -1
"""The row has not ended, but waits for the other rows (`speculative.py`)."""


class Alternatives(NamedTuple):
    """The K most probable tokens of each step, the best first."""

    token_ids: tf.Tensor
    """int32 [M, B, K]; in `Results` [B, M, K]."""
    log_probs: tf.Tensor
    """float32 of the same shape."""


class DecodingState(NamedTuple):
    """What changes from step to step, for B rows. M is the room for new tokens. A nested structure for `tf.while_loop`."""

    last: tf.Tensor
    """int32 [B]: the token chosen last."""
    finish: tf.Tensor
    """int32 [B]: RUNNING, EOS, STOP or LENGTH."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens chosen so far."""
    tokens: tf.Tensor
    """int32 [M, B]; PAD_ID after a row's last token."""
    log_probs: tf.Tensor
    """float32 [M, B]."""
    top: Alternatives | tuple[()]
    """The alternatives of each step, if `SharedSettings.top_log_probs` asks for them."""
    automaton_state: tf.Tensor
    """int32 [B]: the row's state in `SharedSettings.automaton`, if there is one."""
    cache: Cache

    @property
    def step(self) -> tf.Tensor:
        """int32 []: the number of tokens of the row that has most."""
        return tf.reduce_max(self.num_tokens)

    def with_cache(self, cache: Cache) -> DecodingState:
        return self._replace(cache=cache)


class DecodingInputs(NamedTuple):
    """What stays the same from step to step, for B rows."""

    prompts: Prompts
    settings: RowSettings
    budget: tf.Tensor
    """int32 [B]: the most tokens that each row may get."""
    shared: SharedSettings
    has_penalties: tf.Tensor
    """bool []: `penalties_wanted(settings)`."""


class Results(NamedTuple):
    """The chosen tokens of B rows; after a row's last token there are zeros."""

    token_ids: tf.Tensor
    """int32 [B, M], with the closing separator."""
    log_probs: tf.Tensor
    """float32 [B, M], in nats: of each token under the model alone, before penalties, temperature and truncation."""
    num_tokens: tf.Tensor
    """int32 [B]."""
    finish: tf.Tensor
    """int32 [B]: EOS, STOP or LENGTH."""
    top: Alternatives | tuple[()] = ()
    scores: tf.Tensor | tuple[()] = ()
    """float32 [B], of a beam search."""
    num_draft_tokens: tf.Tensor | tuple[()] = ()
    """int32 [B], of speculative decoding: tokens drafted."""
    num_accepted_tokens: tf.Tensor | tuple[()] = ()
    """int32 [B]: how many of them were accepted."""


def budget_of(config: ModelConfig, lengths: tf.Tensor, max_new_tokens: tf.Tensor) -> tf.Tensor:
    """The most tokens each row may get: what it asks for, or what learned positions leave. int32 [B], [B] -> [B]."""
    budget = tf.maximum(max_new_tokens, 0)
    if config.positions == "learned":
        budget = tf.minimum(budget, config.max_length - lengths)
    return budget


def decoding_inputs(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings) -> DecodingInputs:
    """The inputs of B = n P rows: n rows for each of P prompts, side by side. settings: B rows."""
    copies = tf.size(settings.seed) // tf.size(prompts.lengths)
    prompts = Prompts(tf.repeat(prompts.token_ids, copies, axis=0), tf.repeat(prompts.lengths, copies))
    budget = budget_of(model.config, prompts.lengths, settings.max_new_tokens)
    return DecodingInputs(prompts, settings, budget, shared, penalties_wanted(settings))


def initial_state(inputs: DecodingInputs, room: tf.Tensor, cache: Cache) -> DecodingState:
    """The state before the first token, with room for `room` (int32 []) tokens in each row."""
    zeros = tf.zeros_like(inputs.budget)
    rows, kept = tf.size(zeros), inputs.shared.top_log_probs
    return DecodingState(
        last=zeros,
        finish=tf.where(inputs.budget > 0, RUNNING, LENGTH),
        num_tokens=zeros,
        tokens=tf.fill([room, rows], PAD_ID),
        log_probs=tf.zeros([room, rows]),
        top=Alternatives(tf.fill([room, rows, kept], PAD_ID), tf.zeros([room, rows, kept])) if kept else (),
        automaton_state=zeros,
        cache=cache,
    )


def positions_of(config: ModelConfig, lengths: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The position of the last of `count` new tokens. int32 [B], [B] or [] -> [B]."""
    positions = lengths + count - 1
    if config.positions == "learned":
        # Rows that have ended and drafts that are rejected must not ask for a position beyond the last.
        positions = tf.minimum(positions, config.max_length - 1)
    return positions


def past_of(state: DecodingState, inputs: DecodingInputs) -> Past:
    return Past(inputs.prompts, state.tokens, state.num_tokens, state.automaton_state)


def choose_next(logits: tf.Tensor, state: DecodingState, inputs: DecodingInputs) -> DecodingState:
    """Chooses one more token for every running row. logits: float32 [B, V]."""
    scores = adjust_logits(logits, past_of(state, inputs), inputs.settings, inputs.shared, wanted=inputs.has_penalties)
    chosen = choose(scores, inputs.settings, positions=inputs.prompts.lengths + state.num_tokens)
    return append_tokens(state, chosen, logits, inputs)


def append_tokens(state: DecodingState, chosen: tf.Tensor, logits: tf.Tensor, inputs: DecodingInputs) -> DecodingState:
    """Adds the token `chosen` to every running row, and notes which rows end with it. Other rows do not change.

    Args:
        chosen: int32 [B]. logits: float32 [B, V], from the model.
    """
    running = state.finish == RUNNING
    now = (tf.range(tf.shape(state.tokens)[0])[:, None] == state.num_tokens) & running
    tokens = tf.where(now, chosen, state.tokens)
    num_tokens = state.num_tokens + tf.cast(running, tf.int32)
    finish = tf.where(num_tokens >= inputs.budget, LENGTH, RUNNING)
    if inputs.shared.stop is not None:
        finish = tf.where(has_stop_string(tokens, num_tokens, inputs.shared.stop), STOP, finish)
    finish = tf.where(chosen == inputs.shared.eos_id, EOS, finish)
    automaton_state = next_automaton_state(inputs.shared, state.automaton_state, chosen)
    return state._replace(
        last=tf.where(running, chosen, state.last),
        finish=tf.where(running, finish, state.finish),
        num_tokens=num_tokens,
        tokens=tokens,
        log_probs=tf.where(now, log_prob(logits, chosen), state.log_probs),
        top=_with_alternatives(state.top, logits, now),
        automaton_state=tf.where(running, automaton_state, state.automaton_state),
    )


def next_automaton_state(shared: SharedSettings, state: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The automaton's state after `chosen`. int32 [B], [B] -> [B]."""
    return state if shared.automaton is None else next_states(shared.automaton, state, chosen)


def _with_alternatives(top: Alternatives | tuple[()], logits: tf.Tensor, now: tf.Tensor) -> Alternatives | tuple[()]:
    """Writes the alternatives of one more token where `now` (bool [M, B]) is true."""
    if not top:
        return ()
    best = tf.math.top_k(tf.nn.log_softmax(logits), top.token_ids.shape[2])
    here = now[:, :, None]
    return Alternatives(tf.where(here, best.indices, top.token_ids), tf.where(here, best.values, top.log_probs))


def write_step(steps: tf.Tensor, step: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Writes `values` […] into `steps` [M, …] at index `step`, in place."""
    return tf.tensor_scatter_nd_update(steps, tf.reshape(step, [1, 1]), values[None])


def has_stop_string(tokens: tf.Tensor, count: tf.Tensor, stop: Stop) -> tf.Tensor:
    """Whether the text of each row's last tokens contains a stop string. tokens: int32 [M, B]. count: int32 [B]. -> bool [B].

    Tokens without bytes can push a stop string out of the window. Then the row goes on, but its text is still cut.
    """
    indices = tf.maximum(count - stop.window, 0)[:, None] + tf.range(stop.window)
    tail = tf.gather(tf.transpose(tokens), tf.minimum(indices, tf.shape(tokens)[0] - 1), batch_dims=1)
    text = stop.detokenize(tf.RaggedTensor.from_tensor(tail, lengths=tf.minimum(count, stop.window)))
    return tf.strings.regex_replace(text, stop.pattern, "", replace_global=False) != text


def results(state: DecodingState) -> Results:
    """The tokens of a last state, with as many columns as the longest row has tokens."""
    width = tf.reduce_max(state.num_tokens)
    token_ids, log_probs = tf.transpose(state.tokens[:width]), tf.transpose(state.log_probs[:width])
    top = Alternatives(*(tf.transpose(each[:width], [1, 0, 2]) for each in state.top)) if state.top else ()
    return Results(token_ids, log_probs, state.num_tokens, state.finish, top)


def text_of(found: Results, stop: Stop | None, detokenize: Callable[[tf.RaggedTensor], tf.Tensor]) -> tf.Tensor:
    """The continuations as texts, each cut before the first stop string: string [B]."""
    text = detokenize(tf.RaggedTensor.from_tensor(found.token_ids, lengths=found.num_tokens))
    return text if stop is None else tf.strings.regex_replace(text, stop.pattern, "", replace_global=False)
