"""What a row has said changes the scores of what it may say next: pure functions, logits -> logits.

Enters: logits [B, V], the tokens so far, one setting a row. Leaves: logits, -infinity where a token is forbidden. `adjust` is
the whole pipeline, in the order in which it acts. Sources: Keskar et al. 2019 (repetition penalty), OpenAI's API reference
(frequency and presence penalty, logit bias), Paulus et al. 2017 (no repeated n-grams).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.constraints import allowed
from tfllm.generation.reading import Prompts
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import ANY_TOKEN, Rules

FORBIDDEN = float("-inf")
# Behind a row's end: equal to no token, and counted by no bin.
_NO_TOKEN = tf.int32.max


class Past(NamedTuple):
    """The tokens before the one to come."""

    prompts: Prompts
    """B rows."""
    tokens: tf.Tensor
    """int32 [M, B]: the continuations, a step a row."""
    num_tokens: tf.Tensor
    """int32 [B]: how many each continuation has."""
    place: tf.Tensor
    """int32 [B]: the state of `Rules.automaton`, if there is one."""


def penalties_wanted(settings: RowSettings) -> tf.Tensor:
    """Does any row have a setting that `adjust` must look at? bool []."""
    return tf.reduce_any(
        (settings.repetition_penalty != 1)
        | (settings.frequency_penalty != 0)
        | (settings.presence_penalty != 0)
        | (settings.no_repeat_ngram_size > 0)
        | (settings.min_new_tokens > 0)
    )


def adjust(logits: tf.Tensor, past: Past, settings: RowSettings, rules: Rules, *, wanted: tf.Tensor) -> tf.Tensor:
    """The scores from which the next token is chosen: bias, what is allowed at all, penalties, what is forbidden.

    Where that would leave a row no token, its prohibitions do not hold for this step; the automaton's always do.

    Args:
        logits: float32 [B, V].
        wanted: bool [], `penalties_wanted(settings)`: asked once, not at every step.

    Returns:
        float32 [B, V].
    """
    vocabulary = tf.shape(logits)[1]
    scores = logits if rules.bias is None else logits + rules.bias
    if rules.automaton is not None:
        scores = forbid(scores, ~allowed(rules.automaton, past.place, vocabulary))
    unchanged = scores
    scores = tf.cond(wanted, lambda: _by_row(unchanged, past, settings, rules), lambda: unchanged)
    if rules.bad_words is None:
        return scores
    completing = completes(last_tokens(past, rules.bad_words.shape[1] - 1), rules.bad_words, vocabulary)
    return _unless_none_is_left(forbid(scores, completing), scores)


def _by_row(logits: tf.Tensor, past: Past, settings: RowSettings, rules: Rules) -> tf.Tensor:
    """The settings that a row has for itself. Each is computed only where some row wants it."""
    vocabulary = tf.shape(logits)[1]
    history, early = written_out(past), past.num_tokens < settings.min_new_tokens

    def penalised(scores: tf.Tensor) -> tf.Tensor:
        seen = (counts(history, vocabulary) > 0) & ~_is_any(vocabulary, rules.eos_id, rules.bos_id)
        return penalise(scores, seen, settings.repetition_penalty)

    def discounted(scores: tf.Tensor) -> tf.Tensor:
        there = tf.range(tf.shape(past.tokens)[0])[:, None] < past.num_tokens
        said = counts(tf.transpose(tf.where(there, past.tokens, _NO_TOKEN)), vocabulary)
        return discount(scores, said, frequency=settings.frequency_penalty, presence=settings.presence_penalty)

    def unrepeated(scores: tf.Tensor) -> tf.Tensor:
        lengths = past.prompts.lengths + past.num_tokens
        repeating = repeats(history, lengths, settings.no_repeat_ngram_size, vocabulary)
        return forbid(scores, repeating & ~_is_any(vocabulary, rules.eos_id))

    def unfinished(scores: tf.Tensor) -> tf.Tensor:
        return forbid(scores, early[:, None] & _is_any(vocabulary, rules.eos_id))

    scores = _where_any(settings.repetition_penalty != 1, penalised, logits)
    scores = _where_any((settings.frequency_penalty != 0) | (settings.presence_penalty != 0), discounted, scores)
    penalised_only = scores
    scores = _where_any(settings.no_repeat_ngram_size > 0, unrepeated, scores)
    scores = _where_any(early, unfinished, scores)
    return _unless_none_is_left(scores, penalised_only)


def penalise(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Makes tokens that were seen less probable (or more, below 1).

        logits   2.0 -1.0  0.5
        seen     yes  yes   no
        penalty  2.0
        result   1.0 -2.0  0.5

    Args:
        logits: float32 [B, V]. seen: bool [B, V]. penalty: float32 [B], above 0.
    """
    penalty = penalty[:, None]
    return tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def discount(logits: tf.Tensor, counts: tf.Tensor, *, frequency: tf.Tensor, presence: tf.Tensor) -> tf.Tensor:
    """Subtracts `frequency` for each time a token was said, and `presence` once if it was.

        logits     2.0 -1.0  0.5
        counts      2    1    0
        frequency  0.5                 presence  0.25
        result    0.75 -1.75 0.5

    Args:
        logits: float32 [B, V]. counts: int32 [B, V]. frequency, presence: float32 [B].
    """
    said = tf.cast(counts > 0, logits.dtype)
    return logits - tf.cast(counts, logits.dtype) * frequency[:, None] - said * presence[:, None]


def forbid(logits: tf.Tensor, forbidden: tf.Tensor) -> tf.Tensor:
    """-infinity where `forbidden`. float32 [B, V], bool [B, V] -> float32 [B, V]."""
    return tf.where(forbidden, FORBIDDEN, logits)


def repeats(ids: tf.Tensor, lengths: tf.Tensor, size: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """The tokens that would complete an n-gram that a row has already.

        ids      5 6 7 5 6       size  3        repeating  {7}     5 6 7 is there
                 5 5 .           size  1                   {5}

    Args:
        ids: int32 [B, S], without gaps. lengths: int32 [B]. size: int32 [B], n; 0 is off.

    Returns:
        bool [B, V].
    """
    place = tf.range(tf.shape(ids)[1])[None]
    # Of the n-gram that ends at each place: are the tokens before the last those that the row ends with?
    same = (place < lengths[:, None]) & (place >= size[:, None] - 1) & (size > 0)[:, None]

    def compare(back: tf.Tensor, same: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        end = tf.gather(ids, tf.maximum(lengths - back, 0), batch_dims=1)
        return back + 1, same & ((tf.roll(ids, back, axis=1) == end[:, None]) | (back >= size)[:, None])

    longest = tf.minimum(tf.reduce_max(size), tf.shape(ids)[1] + 1)
    same = tf.while_loop(lambda back, _: back < longest, compare, [tf.constant(1), same])[1]
    return counts(tf.where(same, ids, _NO_TOKEN), vocabulary) > 0


def completes(last: tf.Tensor, sequences: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """The tokens that would complete one of the sequences.

        last  8 5     sequences  -1 5 6      completing  {6, 9}
              5 7                 5 7 9                  {9}
                                 -1 . 9  (one token)     (. is -1)

    Args:
        last: int32 [B, L-1], what rows end with. sequences: int32 [N, L], ANY_TOKEN before each.

    Returns:
        bool [B, V].
    """
    begun = tf.reduce_all((sequences[:, :-1] == last[:, None]) | (sequences[:, :-1] == ANY_TOKEN), 2)
    by_token = tf.math.unsorted_segment_max(tf.cast(tf.transpose(begun), tf.int32), sequences[:, -1], vocabulary)
    return tf.transpose(by_token) > 0


def written_out(past: Past) -> tf.Tensor:
    """Prompt and continuation without the padding between them: int32 [B, S + most], `_NO_TOKEN` behind the end."""
    longest, most = tf.shape(past.prompts.token_ids)[1], tf.reduce_max(past.num_tokens)
    lengths = past.prompts.lengths[:, None]
    place = tf.range(longest + most)[None]
    source = tf.where(place < lengths, place, place - lengths + longest)
    there = place < lengths + past.num_tokens[:, None]
    apart = tf.concat([past.prompts.token_ids, tf.transpose(past.tokens[:most])], 1)
    return tf.where(there, tf.gather(apart, tf.where(there, source, 0), batch_dims=1), _NO_TOKEN)


def counts(ids: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """How often each token stands in each row. int32 [B, S] -> int32 [B, V]."""
    return tf.math.bincount(ids, minlength=vocabulary, maxlength=vocabulary, axis=-1)


def last_tokens(past: Past, count: int) -> tf.Tensor:
    """The last `count` tokens of each row, int32 [B, count]; `_NO_TOKEN` before its beginning."""
    places = (past.prompts.lengths + past.num_tokens)[:, None] - tf.range(count, 0, -1)[None]
    found = tf.gather(written_out(past), tf.maximum(places, 0), batch_dims=1)
    return tf.where(places >= 0, found, _NO_TOKEN)


def _is_any(vocabulary: tf.Tensor, *ids: int) -> tf.Tensor:
    """bool [1, V]: true at `ids`."""
    return tf.reduce_any(tf.range(vocabulary)[None, :, None] == list(ids), 2)


def _where_any(wanted: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], scores: tf.Tensor) -> tf.Tensor:
    """`change(scores)` if any row wants it; rows that do not are left by their own setting. wanted: bool [B]."""
    return tf.cond(tf.reduce_any(wanted), lambda: change(scores), lambda: scores)


def _unless_none_is_left(scores: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    """Rows whose every token is forbidden are as before."""
    return tf.where(tf.reduce_max(scores, 1, keepdims=True) == FORBIDDEN, otherwise, scores)
