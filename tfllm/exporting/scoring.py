"""How probable whole texts are, in the graph, texts longer than the context included."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.features import SEGMENT_IDS, TOKEN_IDS
from tfllm.tokenizers import Tokenizer
from tfllm.train.losses import token_log_probs


class Scores(NamedTuple):
    """Each [B]."""

    log_prob: tf.Tensor
    """float32: in nats, of all tokens and of the separator that closes the text."""
    num_tokens: tf.Tensor
    """int32: tokens scored, the closing separator included."""


def score(model: Any, tokenizer: Tokenizer, texts: tf.Tensor) -> Scores:
    """log p(text), the text taken as a whole document: opened as a prompt is, and closed by the separator.

    A text of more than `max_length` tokens is read in windows of `max_length`, each half a window further on; the first
    counts all its tokens, the others their second half. So every token is scored once, with at least half a window before it.
    With a window of 4 (`o` is read, `x` is read and counted):

        x x x x
            o o x x
                o o x x
    """
    ids = tokenizer.tokenize(texts)
    opening, closing = (tf.fill([tf.size(texts), 1], id) for id in (tokenizer.bos_id, tokenizer.eos_id))
    read = tf.concat([opening, ids], 1).to_tensor(tokenizer.pad_id)
    targets = tf.concat([ids, closing], 1).to_tensor(tokenizer.pad_id)
    lengths = tf.cast(ids.row_lengths(), tf.int32) + 1
    longest = tf.shape(read)[1]
    width, stride = tf.minimum(longest, model.config.max_length), max(1, model.config.max_length // 2)
    behind = (width - longest) % stride
    read, targets = (tf.pad(each, [[0, 0], [0, behind]]) for each in (read, targets))

    def window(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = slice(start, start + width)
        there = (start + tf.range(width))[None] < lengths[:, None]
        counted = there & ((tf.range(width) >= width - stride) | (start == 0))[None]
        features = {TOKEN_IDS: read[:, part], SEGMENT_IDS: tf.cast(there, tf.int32)}
        hidden = tf.reshape(model.stack(features), [-1, model.config.hidden_size])
        log_probs = token_log_probs(
            hidden, model.head, targets=tf.reshape(targets[:, part], [-1]), vocab_size=model.config.vocab_size
        )
        log_probs = tf.where(counted, tf.reshape(log_probs, tf.shape(counted)), 0.0)
        return start + stride, total + tf.reduce_sum(log_probs, 1)

    _, total = tf.while_loop(
        lambda start, _: (start == 0) | (start + width <= longest + behind),
        window,
        [tf.constant(0), tf.zeros_like(lengths, tf.float32)],
        parallel_iterations=1,
    )
    return Scores(total, lengths)
