"""Beam search, in the graph: of each prompt the n best unfinished continuations are kept, and the n best finished ones.

Enters: a model with the cached forward, P prompts, one setting a prompt. Leaves: the finished continuations, the best first.
A score is the sum of the tokens' log-probabilities after the penalties, over length ** length_penalty (Wu et al. 2016). Beams
may be split into groups that avoid each other's tokens (Vijayakumar et al. 2016). When a search ends follows Hugging Face's
`generate`, whose results these are.

R = P groups searches of W beams each; B = R W rows, those of a prompt side by side. A step, with W = 2:

    beams  the cat   -1.0     candidates (2 W)  the cat sat  -1.2     beams  the cat sat   -1.2
           a dog     -1.5                       the cat <eos> -1.6           a dog ran     -1.9
                                                a dog ran    -1.9     finished  the cat <eos>  -1.6 / 3
                                                the cat ran  -2.3
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.cache_rows import reordered
from tfllm.generation.decode import (
    EOS,
    LENGTH,
    RUNNING,
    STOP,
    Results,
    Task,
    growing,
    matrices_cast_once,
    moved,
    places_of,
    slots_for,
    stopped,
    task_of,
    written,
)
from tfllm.generation.penalties import Past, adjust
from tfllm.generation.reading import Prompts, reader_of
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import Beams, Rules
from tfllm.layers.cache import Cache
from tfllm.tokenizers.base import PAD_ID

_NEVER = float("-inf")
# Worse than any text with any settings, and still a number that others can be added to.
_DEAD = -1e30


class Said(NamedTuple):
    """Continuations of B rows; M is the room for tokens."""

    tokens: tf.Tensor
    """int32 [M, B]."""
    log_probs: tf.Tensor
    """float32 [M, B]: of each token under the model as it is."""


class Finished(NamedTuple):
    """The best that have ended; places not yet filled have a score of -infinity."""

    said: Said
    scores: tf.Tensor
    """float32 [R, W], falling."""
    num_tokens: tf.Tensor
    """int32 [R, W]."""
    finish: tf.Tensor
    """int32 [R, W]: EOS, STOP, LENGTH; RUNNING where the place is empty."""


class State(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop`."""

    step: tf.Tensor
    """int32 []."""
    scores: tf.Tensor
    """float32 [R, W]: sums of log-probabilities of the running beams, falling."""
    said: Said
    finished: Finished
    done: tf.Tensor
    """bool [R]: nothing finished later can be among the best."""
    place: tf.Tensor
    """int32 [B]: the state of `Rules.automaton`, if there is one."""
    cache: Cache

    def with_cache(self, cache: Cache) -> State:
        return self._replace(cache=cache)


class Candidates(NamedTuple):
    """The 2 W best continuations by one token of each search: enough to go on where W of them end the text."""

    scores: tf.Tensor
    """float32 [R, 2 W], falling."""
    beams: tf.Tensor
    """int32 [R, 2 W]: which beam is continued."""
    tokens: tf.Tensor
    """int32 [R, 2 W]."""
    finish: tf.Tensor
    """int32 [R, 2 W]: RUNNING where the text goes on."""


def search(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules) -> Results:
    """The `beams.kept` best continuations of each prompt.

    Args:
        prompts: P of them. settings: P rows; those of sampling are not looked at.
        rules: with `beams`.

    Returns:
        P x kept rows. Where a prompt has fewer different continuations, its last rows are empty and have a score of -infinity.
    """
    beams = rules.beams
    assert beams is not None
    settings = RowSettings(*(tf.repeat(each, beams.size) for each in settings))
    task = task_of(model, prompts, settings, rules)
    reader = reader_of(model)

    def body(state: State) -> tuple[State]:
        last = tf.gather(state.said.tokens, state.step - 1)
        logits, cache = reader.tokens(last, places_of(model.config, task.prompts.lengths, state.step), state.cache)
        return (_step(logits, state._replace(cache=cache), task, beams),)

    with matrices_cast_once(model):
        room = tf.maximum(tf.reduce_max(task.budget), 1)
        logits, cache = reader.prompts(prompts, beams.size, slots_for(model, prompts, room - 1))
        state = _step(logits, _begun(task, beams, room, cache), task, beams)
        state = growing(lambda state: ~tf.reduce_all(state.done), body, state)
    return _best(state.finished, beams)


def _begun(task: Task, beams: Beams, room: tf.Tensor, cache: Cache) -> State:
    rows, width = tf.size(task.budget), beams.size // beams.groups
    shape = [rows // width, width]
    said = Said(tf.fill([room, rows], PAD_ID), tf.zeros([room, rows]))
    nothing = tf.zeros(shape, tf.int32)
    # All beams of a search have said the same: one of them is continued.
    first = tf.broadcast_to(tf.where(tf.range(width) == 0, 0.0, _DEAD), shape)
    done = tf.reshape(task.budget, shape)[:, 0] <= 0
    return State(
        tf.constant(0),
        first,
        said,
        Finished(said, tf.fill(shape, _NEVER), nothing, nothing),
        done,
        tf.zeros_like(task.budget),
        cache,
    )


def _step(logits: tf.Tensor, state: State, task: Task, beams: Beams) -> State:
    """One more token for every beam. logits: float32 [B, V]."""
    log_probs = tf.nn.log_softmax(logits)
    past = Past(task.prompts, state.said.tokens, tf.fill(tf.shape(state.place), state.step), state.place)
    scores = adjust(log_probs, past, task.settings, task.rules, wanted=task.penalised)
    candidates = _candidates(scores, state, task, beams)
    width = tf.shape(state.scores)[1]
    order = _running(candidates, width)
    running = Candidates(*(tf.gather(each, order, batch_dims=1) for each in candidates))
    scores = tf.where(running.finish == RUNNING, running.scores, _DEAD)
    finished = _merged(candidates, log_probs, state, beams)
    budget = tf.reshape(task.budget, tf.shape(state.scores))[:, 0]
    rows = _rows(running.beams, width)
    return State(
        step=state.step + 1,
        scores=scores,
        said=_continued(state.said, running, log_probs, state.step),
        finished=finished,
        done=state.done | _is_done(scores[:, 0], finished, state.step + 1, budget, beams),
        place=moved(task.rules, tf.gather(state.place, rows), tf.reshape(running.tokens, [-1])),
        cache=reordered(state.cache, rows),
    )


def _candidates(scores: tf.Tensor, state: State, task: Task, beams: Beams) -> Candidates:
    """float32 [B, V], scores of the next token alone -> the best continuations, group after group."""
    width, vocabulary = beams.size // beams.groups, tf.shape(scores)[1]
    totals = tf.reshape(scores + tf.reshape(state.scores, [-1, 1]), [-1, beams.groups, width, vocabulary])
    taken = tf.zeros([tf.shape(totals)[0], vocabulary])
    done = tf.reshape(state.done, [-1, beams.groups])
    groups = []
    for group in range(beams.groups):
        total = totals[:, group]
        if group:
            total -= beams.diversity_penalty * taken[:, None]
        best = tf.math.top_k(tf.reshape(total, [-1, width * vocabulary]), 2 * width)
        found = Candidates(best.values, best.indices // vocabulary, best.indices % vocabulary, tf.zeros_like(best.indices))
        found = found._replace(finish=_finish(found, group, state, task, beams))
        groups.append(found)
        if group + 1 < beams.groups:
            said = tf.gather(found.tokens, _running(found, width), batch_dims=1)
            here = tf.reduce_sum(tf.one_hot(said, vocabulary), 1)
            taken += tf.where(done[:, group, None], 0.0, here)
    return Candidates(*(tf.reshape(tf.stack(each, 1), [-1, 2 * width]) for each in zip(*groups, strict=True)))


def _finish(found: Candidates, group: int, state: State, task: Task, beams: Beams) -> tf.Tensor:
    """Why each candidate of a group ends, if it does: int32 [P, 2 W]."""
    shape, width = tf.shape(found.tokens), beams.size // beams.groups
    budget = tf.reshape(task.budget, [-1, beams.groups, width])[:, group, :1]
    finish = tf.where(state.step + 1 >= budget, LENGTH, tf.fill(shape, RUNNING))
    if task.rules.stop is not None:
        first = tf.range(shape[0])[:, None] * beams.size + group * width
        before = tf.gather(state.said.tokens, tf.reshape(first + found.beams, [-1]), axis=1)
        after = written(before, state.step, tf.reshape(found.tokens, [-1]))
        count = tf.fill([tf.size(finish)], state.step + 1)
        finish = tf.where(tf.reshape(stopped(after, count, task.rules.stop), shape), STOP, finish)
    return tf.where(found.tokens == task.rules.eos_id, EOS, finish)


def _running(candidates: Candidates, width: int | tf.Tensor) -> tf.Tensor:
    """Which candidates go on, or would with a larger budget, the best first: int32 [R, W]."""
    ended = (candidates.finish == EOS) | (candidates.finish == STOP)
    scores = tf.where(ended, candidates.scores + _DEAD, candidates.scores)
    return tf.math.top_k(scores, width).indices


def _merged(candidates: Candidates, log_probs: tf.Tensor, state: State, beams: Beams) -> Finished:
    """The best of what had ended and of what ends now. Only the W best candidates count: the rest are there to go on."""
    old, width = state.finished, beams.size // beams.groups
    among_best = (tf.range(2 * width) < width)[None]
    # A dead beam says what a living one says, too.
    ends = (candidates.finish != RUNNING) & among_best & ~state.done[:, None] & (candidates.scores > _DEAD / 2)
    length = tf.cast(state.step + 1, tf.float32)
    scores = tf.where(ends, candidates.scores / length**beams.length_penalty, _NEVER)
    said = _continued(state.said, candidates, log_probs, state.step)
    best = tf.math.top_k(tf.concat([old.scores, scores], 1), width)

    def taken(before: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.concat([before, now], 1), best.indices, batch_dims=1)

    def steps_taken(before: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        """[M, R W], [M, R 2 W] -> [M, R W]."""
        rows = [
            tf.reshape(tf.transpose(each), [-1, count, tf.shape(each)[0]])
            for each, count in ((before, width), (now, 2 * width))
        ]
        return tf.transpose(tf.reshape(taken(*rows), [-1, tf.shape(before)[0]]))

    return Finished(
        said=Said(*(steps_taken(*both) for both in zip(old.said, said, strict=True))),
        scores=best.values,
        num_tokens=taken(old.num_tokens, tf.fill(tf.shape(scores), state.step + 1)),
        finish=taken(old.finish, tf.where(ends, candidates.finish, RUNNING)),
    )


def _is_done(best: tf.Tensor, finished: Finished, step: tf.Tensor, budget: tf.Tensor, beams: Beams) -> tf.Tensor:
    """Whether no running beam can come among the finished ones. best: float32 [R], budget: int32 [R] -> bool [R].

    Penalised by length a score may still rise, so this is a guess where `early_stopping` is False: it supposes the length of
    now. "never" supposes the length that would make the score best.
    """
    full = tf.reduce_all(finished.finish != RUNNING, 1)
    if beams.early_stopping is True:
        return full | (best <= _DEAD / 2)
    now = tf.fill(tf.shape(budget), step)
    length = tf.where(beams.length_penalty > 0, budget, now) if beams.early_stopping == "never" else now
    hoped_for = best / tf.cast(length, tf.float32) ** beams.length_penalty
    return (full & (hoped_for <= finished.scores[:, -1])) | (best <= _DEAD / 2)


def _best(finished: Finished, beams: Beams) -> Results:
    """The `kept` best of all groups."""
    best = tf.math.top_k(tf.reshape(finished.scores, [-1, beams.size]), beams.kept)
    rows = tf.reshape(tf.range(tf.shape(best.indices)[0])[:, None] * beams.size + best.indices, [-1])
    num_tokens, finish = (tf.gather(tf.reshape(each, [-1]), rows) for each in (finished.num_tokens, finished.finish))
    num_tokens = tf.where(finish == RUNNING, 0, num_tokens)
    width = tf.reduce_max(num_tokens)
    there = tf.range(width)[None] < num_tokens[:, None]
    tokens, log_probs = (tf.transpose(tf.gather(each[:width], rows, axis=1)) for each in finished.said)
    return Results(
        token_ids=tf.where(there, tokens, PAD_ID),
        log_probs=tf.where(there, log_probs, 0.0),
        num_tokens=num_tokens,
        finish=tf.where(finish == RUNNING, LENGTH, finish),
        scores=tf.reshape(best.values, [-1]),
    )


def _rows(beams: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Beams of each search as rows of the batch: int32 [R, any] -> [R any]."""
    return tf.reshape(tf.range(tf.shape(beams)[0])[:, None] * width + beams, [-1])


def _continued(said: Said, by: Candidates, log_probs: tf.Tensor, step: tf.Tensor) -> Said:
    """Each continuation of `by` written out: [M, R any]. log_probs: float32 [B, V]."""
    rows = _rows(by.beams, tf.shape(said.tokens)[1] // tf.shape(by.beams)[0])
    tokens = tf.reshape(by.tokens, [-1])
    values = tf.gather_nd(log_probs, tf.stack([rows, tokens], 1))
    tokens_before, values_before = (tf.gather(each, rows, axis=1) for each in said)
    return Said(written(tokens_before, step, tokens), written(values_before, step, values))
