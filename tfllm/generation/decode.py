"""The decoding loop, in the graph: prompts are read once, then one token a step is chosen, until every row has stopped.

Enters: a model with the cached forward (`model.stack`, `model.head`), prompts padded on the right, one setting a row, rules
for all.
Leaves: the chosen tokens, their log-probabilities, how many, and why each row ended. The same functions run under
`tfllm.generate`, `tfllm.stream` and in an export, so there is no Python in the loop, no XLA and no custom op.

    prompts     1 41 17        lengths 3        tokens  9 33  1        num_tokens 3   (ended by the separator)
                1  8  0                2               52 60 17                   3   (budget spent)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.generation.constraints import following
from tfllm.generation.penalties import Past, adjust, penalties_wanted
from tfllm.generation.reading import Prompts, is_on_mesh, reader_of
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import NO_RULES, Rules, Stop
from tfllm.generation.sampling import choose, log_prob
from tfllm.layers.cache import Cache, is_full, slots_at_first, with_a_slot
from tfllm.layers.stand_ins import by_rows, is_replaced, repeated
from tfllm.tokenizers.base import PAD_ID

RUNNING, EOS, STOP, LENGTH = range(4)
"""Why a row ended: not yet, the separator was chosen, a stop string appeared, its budget or the context is spent."""
WAITING = -1
"""The row has not ended, but goes on only when the others do (`speculative.py`)."""


class Alternatives(NamedTuple):
    """The most probable tokens of a step, the best first."""

    token_ids: tf.Tensor
    """int32 [M, B, K]; in results [B, M, K]."""
    log_probs: tf.Tensor
    """float32 of the same shape."""


class State(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop` and for coming back later. M is the room for new tokens."""

    last: tf.Tensor
    """int32 [B]: the token chosen last."""
    finish: tf.Tensor
    """int32 [B]: RUNNING, EOS, STOP or LENGTH."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens chosen so far."""
    tokens: tf.Tensor
    """int32 [M, B]; PAD_ID behind a row's last token."""
    log_probs: tf.Tensor
    """float32 [M, B]."""
    top: Alternatives | tuple[()]
    """Of each step, where `Rules.top_log_probs` asks for them."""
    place: tf.Tensor
    """int32 [B]: the state of `Rules.automaton`, if there is one."""
    cache: Cache

    @property
    def step(self) -> tf.Tensor:
        """int32 []: tokens of the row that has most."""
        return tf.reduce_max(self.num_tokens)

    def with_cache(self, cache: Cache) -> State:
        return self._replace(cache=cache)


class Task(NamedTuple):
    """What stays as it is from step to step, for B rows."""

    prompts: Prompts
    settings: RowSettings
    budget: tf.Tensor
    """int32 [B]: tokens each row may get."""
    rules: Rules
    penalised: tf.Tensor
    """bool []: `penalties_wanted(settings)`."""


def room_for(config: ModelConfig, lengths: tf.Tensor, max_new_tokens: tf.Tensor) -> tf.Tensor:
    """Tokens each row may get: its budget, or what learned positions leave of it. int32 [B], [B] -> [B]."""
    budget = tf.maximum(max_new_tokens, 0)
    if config.positions == "learned":
        budget = tf.minimum(budget, config.max_length - lengths)
    return budget


def task_of(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules) -> Task:
    """P prompts for `settings` of B = n P rows: n rows a prompt, side by side."""
    copies = tf.size(settings.seed) // tf.size(prompts.lengths)
    prompts = Prompts(tf.repeat(prompts.token_ids, copies, axis=0), tf.repeat(prompts.lengths, copies))
    budget = room_for(model.config, prompts.lengths, settings.max_new_tokens)
    return Task(prompts, settings, budget, rules, penalties_wanted(settings))


def decode(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules = NO_RULES) -> State:
    """Continues every prompt until all rows have ended.

    Args:
        prompts: P of them; with `settings` of B = n P rows each prompt is read once and continued n times, side by side.
        settings: B rows.

    Returns:
        The last `State`; see `results`.
    """
    with matrices_cast_once(model):
        state = begin(model, prompts, settings, rules)
        return advance(model, prompts, settings, rules, state=state, until=tf.int32.max)


def begin(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules = NO_RULES) -> State:
    """Reads the prompts, makes room for all tokens to come, and chooses the first ones."""
    task = task_of(model, prompts, settings, rules)
    rows = tf.size(task.budget)
    room = tf.maximum(tf.reduce_max(task.budget), 1)
    more = slots_for(model, prompts, room - 1)
    logits, cache = reader_of(model).prompts(prompts, rows // tf.size(prompts.lengths), more)
    return choose_next(logits, empty_state(task, room, cache), task)


def empty_state(task: Task, room: tf.Tensor, cache: Cache) -> State:
    """Before the first token, with room for `room` tokens a row."""
    nothing = tf.zeros_like(task.budget)
    rows, kept = tf.size(nothing), task.rules.top_log_probs
    return State(
        last=nothing,
        finish=tf.where(task.budget > 0, RUNNING, LENGTH),
        num_tokens=nothing,
        tokens=tf.fill([room, rows], PAD_ID),
        log_probs=tf.zeros([room, rows]),
        top=Alternatives(tf.fill([room, rows, kept], PAD_ID), tf.zeros([room, rows, kept])) if kept else (),
        place=nothing,
        cache=cache,
    )


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    rules: Rules = NO_RULES,
    *,
    state: State,
    until: int | tf.Tensor,
) -> State:
    """Goes on until `until` tokens are chosen in all, or every row has ended."""
    return loop(model, task_of(model, prompts, settings, rules), state, until)


def loop(model: Any, task: Task, state: State, until: int | tf.Tensor = tf.int32.max) -> State:
    """`advance` for a task."""
    reader = reader_of(model)

    def body(state: State) -> tuple[State]:
        places = places_of(model.config, task.prompts.lengths, state.num_tokens)
        logits, cache = reader.tokens(state.last, places, state.cache)
        return (choose_next(logits, state._replace(cache=cache), task),)

    def unfinished(state: State) -> tf.Tensor:
        return (state.step < until) & tf.reduce_any(state.finish == RUNNING)

    if is_on_mesh(model):
        return turns(unfinished, body, state)
    return by_rows(model, tf.size(state.last), lambda: growing(unfinished, body, state))


def turns(unfinished: Callable[[Any], tf.Tensor], body: Callable[[Any], tuple[Any]], state: Any) -> Any:
    """The state that is not `unfinished` any more, after as many turns of `body`."""
    with repeated():
        return tf.while_loop(unfinished, body, [state], parallel_iterations=1)[0]


def growing(unfinished: Callable[[Any], tf.Tensor], body: Callable[[Any], tuple[Any]], state: Any) -> Any:
    """`turns` of a body that fills a slot of the state's cache, which gets slots as they are needed."""

    def until_full(state: Any) -> tuple[Any]:
        state = state.with_cache(with_a_slot(state.cache))
        return (turns(lambda state: unfinished(state) & ~is_full(state.cache), body, state),)

    return turns(unfinished, until_full, state)


def slots_for(model: Any, prompts: Prompts, room: tf.Tensor) -> tf.Tensor:
    """Slots to add to the prompts' where `room` tokens will be read: all on a mesh, elsewhere those of the first ones."""
    return room if is_on_mesh(model) else slots_at_first(tf.shape(prompts.token_ids)[1], room)


def places_of(config: ModelConfig, lengths: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Where the last of `count` tokens stands: int32 [B], [B] or [] -> [B]."""
    places = lengths + count - 1
    if config.positions == "learned":
        # What is read idly, or as a guess, must not ask for a position that is not there.
        places = tf.minimum(places, config.max_length - 1)
    return places


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


class Results(NamedTuple):
    """What was chosen; places behind a row's last token hold 0."""

    token_ids: tf.Tensor
    """int32 [B, M], the closing separator included."""
    log_probs: tf.Tensor
    """float32 [B, M], in nats: of each token under the model as it is, before penalties, temperature and truncation."""
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
    """int32 [B]: how many of them were what the model says."""


def results(state: State) -> Results:
    """The tokens of a last state, as many columns as the longest row has."""
    width = tf.reduce_max(state.num_tokens)
    token_ids, log_probs = tf.transpose(state.tokens[:width]), tf.transpose(state.log_probs[:width])
    top = Alternatives(*(tf.transpose(each[:width], [1, 0, 2]) for each in state.top)) if state.top else ()
    return Results(token_ids, log_probs, state.num_tokens, state.finish, top)


def text_of(found: Results, stop: Stop | None, detokenize: Callable[[tf.RaggedTensor], tf.Tensor]) -> tf.Tensor:
    """The continuations as text, cut before the first stop string: string [B]."""
    text = detokenize(tf.RaggedTensor.from_tensor(found.token_ids, lengths=found.num_tokens))
    return text if stop is None else tf.strings.regex_replace(text, stop.pattern, "", replace_global=False)


def past_of(state: State, task: Task) -> Past:
    return Past(task.prompts, state.tokens, state.num_tokens, state.place)


def choose_next(logits: tf.Tensor, state: State, task: Task) -> State:
    """One more token for every running row. logits: float32 [B, V]."""
    scores = adjust(logits, past_of(state, task), task.settings, task.rules, wanted=task.penalised)
    chosen = choose(scores, task.settings, positions=task.prompts.lengths + state.num_tokens)
    return extended(state, chosen, logits, task)


def extended(state: State, chosen: tf.Tensor, logits: tf.Tensor, task: Task) -> State:
    """The token `chosen` for every running row, and which rows end with it; the others stay as they are.

    Args:
        chosen: int32 [B]. logits: float32 [B, V], as the model gave them.
    """
    running = state.finish == RUNNING
    now = (tf.range(tf.shape(state.tokens)[0])[:, None] == state.num_tokens) & running
    tokens = tf.where(now, chosen, state.tokens)
    num_tokens = state.num_tokens + tf.cast(running, tf.int32)
    finish = tf.where(num_tokens >= task.budget, LENGTH, RUNNING)
    if task.rules.stop is not None:
        finish = tf.where(stopped(tokens, num_tokens, task.rules.stop), STOP, finish)
    finish = tf.where(chosen == task.rules.eos_id, EOS, finish)
    return state._replace(
        last=tf.where(running, chosen, state.last),
        finish=tf.where(running, finish, state.finish),
        num_tokens=num_tokens,
        tokens=tokens,
        log_probs=tf.where(now, log_prob(logits, chosen), state.log_probs),
        top=_noted(state.top, logits, now),
        place=tf.where(running, moved(task.rules, state.place, chosen), state.place),
    )


def moved(rules: Rules, place: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The automaton's state behind `chosen`: int32 [B], [B] -> [B]."""
    return place if rules.automaton is None else following(rules.automaton, place, chosen)


def _noted(top: Alternatives | tuple[()], logits: tf.Tensor, now: tf.Tensor) -> Alternatives | tuple[()]:
    """The alternatives of one more token, where `now` is true. now: bool [M, B]."""
    if not top:
        return ()
    best = tf.math.top_k(tf.nn.log_softmax(logits), top.token_ids.shape[2])
    there = now[:, :, None]
    return Alternatives(tf.where(there, best.indices, top.token_ids), tf.where(there, best.values, top.log_probs))


def written(steps: tf.Tensor, step: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """`steps` [M, …] with `values` […] at `step`, in place."""
    return tf.tensor_scatter_nd_update(steps, tf.reshape(step, [1, 1]), values[None])


def stopped(tokens: tf.Tensor, count: tf.Tensor, stop: Stop) -> tf.Tensor:
    """Whether the text of each row's last tokens holds a stop string. tokens: int32 [M, B]. count: int32 [B]. -> bool [B].

    A token that stands for no bytes can push a stop string out of the window; the text is cut all the same.
    """
    places = tf.maximum(count - stop.window, 0)[:, None] + tf.range(stop.window)
    tail = tf.gather(tf.transpose(tokens), tf.minimum(places, tf.shape(tokens)[0] - 1), batch_dims=1)
    text = stop.detokenize(tf.RaggedTensor.from_tensor(tail, lengths=tf.minimum(count, stop.window)))
    return tf.strings.regex_replace(text, stop.pattern, "", replace_global=False) != text
