"""Extractive question answering, in the graph.

In: questions and contexts, string [B] each. Out: the best span of each context, with its characters and its score.
Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.3.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.data.encoder_inputs import answer_token_mask, build_encoder_inputs, context_windows
from tfllm.features import ANSWER_PLACES
from tfllm.layers.call_options import INFERENCE
from tfllm.prediction.batched_map import map_batches
from tfllm.text.token_offsets import token_offsets
from tfllm.text.words import split_words, valid_utf8, word_pieces
from tfllm.tokenizers import Tokenizer

LEAST_SCORE = -1e4
"""The score of a context without words."""


def find_answers(model: Any, tokenizer: Tokenizer, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
    """The best answer in each context.

        question "Who?", context "It was Ada." -> answer "Ada", start 7, end 10, score 5.2

    Offsets count characters, like those of a Python `str`. An answer consists of whole characters, and may be a part of a word.
    `score` is the logit of the best span minus that of "no answer". If it is below 0, `answer` is "", and `start` and `end` are
    0. A long context is read in overlapping windows.

    Returns:
        `answer` string, `start`, `end` int32, `score` float32; [B] each.
    """
    context = valid_utf8(context)
    words = split_words(context, keep_spaces=tokenizer.keeps_spaces)
    pieces = word_pieces(words.strings, tokenizer, None)
    windows = context_windows(
        tokenizer.tokenize(question), pieces.ids, tokenizer=tokenizer, max_length=model.max_length, stride=model.stride
    )
    rows = build_encoder_inputs(windows.questions, windows.contexts, tokenizer=tokenizer, max_length=model.max_length)

    def spans_of(part: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores = model(part | {ANSWER_PLACES: answer_token_mask(part)}, options=INFERENCE)
        return best_spans(scores, model.longest_answer) | {"none": scores[:, 0, 0] + scores[:, 1, 0]}

    place, number = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
    spans = map_batches(spans_of, rows, {"start": place, "end": place, "score": number, "none": number})
    best, none = _by_text(windows.texts, spans["score"], spans["none"], tf.size(context))
    gain = tf.maximum(tf.gather(spans["score"], best) - none, LEAST_SCORE)
    # Position in the row -> number of the context's token -> characters.
    shown_from = 1 + tf.cast(windows.questions.row_lengths(), tf.int32) + tokenizer.pair_separators
    offset = tf.gather(tf.cast(windows.starts, tf.int32) - shown_from, best) + tf.cast(pieces.ids.row_starts(), tf.int32)
    answered = gain >= 0
    characters_of = token_offsets(words, pieces, tokenizer)

    def characters(name: str, bounds: tf.Tensor) -> tf.Tensor:
        piece = tf.where(answered, offset + tf.gather(spans[name], best), 0)
        # One more value, so that a batch of empty contexts has a value at position 0.
        return tf.where(answered, tf.gather(tf.pad(bounds, [[0, 1]]), piece), 0)

    start, end = characters("start", characters_of.starts), characters("end", characters_of.ends)
    answer = tf.strings.substr(context, start, end - start, unit="UTF8_CHAR")
    return {"answer": answer, "start": start, "end": end, "score": gain}


def best_spans(scores: tf.Tensor, longest: int) -> dict[str, tf.Tensor]:
    """The best span of each row, of at most `longest` tokens and after position 0.

        starts 9 1 5 2, ends 9 0 1 3 -> start 2, end 3, score 8

    Args:
        scores: float32 [N, 2, S]: for each position the logit of a start and of an end.

    Returns:
        `start`, `end` int32 [N], `score` float32 [N].
    """
    size = tf.shape(scores)[2]
    column = tf.range(size)
    distance = column[None] - column[:, None]
    allowed = (distance >= 0) & (distance < longest) & (column[:, None] > 0)
    together = tf.where(allowed, scores[:, 0, :, None] + scores[:, 1, None, :], tf.float32.min)
    flat = tf.reshape(together, [-1, size * size])
    best = tf.argmax(flat, 1, output_type=tf.int32)
    return {"start": best // size, "end": best % size, "score": tf.reduce_max(flat, 1)}


def _by_text(texts: tf.Tensor, scores: tf.Tensor, none: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For each text the number of its best row, and the lowest score of "no answer" (Devlin et al. 2018, 4.3). [B] each."""
    highest = tf.math.unsorted_segment_max(scores, texts, count)
    is_best = scores >= tf.gather(highest, texts)
    rows = tf.range(tf.size(texts))
    best = tf.math.unsorted_segment_min(tf.where(is_best, rows, tf.size(texts)), texts, count)
    return best, tf.math.unsorted_segment_min(none, texts, count)
