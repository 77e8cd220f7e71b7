"""Contrastive search (Su et al. 2022), in the graph: of the k most probable tokens the one that is least like what was said.

Enters: a model with the cached forward, prompts, one setting a row. Leaves: what `decode.py` leaves. A candidate v scores
(1 - alpha) p(v) - alpha max_j cos(h_v, h_j): h are the last layer's outputs, of the candidate and of every token before it.
So each step reads k candidates; the chosen one's scores of the next token come with it.

    candidates   p    most like a token before    alpha 0.6: score
    "the"       0.6           0.9                      -0.30
    "a"         0.3           0.2                       0.00         chosen
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation import decode
from tfllm.generation.cache_rows import reordered
from tfllm.generation.decode import Task, matrices_cast_once, places_of, written
from tfllm.generation.penalties import FORBIDDEN, Past, adjust
from tfllm.generation.reading import Prompts, Reader, features_of, reader_of
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import Contrast, Rules
from tfllm.layers.cache import Cache

_LEAST_COSINE = -1.0


class State(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop`. B rows, each k times in the cache: D is the hidden size."""

    said: decode.State
    logits: tf.Tensor
    """float32 [B, V], of the token to come."""
    prompt: tf.Tensor
    """float32 [B, S, D]: the prompt's hidden states, of length 1."""
    hidden: tf.Tensor
    """float32 [M, B, D]: those of the tokens chosen."""

    @property
    def cache(self) -> Cache:
        return self.said.cache

    def with_cache(self, cache: Cache) -> State:
        return self._replace(said=self.said.with_cache(cache))


class _Seeing:
    """A model as readers take it, whose head shows the hidden states as they are."""

    def __init__(self, model: Any):
        self.config, self.stack, self.new_cache = model.config, model.stack, model.new_cache

    def head(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden


def search(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules) -> decode.Results:
    """Continues every prompt until all have ended. prompts, settings: P rows; those of sampling are not looked at."""
    with matrices_cast_once(model):
        state = begin(model, prompts, settings, rules)
        return decode.results(advance(model, prompts, settings, rules, state=state, until=tf.int32.max).said)


def begin(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules) -> State:
    """Reads the prompts and chooses the first tokens."""
    assert rules.contrast is not None
    task = decode.task_of(model, prompts, settings, rules)
    room, reader = tf.maximum(tf.reduce_max(task.budget), 1), reader_of(_Seeing(model))
    last, cache = reader.prompts(prompts, rules.contrast.candidates, decode.slots_for(model, prompts, room))
    last = last[:: rules.contrast.candidates]
    state = State(
        said=decode.empty_state(task, room, cache),
        logits=model.head(last),
        prompt=_hidden_of(model, prompts),
        hidden=tf.zeros([room, tf.shape(last)[0], last.shape[1]]),
    )
    return _step(model, reader, state, task, rules.contrast)


def advance(
    model: Any, prompts: Prompts, settings: RowSettings, rules: Rules, *, state: State, until: int | tf.Tensor
) -> State:
    """Goes on until `until` tokens are chosen in all, or every row has ended."""
    contrast = rules.contrast
    assert contrast is not None
    task = decode.task_of(model, prompts, settings, rules)
    reader = reader_of(_Seeing(model))

    def unfinished(state: State) -> tf.Tensor:
        return (state.said.step < until) & tf.reduce_any(state.said.finish == decode.RUNNING)

    def body(state: State) -> tuple[State]:
        return (_step(model, reader, state, task, contrast),)

    return decode.growing(unfinished, body, state)


def _step(model: Any, reader: Reader, state: State, task: Task, contrast: Contrast) -> State:
    """Chooses one more token a row, among candidates that are read all."""
    said, k = state.said, contrast.candidates
    past = Past(task.prompts, said.tokens, said.num_tokens, said.place)
    scores = adjust(state.logits, past, task.settings, task.rules, wanted=task.penalised)
    best = tf.math.top_k(scores, k)
    places = places_of(model.config, task.prompts.lengths, said.num_tokens + 1)
    hidden, cache = reader.tokens(tf.reshape(best.indices, [-1]), tf.repeat(places, k), said.cache)
    seen = tf.reshape(_unit(hidden), [-1, k, hidden.shape[1]])
    probabilities = tf.gather(tf.nn.softmax(scores), best.indices, batch_dims=1)
    ranks = rank(probabilities, _likeness(seen, state, task.prompts.lengths), contrast.alpha)
    # What is forbidden must not win by being unlike everything.
    pick = tf.argmax(tf.where(probabilities > 0, ranks, FORBIDDEN), 1, output_type=tf.int32)
    rows = tf.range(tf.size(pick)) * k + pick
    chosen = tf.gather(best.indices, pick, batch_dims=1)
    said = said._replace(cache=reordered(cache, tf.repeat(rows, k)))
    return State(
        said=decode.extended(said, chosen, state.logits, task),
        logits=model.head(tf.gather(hidden, rows)),
        prompt=state.prompt,
        hidden=written(state.hidden, said.step, tf.gather(seen, pick, batch_dims=1)),
    )


def rank(probabilities: tf.Tensor, likeness: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """The candidates' scores, as in the table above. float32 [B, k], [B, k], [] -> [B, k]."""
    return (1 - alpha) * probabilities - alpha * likeness


def _likeness(seen: tf.Tensor, state: State, lengths: tf.Tensor) -> tf.Tensor:
    """The cosine between each candidate and the token before it that is most like it. [B, k, D] -> [B, k]."""
    in_prompt = tf.range(tf.shape(state.prompt)[1])[None] < lengths[:, None]
    to_prompt = tf.einsum("bkd,bsd->bks", seen, state.prompt)
    to_prompt = tf.reduce_max(tf.where(in_prompt[:, None], to_prompt, _LEAST_COSINE), 2)
    to_said = tf.einsum("bkd,mbd->bkm", seen, state.hidden)
    was_said = tf.range(tf.shape(state.hidden)[0]) < state.said.step
    return tf.maximum(to_prompt, tf.reduce_max(tf.where(was_said, to_said, _LEAST_COSINE), 2))


def _hidden_of(model: Any, prompts: Prompts) -> tf.Tensor:
    """Every token's hidden state, of length 1: [B, S, D]. A second reading, for a reader shows the last token only."""
    rows, longest = tf.unstack(tf.shape(prompts.token_ids))
    return _unit(model.stack(features_of(prompts), cache=model.new_cache(rows, longest))[0])


def _unit(hidden: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(tf.cast(hidden, tf.float32), -1)
