"""Predictions for whole texts in the graph: a label, a number or a vector.

In: string tensors [B]. Out: a dict of tensors [B, …].
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.layers.call_options import INFERENCE
from tfllm.tokenizers import Tokenizer

Answers = dict[str, tf.Tensor]


def classify(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answers:
    """The labels of texts or pairs.

    Returns:
        The most probable `label`, string [B], and its probability `score`, float32 [B]; all `labels`, string [B, C], and their
        `probabilities`, float32 [B, C].
    """
    probabilities = model.probabilities(model(_inputs(model, tokenizer, text, text_pair), options=INFERENCE))
    names = tf.constant(model.labels)
    best = tf.argmax(probabilities, 1, output_type=tf.int32)
    return {
        "label": tf.gather(names, best),
        "score": tf.reduce_max(probabilities, 1),
        "labels": tf.tile(names[None], [tf.size(text), 1]),
        "probabilities": probabilities,
    }


def rate(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answers:
    """A number for each text or pair: `value`, float32 [B]."""
    return {"value": model(_inputs(model, tokenizer, text, text_pair), options=INFERENCE)}


def embed(model: Any, tokenizer: Tokenizer, text: tf.Tensor) -> Answers:
    """A vector for each text: `embedding`, float32 [B, D]."""
    return {"embedding": model(_inputs(model, tokenizer, text), options=INFERENCE)}


def _inputs(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """The features of texts or pairs, truncated to the model's `max_length`."""
    second = None if text_pair is None else tokenizer.tokenize(text_pair)
    return build_encoder_inputs(tokenizer.tokenize(text), second, tokenizer=tokenizer, max_length=model.max_length)
