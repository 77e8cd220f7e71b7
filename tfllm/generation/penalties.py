"""How the tokens so far change the logits of the next token: pure functions, logits -> logits.

Input: logits [B, V], the tokens so far, and the settings. Output: logits, -infinity where a token is forbidden.
`adjust_logits` is the whole pipeline, in the order in which it acts. Sources: Keskar et al. 2019 (repetition penalty),
OpenAI's API reference (frequency and presence penalty, logit bias), Paulus et al. 2017 (no repeated n-grams).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.constraints import allowed_tokens
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import ANY_TOKEN, SharedSettings

FORBIDDEN = float("-inf")
# After a row's end. It equals no token, and `counts` does not count it.
_NO_TOKEN = tf.int32.max


class Past(NamedTuple):
    """The tokens so far."""

    prompts: Prompts
    """B rows."""
    tokens: tf.Tensor
    """int32 [M, B]: the continuations, one step in each row of the tensor."""
    num_tokens: tf.Tensor
    """int32 [B]: how many each continuation has."""
    automaton_state: tf.Tensor
    """int32 [B]: the row's state in `SharedSettings.automaton`, if there is one."""


def penalties_wanted(settings: RowSettings) -> tf.Tensor:
    """Does any row have a setting for which `adjust_logits` must look at the tokens so far? bool []."""
    return tf.reduce_any(
        (settings.repetition_penalty != 1)
        | (settings.frequency_penalty != 0)
        | (settings.presence_penalty != 0)
        | (settings.no_repeat_ngram_size > 0)
        | (settings.min_new_tokens > 0)
    )


def adjust_logits(
    logits: tf.Tensor, past: Past, settings: RowSettings, shared: SharedSettings, *, wanted: tf.Tensor
) -> tf.Tensor:
    """The scores from which the next token is chosen, after bias, automaton, penalties, n-grams, minimum length and bad words.

    If a row would have no token left, n-grams, minimum length and bad words are ignored for this step. The automaton never is.

    Args:
        logits: float32 [B, V].
        wanted: bool [], `penalties_wanted(settings)`, computed once and not at every step.

    Returns:
        float32 [B, V].
    """
    vocabulary = tf.shape(logits)[1]
    scores = logits if shared.bias is None else logits + shared.bias
    if shared.automaton is not None:
        scores = forbid(scores, ~allowed_tokens(shared.automaton, past.automaton_state, vocabulary))
    unchanged = scores
    scores = tf.cond(wanted, lambda: _by_row(unchanged, past, settings, shared), lambda: unchanged)
    if shared.bad_words is None:
        return scores
    completing = completes(last_tokens(past, shared.bad_words.shape[1] - 1), shared.bad_words, vocabulary)
    return _unless_none_is_left(forbid(scores, completing), scores)


def _by_row(logits: tf.Tensor, past: Past, settings: RowSettings, shared: SharedSettings) -> tf.Tensor:
    """Applies the settings of each row. Each is computed only if some row has it."""
    vocabulary = tf.shape(logits)[1]
    history, early = prompt_and_continuation(past), past.num_tokens < settings.min_new_tokens

    def with_repetition_penalty(scores: tf.Tensor) -> tf.Tensor:
        seen = (counts(history, vocabulary) > 0) & ~_is_any(vocabulary, shared.eos_id, shared.bos_id)
        return apply_repetition_penalty(scores, seen, settings.repetition_penalty)

    def with_counts(scores: tf.Tensor) -> tf.Tensor:
        present = tf.range(tf.shape(past.tokens)[0])[:, None] < past.num_tokens
        counted = counts(tf.transpose(tf.where(present, past.tokens, _NO_TOKEN)), vocabulary)
        return apply_count_penalties(scores, counted, frequency=settings.frequency_penalty, presence=settings.presence_penalty)

    def without_repeats(scores: tf.Tensor) -> tf.Tensor:
        lengths = past.prompts.lengths + past.num_tokens
        repeating = repeats(history, lengths, settings.no_repeat_ngram_size, vocabulary)
        return forbid(scores, repeating & ~_is_any(vocabulary, shared.eos_id))

    def without_separator(scores: tf.Tensor) -> tf.Tensor:
        return forbid(scores, early[:, None] & _is_any(vocabulary, shared.eos_id))

    scores = _where_any(settings.repetition_penalty != 1, with_repetition_penalty, logits)
    scores = _where_any((settings.frequency_penalty != 0) | (settings.presence_penalty != 0), with_counts, scores)
    penalised_only = scores
    scores = _where_any(settings.no_repeat_ngram_size > 0, without_repeats, scores)
    scores = _where_any(early, without_separator, scores)
    return _unless_none_is_left(scores, penalised_only)


def apply_repetition_penalty(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Makes tokens that occurred less probable (more probable, if the penalty is below 1).

        logits   2.0 -1.0  0.5
        seen     yes  yes   no
        penalty  2.0
        result   1.0 -2.0  0.5

    Args:
        logits: float32 [B, V]. seen: bool [B, V]. penalty: float32 [B], above 0.
    """
    penalty = penalty[:, None]
    return tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def apply_count_penalties(logits: tf.Tensor, counts: tf.Tensor, *, frequency: tf.Tensor, presence: tf.Tensor) -> tf.Tensor:
    """Subtracts `frequency` for each time a token occurred, and `presence` once if it occurred.

        logits     2.0 -1.0  0.5
        counts      2    1    0
        frequency  0.5                 presence  0.25
        result    0.75 -1.75 0.5

    Args:
        logits: float32 [B, V]. counts: int32 [B, V]. frequency, presence: float32 [B].
    """
    occurred = tf.cast(counts > 0, logits.dtype)
    return logits - tf.cast(counts, logits.dtype) * frequency[:, None] - occurred * presence[:, None]


def forbid(logits: tf.Tensor, forbidden: tf.Tensor) -> tf.Tensor:
    """-infinity where `forbidden`. float32 [B, V], bool [B, V] -> float32 [B, V]."""
    return tf.where(forbidden, FORBIDDEN, logits)


def repeats(ids: tf.Tensor, lengths: tf.Tensor, size: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """The tokens that would complete an n-gram that already occurred in the row.

        ids      5 6 7 5 6       size  3        repeating  {7}     5 6 7 is there
                 5 5 .           size  1                   {5}

    Args:
        ids: int32 [B, S], without gaps. lengths: int32 [B]. size: int32 [B], n; 0 is off.

    Returns:
        bool [B, V].
    """
    position = tf.range(tf.shape(ids)[1])[None]
    # Of the n-gram that ends at each position: are the tokens before the last those that the row ends with?
    same = (position < lengths[:, None]) & (position >= size[:, None] - 1) & (size > 0)[:, None]

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


def prompt_and_continuation(past: Past) -> tf.Tensor:
    """Prompt and continuation without the padding between them: int32 [B, S + most], `_NO_TOKEN` after the end."""
    longest, most = tf.shape(past.prompts.token_ids)[1], tf.reduce_max(past.num_tokens)
    lengths = past.prompts.lengths[:, None]
    position = tf.range(longest + most)[None]
    source = tf.where(position < lengths, position, position - lengths + longest)
    present = position < lengths + past.num_tokens[:, None]
    joined = tf.concat([past.prompts.token_ids, tf.transpose(past.tokens[:most])], 1)
    return tf.where(present, tf.gather(joined, tf.where(present, source, 0), batch_dims=1), _NO_TOKEN)


def counts(ids: tf.Tensor, vocabulary: int | tf.Tensor) -> tf.Tensor:
    """How often each token occurs in each row. int32 [B, S] -> int32 [B, V]."""
    return tf.math.bincount(ids, minlength=vocabulary, maxlength=vocabulary, axis=-1)


def last_tokens(past: Past, count: int) -> tf.Tensor:
    """The last `count` tokens of each row, int32 [B, count]; `_NO_TOKEN` where the row has fewer."""
    positions = (past.prompts.lengths + past.num_tokens)[:, None] - tf.range(count, 0, -1)[None]
    found = tf.gather(prompt_and_continuation(past), tf.maximum(positions, 0), batch_dims=1)
    return tf.where(positions >= 0, found, _NO_TOKEN)


def _is_any(vocabulary: tf.Tensor, *ids: int) -> tf.Tensor:
    """bool [1, V]: true at `ids`."""
    return tf.reduce_any(tf.range(vocabulary)[None, :, None] == list(ids), 2)


def _where_any(wanted: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], scores: tf.Tensor) -> tf.Tensor:
    """`change(scores)` if any row wants it. Rows that do not want it have settings with no effect. wanted: bool [B]."""
    return tf.cond(tf.reduce_any(wanted), lambda: change(scores), lambda: scores)


def _unless_none_is_left(scores: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    """`scores`, but `otherwise` in rows where every token is forbidden."""
    return tf.where(tf.reduce_max(scores, 1, keepdims=True) == FORBIDDEN, otherwise, scores)
