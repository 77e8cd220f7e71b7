"""Beam search, in the graph: for each prompt, the n best running continuations and the n best finished ones are kept.

Input: a model with the cached forward pass, P prompts, and their settings. Output: the finished continuations, the best first.
A score is the sum of the tokens' log-probabilities after penalties, divided by length ** length_penalty (Wu et al. 2016).
Beams can be split into groups that avoid each other's tokens (Vijayakumar et al. 2016). A search ends as in Hugging Face's
`generate`, and the results are the same.

R = P groups searches of W beams each; B = R W rows, those of a prompt side by side. A step, with W = 2:

    beams  the cat   -1.0     candidates (2 W)  the cat sat  -1.2     beams  the cat sat   -1.2
           a dog     -1.5                       the cat <eos> -1.6           a dog ran     -1.9
                                                a dog ran    -1.9     finished  the cat <eos>  -1.6 / 3
                                                the cat ran  -2.3
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.cache_rows import gather_rows
from tfllm.generation.decode import initial_slots, while_loop_with_growing_cache
from tfllm.generation.decoding_state import (
    EOS,
    LENGTH,
    RUNNING,
    STOP,
    DecodingInputs,
    Results,
    decoding_inputs,
    has_stop_string,
    next_automaton_state,
    positions_of,
    write_step,
)
from tfllm.generation.model_steps import Prompts, decode_step, prefill
from tfllm.generation.penalties import Past, adjust_logits
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import Beams, SharedSettings
from tfllm.layers.cache import Cache
from tfllm.tokenizers.base import PAD_ID

_NEVER = float("-inf")
# Worse than any text with any settings, and still a finite number to which others can be added.
_DEAD = -1e30


class Continuations(NamedTuple):
    """The tokens of B rows; M is the room for tokens."""

    tokens: tf.Tensor
    """int32 [M, B]."""
    log_probs: tf.Tensor
    """float32 [M, B]: of each token under the model alone."""


class Finished(NamedTuple):
    """The W best finished continuations of each search. Empty entries have a score of -infinity."""

    continuations: Continuations
    scores: tf.Tensor
    """float32 [R, W], the highest first."""
    num_tokens: tf.Tensor
    """int32 [R, W]."""
    finish: tf.Tensor
    """int32 [R, W]: EOS, STOP, LENGTH; RUNNING for an empty entry."""


class BeamState(NamedTuple):
    """The state of R searches. A nested structure for `tf.while_loop`."""

    step: tf.Tensor
    """int32 []."""
    scores: tf.Tensor
    """float32 [R, W]: sums of log-probabilities of the running beams, the highest first."""
    continuations: Continuations
    finished: Finished
    done: tf.Tensor
    """bool [R]: no continuation that ends later can be among the best."""
    automaton_state: tf.Tensor
    """int32 [B]: the row's state in `SharedSettings.automaton`, if there is one."""
    cache: Cache

    def with_cache(self, cache: Cache) -> BeamState:
        return self._replace(cache=cache)


class Candidates(NamedTuple):
    """The 2 W best continuations by one more token, for each search. Even if W of them end the text, W can go on."""

    scores: tf.Tensor
    """float32 [R, 2 W], the highest first."""
    beams: tf.Tensor
    """int32 [R, 2 W]: which beam is continued."""
    tokens: tf.Tensor
    """int32 [R, 2 W]."""
    finish: tf.Tensor
    """int32 [R, 2 W]: RUNNING where the text goes on."""


def search(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings) -> Results:
    """The `beams.kept` best continuations of each prompt.

    Args:
        prompts: P of them. settings: P rows; settings of sampling have no effect.
        shared: with `beams`.

    Returns:
        P x kept rows. If a prompt has fewer different continuations, its last rows are empty and have a score of -infinity.
    """
    beams = shared.beams
    assert beams is not None
    settings = RowSettings(*(tf.repeat(each, beams.size) for each in settings))
    inputs = decoding_inputs(model, prompts, settings, shared)

    def body(state: BeamState) -> tuple[BeamState]:
        last = tf.gather(state.continuations.tokens, state.step - 1)
        positions = positions_of(model.config, inputs.prompts.lengths, state.step)
        logits, cache = decode_step(model, last, positions, state.cache)
        return (_step(logits, state._replace(cache=cache), inputs, beams),)

    room = tf.maximum(tf.reduce_max(inputs.budget), 1)
    logits, cache = prefill(model, prompts, beams.size, initial_slots(model, prompts, room - 1))
    state = _step(logits, _initial_state(inputs, beams, room, cache), inputs, beams)
    state = while_loop_with_growing_cache(lambda state: ~tf.reduce_all(state.done), body, state)
    return _results(state.finished, beams)


def _initial_state(inputs: DecodingInputs, beams: Beams, room: tf.Tensor, cache: Cache) -> BeamState:
    rows, width = tf.size(inputs.budget), beams.size // beams.groups
    shape = [rows // width, width]
    empty = Continuations(tf.fill([room, rows], PAD_ID), tf.zeros([room, rows]))
    nothing = tf.zeros(shape, tf.int32)
    # All beams of a search are equal: one of them is continued.
    first = tf.broadcast_to(tf.where(tf.range(width) == 0, 0.0, _DEAD), shape)
    done = tf.reshape(inputs.budget, shape)[:, 0] <= 0
    return BeamState(
        step=tf.constant(0),
        scores=first,
        continuations=empty,
        finished=Finished(empty, tf.fill(shape, _NEVER), nothing, nothing),
        done=done,
        automaton_state=tf.zeros_like(inputs.budget),
        cache=cache,
    )


def _step(logits: tf.Tensor, state: BeamState, inputs: DecodingInputs, beams: Beams) -> BeamState:
    """One more token for every beam. logits: float32 [B, V]."""
    log_probs = tf.nn.log_softmax(logits)
    count = tf.fill(tf.shape(inputs.budget), state.step)
    past = Past(inputs.prompts, state.continuations.tokens, count, state.automaton_state)
    scores = adjust_logits(log_probs, past, inputs.settings, inputs.shared, wanted=inputs.has_penalties)
    candidates = _candidates(scores, state, inputs, beams)
    width = tf.shape(state.scores)[1]
    order = _running(candidates, width)
    running = Candidates(*(tf.gather(each, order, batch_dims=1) for each in candidates))
    scores = tf.where(running.finish == RUNNING, running.scores, _DEAD)
    finished = _update_finished(candidates, log_probs, state, beams)
    budget = tf.reshape(inputs.budget, tf.shape(state.scores))[:, 0]
    rows = _rows(running.beams, width)
    return BeamState(
        step=state.step + 1,
        scores=scores,
        continuations=_extended(state.continuations, running, log_probs, state.step),
        finished=finished,
        done=state.done | _is_done(scores[:, 0], finished, state.step + 1, budget, beams),
        automaton_state=next_automaton_state(
            inputs.shared, tf.gather(state.automaton_state, rows), tf.reshape(running.tokens, [-1])
        ),
        cache=gather_rows(state.cache, rows),
    )


def _candidates(scores: tf.Tensor, state: BeamState, inputs: DecodingInputs, beams: Beams) -> Candidates:
    """float32 [B, V], scores of the next token alone -> the best continuations, one group after another."""
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
        found = found._replace(finish=_finish(found, group, state, inputs, beams))
        groups.append(found)
        if group + 1 < beams.groups:
            chosen = tf.gather(found.tokens, _running(found, width), batch_dims=1)
            here = tf.reduce_sum(tf.one_hot(chosen, vocabulary), 1)
            taken += tf.where(done[:, group, None], 0.0, here)
    return Candidates(*(tf.reshape(tf.stack(each, 1), [-1, 2 * width]) for each in zip(*groups, strict=True)))


def _finish(found: Candidates, group: int, state: BeamState, inputs: DecodingInputs, beams: Beams) -> tf.Tensor:
    """Why each candidate of a group ends, if it does: int32 [P, 2 W]."""
    shape, width = tf.shape(found.tokens), beams.size // beams.groups
    budget = tf.reshape(inputs.budget, [-1, beams.groups, width])[:, group, :1]
    finish = tf.where(state.step + 1 >= budget, LENGTH, tf.fill(shape, RUNNING))
    if inputs.shared.stop is not None:
        first = tf.range(shape[0])[:, None] * beams.size + group * width
        before = tf.gather(state.continuations.tokens, tf.reshape(first + found.beams, [-1]), axis=1)
        after = write_step(before, state.step, tf.reshape(found.tokens, [-1]))
        count = tf.fill([tf.size(finish)], state.step + 1)
        finish = tf.where(tf.reshape(has_stop_string(after, count, inputs.shared.stop), shape), STOP, finish)
    return tf.where(found.tokens == inputs.shared.eos_id, EOS, finish)


def _running(candidates: Candidates, width: int | tf.Tensor) -> tf.Tensor:
    """Which candidates go on, or would go on with a larger budget, the best first: int32 [R, W]."""
    ended = (candidates.finish == EOS) | (candidates.finish == STOP)
    scores = tf.where(ended, candidates.scores + _DEAD, candidates.scores)
    return tf.math.top_k(scores, width).indices


def _update_finished(candidates: Candidates, log_probs: tf.Tensor, state: BeamState, beams: Beams) -> Finished:
    """The best of the continuations that had ended and of those that end now. Of the candidates, only the W best may end."""
    old, width = state.finished, beams.size // beams.groups
    among_best = (tf.range(2 * width) < width)[None]
    # A dead beam is a copy of a living one.
    ends = (candidates.finish != RUNNING) & among_best & ~state.done[:, None] & (candidates.scores > _DEAD / 2)
    length = tf.cast(state.step + 1, tf.float32)
    scores = tf.where(ends, candidates.scores / length**beams.length_penalty, _NEVER)
    extended = _extended(state.continuations, candidates, log_probs, state.step)
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
        continuations=Continuations(*(steps_taken(*both) for both in zip(old.continuations, extended, strict=True))),
        scores=best.values,
        num_tokens=taken(old.num_tokens, tf.fill(tf.shape(scores), state.step + 1)),
        finish=taken(old.finish, tf.where(ends, candidates.finish, RUNNING)),
    )


def _is_done(best: tf.Tensor, finished: Finished, step: tf.Tensor, budget: tf.Tensor, beams: Beams) -> tf.Tensor:
    """Whether no running beam can come among the finished ones. best: float32 [R], budget: int32 [R] -> bool [R].

    A longer text may have a better score. If `early_stopping` is False, this assumes the length so far, so it is a guess. If
    it is "never", this assumes the length that gives the best score.
    """
    full = tf.reduce_all(finished.finish != RUNNING, 1)
    if beams.early_stopping is True:
        return full | (best <= _DEAD / 2)
    now = tf.fill(tf.shape(budget), step)
    length = tf.where(beams.length_penalty > 0, budget, now) if beams.early_stopping == "never" else now
    best_possible = best / tf.cast(length, tf.float32) ** beams.length_penalty
    return (full & (best_possible <= finished.scores[:, -1])) | (best <= _DEAD / 2)


def _results(finished: Finished, beams: Beams) -> Results:
    """The `kept` best of all groups."""
    best = tf.math.top_k(tf.reshape(finished.scores, [-1, beams.size]), beams.kept)
    rows = tf.reshape(tf.range(tf.shape(best.indices)[0])[:, None] * beams.size + best.indices, [-1])
    num_tokens, finish = (tf.gather(tf.reshape(each, [-1]), rows) for each in (finished.num_tokens, finished.finish))
    num_tokens = tf.where(finish == RUNNING, 0, num_tokens)
    width = tf.reduce_max(num_tokens)
    there = tf.range(width)[None] < num_tokens[:, None]
    tokens, log_probs = (tf.transpose(tf.gather(each[:width], rows, axis=1)) for each in finished.continuations)
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


def _extended(before: Continuations, by: Candidates, log_probs: tf.Tensor, step: tf.Tensor) -> Continuations:
    """The continuations that the candidates `by` make of those before: [M, R any]. log_probs: float32 [B, V]."""
    rows = _rows(by.beams, tf.shape(before.tokens)[1] // tf.shape(by.beams)[0])
    tokens = tf.reshape(by.tokens, [-1])
    values = tf.gather_nd(log_probs, tf.stack([rows, tokens], 1))
    tokens_before, values_before = (tf.gather(each, rows, axis=1) for each in before)
    return Continuations(write_step(tokens_before, step, tokens), write_step(values_before, step, values))
