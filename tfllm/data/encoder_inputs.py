"""Rows of an encoder from the ids of one text or of two: [CLS] text [SEP], or [CLS] text [SEP] text [SEP].

In: ragged ids [B, (ids)]. Out: TOKEN_IDS, SEGMENT_IDS and TYPE_IDS int32 [B, S]; and contexts cut into overlapping windows.
Runs in the graph; training data and exported models use the same functions.
Source: Devlin et al. 2018 (arXiv 1810.04805). Long pairs are truncated as Hugging Face's `tokenizers` does ("longest first").
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfllm import features
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import num_special_tokens, text_budget, truncate_longest_first

MULTIPLE = 16
"""Rows are padded to a multiple of it: few shapes, and whole vectors."""


@dataclass(frozen=True)
class Windows:
    """Questions and contexts cut into rows, N ≥ B of them, a text's rows one after the other."""

    questions: tf.RaggedTensor
    """int32 [N, (question)]."""
    contexts: tf.RaggedTensor
    """int32 [N, (context)]: the part of the context that the row shows."""
    texts: tf.Tensor
    """int32 [N]: number of the text in the batch."""
    starts: tf.Tensor
    """int32 [N]: place of the part in its context."""


def build_encoder_inputs(
    first: tf.RaggedTensor,
    second: tf.RaggedTensor | None = None,
    *,
    tokenizer: Tokenizer,
    max_length: int,
    multiple: int = MULTIPLE,
    longest: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Rows of one text or of two, as encoders read them. Texts too long are cut at their ends.

        first 7 8 9, cls 1, sep 2, pad 0, max_length 4, multiple 4
        -> token_ids 1 7 8 2, segment_ids 1 1 1 1, type_ids 0 0 0 0
        first 7 8 | 7, second 5 | 5 6, one separator, max_length 6, multiple 4
        -> token_ids   1 7 8 2 5 2 | 1 7 2 5 6 2
           segment_ids 1 1 1 1 1 1 | 1 1 1 1 1 1
           type_ids    0 0 0 0 1 1 | 0 0 0 1 1 1
        first 7, second 5, two separators, max_length 8, multiple 4
        -> token_ids   1 7 2 2 5 2 0 0
           segment_ids 1 1 1 1 1 1 0 0
           type_ids    0 0 0 0 1 1 0 0

    Args:
        first, second: int32 [B, (ids)], no specials.
        tokenizer: its specials and separators.
        max_length: of a row, specials included.
        multiple: S is the longest row of the batch, up to a multiple of this, and max_length at most.
        longest: int32 [], of rows that are a part of a batch: tokens of its longest row, wherever that is.

    Returns:
        TOKEN_IDS, SEGMENT_IDS, TYPE_IDS, int32 [B, S].
    """
    budget = text_budget(tokenizer, max_length, pair=second is not None)
    lengths = tf.cast(first.row_lengths(), tf.int32)
    if second is None:
        of_first, of_second = tf.minimum(lengths, budget), tf.zeros_like(lengths)
        between = 1
    else:
        others = tf.cast(second.row_lengths(), tf.int32)
        of_first, of_second = truncate_longest_first(lengths, others, budget, minimum=tf.minimum, maximum=tf.maximum)
        between = tokenizer.pair_separators
    before_second = 1 + of_first + between
    used = before_second if second is None else before_second + of_second + 1
    width = padded_length(used if longest is None else tf.maximum(used, longest), max_length, multiple)
    column = tf.range(width)[None]
    there = column < used[:, None]
    ids = tf.where(there, tokenizer.sep_id, tokenizer.pad_id)
    ids = tf.where(column == 0, tokenizer.cls_id, ids)
    ids = write_rows(first, ids, at=tf.ones_like(lengths), count=of_first)
    types = tf.zeros_like(ids)
    if second is not None:
        ids = write_rows(second, ids, at=before_second, count=of_second)
        types = tf.cast(there & (column >= before_second[:, None]), tf.int32)
    return {features.TOKEN_IDS: ids, features.SEGMENT_IDS: tf.cast(there, tf.int32), features.TYPE_IDS: types}


def padded_length(used: tf.Tensor, max_length: int, multiple: int = MULTIPLE) -> tf.Tensor:
    """S of a batch whose rows use so many places. int32 [B] -> int32 []. 3 17, multiple 16 -> 32; of max_length 20 -> 20."""
    longest = tf.reduce_max(tf.concat([used, [1]], axis=0))
    return tf.minimum((longest + multiple - 1) // multiple * multiple, max_length)


def write_rows(values: tf.RaggedTensor, onto: tf.Tensor, *, at: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Each row's first `count` values written over a row, from place `at` on.

        values 7 8 9 | 5, onto 0 0 0 0 | 0 0 0 0, at 1 2, count 2 1 -> 0 7 8 0 | 0 0 5 0

    Args:
        values: [B, (n)].
        onto: [B, S], the same dtype.
        at, count: int32 [B].
    """
    place = tf.range(tf.shape(onto)[1])[None] - at[:, None]
    inside = (place >= 0) & (place < count[:, None])
    starts = tf.cast(values.row_starts(), tf.int32)[:, None]
    # One value more, so that a batch without any has something at place 0.
    flat = tf.concat([values.values, tf.zeros([1], values.dtype)], axis=0)
    return tf.where(inside, tf.gather(flat, tf.where(inside, starts + place, 0)), onto)


def answer_token_mask(framed: dict[str, tf.Tensor]) -> tf.Tensor:
    """Where an answer may begin or end: the tokens of the second text, and place 0 for none.

        segment_ids 1 1 1 1 1 1 0 0        question 7, context 5 6: token_ids 1 7 2 5 6 2 0 0
        type_ids    0 0 0 1 1 1 0 0
        ->          1 0 0 1 1 0 0 0

    Args:
        framed: TYPE_IDS and SEGMENT_IDS of `build_encoder_inputs`, int32 [B, S].

    Returns:
        int32 [B, S].
    """
    types = framed[features.TYPE_IDS]
    follows = tf.pad(types[:, 1:], [[0, 0], [0, 1]])
    return tf.where(tf.range(tf.shape(types)[1])[None] == 0, 1, types * follows)


def context_windows(
    questions: tf.RaggedTensor,
    contexts: tf.RaggedTensor,
    *,
    tokenizer: Tokenizer,
    max_length: int,
    stride: int,
) -> Windows:
    """Contexts cut into overlapping windows, so that each row fits with its question. Nothing of a context is left out.

        question 7, context 1 2 3 4 5 6, max_length 8 (3 specials, so 4 of the context a row), stride 2
        -> contexts 1 2 3 4 | 3 4 5 6, starts 0 2, texts 0 0
        question 7 7 7 7, context 1, max_length 8 -> question 7 7 7 7, context 1
        question 7 7 7 7, context 1 2 3, max_length 8 -> question 7 7, context 1 2 3

    Where both do not fit, a question keeps its beginning: what a short context leaves, or a third of the places for text.

    Args:
        questions, contexts: int32 [B, (ids)], no specials.
        stride: ids of the context that neighbouring windows share. (Hugging Face's meaning, not the 2018 code's.)

    Returns:
        Rows that `build_encoder_inputs` lays out uncut.
    """
    budget = max_length - num_special_tokens(tokenizer, pair=True)
    lengths = tf.cast(contexts.row_lengths(), tf.int32)
    limit = tf.maximum(question_limit(tokenizer, max_length, stride), budget - tf.maximum(lengths, 1))
    asked = tf.minimum(tf.cast(questions.row_lengths(), tf.int32), limit)
    room = budget - asked
    step = tf.maximum(room - stride, 1)
    counts = 1 + (tf.maximum(lengths - room, 0) + step - 1) // step
    texts = tf.repeat(tf.range(tf.size(counts)), counts)
    starts = tf.ragged.range(counts).values * tf.gather(step, texts)
    ends = tf.minimum(starts + tf.gather(room, texts), tf.gather(lengths, texts))
    places = tf.ragged.range(starts, ends) + tf.gather(tf.cast(contexts.row_starts(), tf.int32), texts)[:, None]
    return Windows(
        questions=tf.gather(tf.ragged.boolean_mask(questions, _first(questions, asked)), texts),
        contexts=places.with_values(tf.gather(contexts.values, places.values)),
        texts=texts,
        starts=starts,
    )


def question_limit(tokenizer: Tokenizer, max_length: int, stride: int) -> int:
    """How many ids of a question a row keeps beside a long context; ValueError where windows have no place to advance."""
    budget = max_length - num_special_tokens(tokenizer, pair=True)
    limit = budget // 3
    if limit < 1 or not 0 <= stride < budget - limit:
        raise ValueError(
            f"max_length={max_length} and stride={stride}: a question may take {limit} places, so windows show "
            f"{budget - limit} ids of the context at least. Give a stride from 0 to below that."
        )
    return limit


def _first(values: tf.RaggedTensor, count: tf.Tensor) -> tf.RaggedTensor:
    """bool [B, (n)]: the first `count` of each row."""
    lengths = tf.cast(values.row_lengths(), tf.int32)
    return values.with_values(tf.ragged.range(lengths).values < tf.repeat(count, lengths))
