"""What each task says of texts, in the graph: the functions that exports and `predict` share.

Enters: string tensors [B]. Leaves: a dict of tensors [B, …], ragged where rows have different numbers of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.prediction.fill_mask import fill_masks
from tfllm.prediction.question_answering import find_answers
from tfllm.prediction.token_classification import tag_words
from tfllm.tokenizers import Tokenizer

Answers = dict[str, Any]
"""Name -> tf.Tensor or tf.RaggedTensor."""

INPUTS = {
    "masked_lm": ("text",),
    "text_classifier": ("text",),
    "text_regressor": ("text",),
    "text_embedder": ("text",),
    "token_classifier": ("text",),
    "question_answerer": ("question", "context"),
}
"""Task -> names of its inputs; a model made for pairs takes `text_pair`, too."""


def inputs_of(model: LanguageModel) -> tuple[str, ...]:
    """Names of the strings the model wants.

    Raises:
        ValueError: the model is none that answers by itself (a causal model continues: `generate`).
    """
    if model.task not in INPUTS:
        raise ValueError(f"{type(model).__name__} does not predict; those that do: {', '.join(INPUTS)}. Try tfllm.generate")
    return INPUTS[model.task] + (("text_pair",) if getattr(model, "pairs", False) else ())


def answers(model: LanguageModel, tokenizer: Tokenizer) -> Callable[..., Answers]:
    """The model's function from its inputs (by name, string [B]) to its answers.

    Raises:
        ValueError: the tokenizer is not the model's, or the model does not predict.
    """
    inputs_of(model)
    check_tokenizer(model, tokenizer)
    return lambda **texts: _TASKS[model.task](model, tokenizer, **texts)


def _framed(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None) -> dict[str, tf.Tensor]:
    second = None if text_pair is None else tokenizer.tokenize(text_pair)
    return build_encoder_inputs(tokenizer.tokenize(text), second, tokenizer=tokenizer, max_length=model.max_length)


def _classify(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answers:
    """`label` string [B], its `score` [B], and `labels` string [B, C] with their `probabilities` [B, C]."""
    probabilities = model.probabilities(model(_framed(model, tokenizer, text, text_pair)))
    names = tf.constant(model.labels)
    best = tf.argmax(probabilities, 1, output_type=tf.int32)
    return {
        "label": tf.gather(names, best),
        "score": tf.reduce_max(probabilities, 1),
        "labels": tf.tile(names[None], [tf.size(text), 1]),
        "probabilities": probabilities,
    }


def _rate(model: Any, tokenizer: Tokenizer, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answers:
    """`value` [B]."""
    return {"value": model(_framed(model, tokenizer, text, text_pair))}


def _embed(model: Any, tokenizer: Tokenizer, text: tf.Tensor) -> Answers:
    """`embedding` [B, D]."""
    return {"embedding": model(_framed(model, tokenizer, text, None))}


_TASKS: dict[str, Callable[..., Answers]] = {
    "masked_lm": fill_masks,
    "text_classifier": _classify,
    "text_regressor": _rate,
    "text_embedder": _embed,
    "token_classifier": tag_words,
    "question_answerer": find_answers,
}
