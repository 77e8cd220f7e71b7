"""The decoding loop, in the graph: prompts are read once, then one token a step is chosen, until every row has stopped.

Enters: a model with the cached forward (`model.stack`, `model.head`), prompts padded on the right, one setting a row.
Leaves: the chosen tokens, their log-probabilities, how many, and why each row ended. The same functions run under
`tfllm.generate`, `tfllm.stream` and in an export, so there is no Python in the loop, no XLA and no custom op.

    prompts     1 41 17        lengths 3        tokens  9 33  1        num_tokens 3   (ended by the separator)
                1  8  0                2               52 60 17                   3   (budget spent)
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.generation.reading import Prompts, is_on_mesh, reader_of
from tfllm.generation.sampling import Settings, choose, log_prob, penalise
from tfllm.layers.cache import Cache
from tfllm.tokenizers.base import EOS_ID, PAD_ID

RUNNING, EOS, STOP, LENGTH = range(4)
"""Why a row ended: not yet, the separator was chosen, a stop string appeared, its budget or the context is spent."""


class Stop(NamedTuple):
    """The test for stop strings."""

    pattern: tf.Tensor
    """string []: matches the first stop string and all behind it (`stop_pattern`)."""
    window: int
    """How many last tokens are looked at each step: no less than the bytes of the longest stop string."""
    detokenize: Callable[[tf.RaggedTensor], tf.Tensor]


class State(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop` and for coming back later. M is the room for new tokens."""

    step: tf.Tensor
    """int32 []: tokens chosen so far."""
    last: tf.Tensor
    """int32 [B]: the token chosen last."""
    finish: tf.Tensor
    """int32 [B]: RUNNING, EOS, STOP or LENGTH."""
    num_tokens: tf.Tensor
    """int32 [B]."""
    tokens: tf.Tensor
    """int32 [M, B]: a step is a row, so that it is written in place."""
    log_probs: tf.Tensor
    """float32 [M, B]."""
    cache: Cache


def stop_pattern(texts: Sequence[str]) -> str:
    """The regular expression whose match is cut off.

    >>> stop_pattern(["\\n\\n", "."])
    '(?s)(?:\\\\\\n\\\\\\n|\\\\.).*'
    """
    return "(?s)(?:" + "|".join(re.escape(text) for text in texts) + ").*"


def room_for(config: ModelConfig, lengths: tf.Tensor, max_new_tokens: tf.Tensor) -> tf.Tensor:
    """Tokens each row may get: its budget, or what learned positions leave of it. int32 [B], [B] -> [B]."""
    budget = tf.maximum(max_new_tokens, 0)
    if config.positions == "learned":
        budget = tf.minimum(budget, config.max_length - lengths)
    return budget


def decode(model: Any, prompts: Prompts, settings: Settings, *, stop: Stop | None = None) -> State:
    """Continues every prompt until all rows have ended.

    Args:
        prompts: P of them; with `settings` of B = n P rows each prompt is read once and continued n times, side by side.
        settings: B rows.

    Returns:
        The last `State`; see `results`.
    """
    with matrices_cast_once(model):
        state = begin(model, prompts, settings, stop=stop)
        return advance(model, prompts, settings, state=state, until=tf.int32.max, stop=stop)


def begin(model: Any, prompts: Prompts, settings: Settings, *, stop: Stop | None = None) -> State:
    """Reads the prompts, makes room for all tokens to come, and chooses the first ones."""
    lengths = prompts.lengths
    copies = tf.size(settings.seed) // tf.size(lengths)
    budget = room_for(model.config, tf.repeat(lengths, copies), settings.max_new_tokens)
    room = tf.maximum(tf.reduce_max(budget), 1)
    nothing = tf.zeros_like(budget)
    logits, cache = reader_of(model).prompts(prompts, copies, room - 1)
    state = State(
        step=tf.constant(0),
        last=nothing,
        finish=tf.where(budget > 0, RUNNING, LENGTH),
        num_tokens=nothing,
        tokens=tf.fill([room, tf.size(budget)], PAD_ID),
        log_probs=tf.zeros([room, tf.size(budget)]),
        cache=cache,
    )
    return _choose_next(logits, state, _repeat(prompts, copies), settings, budget, stop)


def advance(
    model: Any, prompts: Prompts, settings: Settings, *, state: State, until: int | tf.Tensor, stop: Stop | None = None
) -> State:
    """Goes on until `until` tokens are chosen in all, or every row has ended."""
    prompts = _repeat(prompts, tf.size(state.last) // tf.size(prompts.lengths))
    budget = room_for(model.config, prompts.lengths, settings.max_new_tokens)
    reader = reader_of(model)

    def body(state: State) -> tuple[State]:
        places = prompts.lengths + state.step - 1
        if model.config.positions == "learned":
            # Rows that have ended go on idly, and must not ask for a position that is not there.
            places = tf.minimum(places, model.config.max_length - 1)
        logits, cache = reader.tokens(state.last, places, state.cache)
        return (_choose_next(logits, state._replace(cache=cache), prompts, settings, budget, stop),)

    def unfinished(state: State) -> tf.Tensor:
        return (state.step < until) & tf.reduce_any(state.finish == RUNNING)

    return tf.while_loop(unfinished, body, [state], parallel_iterations=1)[0]


@contextlib.contextmanager
def matrices_cast_once(model: Any) -> Iterator[None]:
    """Inside, the matrices of a mixed-precision model have its compute dtype: else every step would cast all of them."""
    policy = getattr(model, "dtype_policy", None)
    if policy is None or policy.compute_dtype == policy.variable_dtype or is_on_mesh(model):
        yield
        return
    with keras.StatelessScope() as scope:
        for variable in model.weights:
            # Norms and biases are small, and some are used in float32.
            if len(variable.shape) > 1:
                scope.state_mapping[id(variable)] = tf.cast(variable.value, policy.compute_dtype)
        yield


class Results(NamedTuple):
    """What was chosen; places behind a row's last token hold 0."""

    token_ids: tf.Tensor
    """int32 [B, M], the closing separator included."""
    log_probs: tf.Tensor
    """float32 [B, M], in nats: of each token under the model as it is, before penalty, temperature and truncation."""
    num_tokens: tf.Tensor
    """int32 [B]."""
    finish: tf.Tensor
    """int32 [B]: EOS, STOP or LENGTH."""


def results(state: State) -> Results:
    """The tokens of a last state, as many columns as the longest row has."""
    width = tf.reduce_max(state.num_tokens)
    token_ids, log_probs = tf.transpose(state.tokens[:width]), tf.transpose(state.log_probs[:width])
    return Results(token_ids, log_probs, state.num_tokens, state.finish)


def text_of(found: Results, stop: Stop | None, detokenize: Callable[[tf.RaggedTensor], tf.Tensor]) -> tf.Tensor:
    """The continuations as text, cut before the first stop string: string [B]."""
    text = detokenize(tf.RaggedTensor.from_tensor(found.token_ids, lengths=found.num_tokens))
    return text if stop is None else tf.strings.regex_replace(text, stop.pattern, "", replace_global=False)


def _choose_next(
    logits: tf.Tensor, state: State, prompts: Prompts, settings: Settings, budget: tf.Tensor, stop: Stop | None
) -> State:
    """Chooses one more token for every row that has not ended, and finds out which rows end with it."""

    def penalised() -> tf.Tensor:
        return penalise(logits, _seen(prompts, state, tf.shape(logits)[1]), settings.repetition_penalty)

    scores = tf.cond(tf.reduce_any(settings.repetition_penalty != 1), penalised, lambda: logits)
    chosen = choose(scores, settings, positions=prompts.lengths + state.step)
    running = state.finish == RUNNING
    chosen = tf.where(running, chosen, PAD_ID)
    place = tf.reshape(state.step, [1, 1])
    tokens = tf.tensor_scatter_nd_update(state.tokens, place, chosen[None])
    values = tf.where(running, log_prob(logits, chosen), 0.0)
    num_tokens = state.num_tokens + tf.cast(running, tf.int32)
    finish = tf.where(num_tokens >= budget, LENGTH, RUNNING)
    if stop is not None:
        finish = tf.where(_stopped(tokens, state.step + 1, stop), STOP, finish)
    finish = tf.where(chosen == EOS_ID, EOS, finish)
    return state._replace(
        step=state.step + 1,
        last=chosen,
        finish=tf.where(running, finish, state.finish),
        num_tokens=num_tokens,
        tokens=tokens,
        log_probs=tf.tensor_scatter_nd_update(state.log_probs, place, values[None]),
    )


def _seen(prompts: Prompts, state: State, vocabulary: tf.Tensor) -> tf.Tensor:
    """Which tokens stand in the prompt or the continuation: bool [B, V]. Padding and separators do not count."""
    history = tf.concat([prompts.token_ids, tf.transpose(state.tokens)], 1)
    counts = tf.math.bincount(history, minlength=vocabulary, maxlength=vocabulary, axis=-1)
    special = tf.reduce_any(tf.range(vocabulary)[:, None] == [PAD_ID, EOS_ID], 1)
    return (counts > 0) & ~special


def _stopped(tokens: tf.Tensor, count: tf.Tensor, stop: Stop) -> tf.Tensor:
    """Whether the text of each row's last tokens holds a stop string: int32 [M, B] -> bool [B].

    A token that stands for no bytes can push a stop string out of the window; the text is cut all the same.
    """
    tail = tf.transpose(tokens[tf.maximum(count - stop.window, 0) : count])
    text = stop.detokenize(tf.RaggedTensor.from_tensor(tail))
    return tf.strings.regex_replace(text, stop.pattern, "", replace_global=False) != text


def _repeat(prompts: Prompts, copies: tf.Tensor) -> Prompts:
    return Prompts(tf.repeat(prompts.token_ids, copies, axis=0), tf.repeat(prompts.lengths, copies))
