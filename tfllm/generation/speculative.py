"""Speculative decoding (Leviathan et al. 2023, arXiv:2211.17192), in the graph: guesses are read in one pass, right ones kept.

Enters: what `decode.py` takes, and perhaps a draft model. Leaves: what `decode.py` leaves, token for token. At every place the
token is chosen from the model's own scores, by the same function and with the same random number as without guesses; a row goes
on to its next place while the token is the guess that was read there. So nothing depends on where a guess comes from.

    said          guesses        the model's own      said then
    to be , or    not to see     not to be            to be , or not to be         two of three accepted, one more for free

Rows accept different numbers of guesses. The cache takes back what was read of wrong ones (`layers.cache.rewound`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation import decode as plain
from tfllm.generation.decode import (
    RUNNING,
    WAITING,
    Results,
    Task,
    choose_next,
    matrices_cast_once,
    past_of,
    places_of,
    task_of,
)
from tfllm.generation.drafting import Draft, draw_up, look_up
from tfllm.generation.reading import Prompts, read, reader_of
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import Rules
from tfllm.layers.cache import Cache, rewound, with_room


class State(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop` and for coming back later."""

    said: plain.State
    drafting: Cache | tuple[()]
    """Of the draft model, if there is one."""
    drafted: tf.Tensor
    """int32 [B]: guesses so far."""
    accepted: tf.Tensor
    """int32 [B]: right ones among them."""


def decode(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules, draft_model: Any = None) -> Results:
    """Continues every prompt until all rows have ended. Shapes: as of `decode.decode`."""
    with matrices_cast_once(model, draft_model):
        state = begin(model, prompts, settings, rules, draft_model)
        state = advance(model, prompts, settings, rules, draft_model, state=state, until=tf.int32.max)
    return plain.results(state.said)._replace(num_draft_tokens=state.drafted, num_accepted_tokens=state.accepted)


def begin(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules, draft_model: Any = None) -> State:
    """Reads the prompts, and chooses the first tokens."""
    assert rules.drafts is not None
    task = task_of(model, prompts, settings, rules)
    room = tf.maximum(tf.reduce_max(task.budget), 1)
    copies = tf.size(task.budget) // tf.size(prompts.lengths)
    # A row that reads guesses has a token to go at least, so it has read no more than its prompt and budget less two.
    slots = room + rules.drafts.num_tokens
    logits, cache = reader_of(model).prompts(prompts, copies, slots)
    said = choose_next(logits, plain.empty_state(task, room, cache), task)
    drafting = () if draft_model is None else reader_of(draft_model).prompts(prompts, copies, slots)[1]
    return State(said, drafting, tf.zeros_like(task.budget), tf.zeros_like(task.budget))


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    rules: Rules,
    draft_model: Any = None,
    *,
    state: State,
    until: int | tf.Tensor,
) -> State:
    """Goes on until a row has `until` tokens, or every row has ended."""
    task = task_of(model, prompts, settings, rules)

    def unfinished(state: State) -> tf.Tensor:
        return (state.said.step < until) & tf.reduce_any(state.said.finish == RUNNING)

    def body(state: State) -> tuple[State]:
        draft, drafting = _drafted(draft_model, state, task)
        scores, cache = _scores(model, state.said, draft, task)
        said, accepted = _checked(scores, draft, state.said._replace(cache=cache), task)
        return (State(said, drafting, state.drafted + draft.count, state.accepted + accepted),)

    return plain.turns(unfinished, body, state)


def _drafted(draft_model: Any, state: State, task: Task) -> tuple[Draft, Cache | tuple[()]]:
    """The next guesses, and the draft model's cache. None for rows that have ended, nor for the last token of a budget."""
    said, rules, cache = state.said, task.rules.drafts, state.drafting
    assert rules is not None
    if isinstance(cache, Cache):
        draft, cache = draw_up(draft_model, cache, said, task, num_tokens=rules.num_tokens)
    else:
        draft = look_up(past_of(said, task), num_tokens=rules.num_tokens, ngram_size=rules.ngram_size)
    count = tf.minimum(draft.count, task.budget - said.num_tokens - 1)
    return draft._replace(count=tf.where(said.finish == RUNNING, count, 0)), cache


def _scores(model: Any, said: plain.State, draft: Draft, task: Task) -> tuple[tf.Tensor, Cache]:
    """Reads each row's last token and its guesses: the scores of what follows each of them, float32 [1 + W, B, V].

    W is the number of guesses of the row that has most.
    """
    width = tf.reduce_max(draft.count)
    ids = tf.concat([said.last[:, None], draft.token_ids[:, :width]], 1)
    places = places_of(model.config, task.prompts.lengths[:, None], said.num_tokens[:, None] + tf.range(1 + width))
    cache = with_room(rewound(said.cache, places[:, 0]), 1 + width)
    hidden, cache = read(model, ids, places, cache)
    hidden = tf.transpose(hidden, [1, 0, 2])
    scores = model.head(tf.reshape(hidden, [-1, hidden.shape[2]]))
    return tf.reshape(scores, [1 + width, -1, scores.shape[1]]), cache


def _checked(scores: tf.Tensor, draft: Draft, said: plain.State, task: Task) -> tuple[plain.State, tf.Tensor]:
    """Chooses tokens while they are the guesses, and the first that is not. Also how many were: int32 [B]."""
    last = tf.shape(draft.token_ids)[1] - 1

    def unfinished(place: tf.Tensor, said: plain.State, accepted: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(said.finish == RUNNING)

    def body(place: tf.Tensor, said: plain.State, accepted: tf.Tensor) -> tuple[tf.Tensor, plain.State, tf.Tensor]:
        running = said.finish == RUNNING
        said = choose_next(scores[place], said, task)
        guess = tf.gather(draft.token_ids, tf.minimum(place, last), axis=1)
        right = running & (place < draft.count) & (said.last == guess)
        finish = tf.where((said.finish == RUNNING) & ~right, WAITING, said.finish)
        return place + 1, said._replace(finish=finish), accepted + tf.cast(right, tf.int32)

    start = (tf.constant(0), said, tf.zeros_like(draft.count))
    _, said, accepted = tf.while_loop(unfinished, body, start, parallel_iterations=1)
    return said._replace(finish=tf.where(said.finish == WAITING, RUNNING, said.finish)), accepted
