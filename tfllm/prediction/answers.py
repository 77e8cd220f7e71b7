"""The graph function that predicts. `predict` runs it in Python, `export` writes it into a SavedModel.

In: a model and its tokenizer. Out: a function from string tensors [B] to a dict of tensors [B, …]. A tensor is ragged if rows
have different numbers of answers. The model's task names the function (`tfllm/tasks/`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tfllm import tasks
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.tasks.spec import PredictionSpec
from tfllm.tokenizers import Tokenizer

Answers = dict[str, Any]
"""Name of an output -> tf.Tensor or tf.RaggedTensor."""


def inputs_of(model: LanguageModel) -> tuple[str, ...]:
    """The names of the model's inputs: ("question", "context").

    Raises:
        ValueError: the model's task has no predictions: a causal model generates.
    """
    _prediction(model)
    return tasks.task_of(model).input_names(getattr(model, "pairs", False))


def answers(model: LanguageModel, tokenizer: Tokenizer) -> Callable[..., Answers]:
    """The function that predicts: its arguments are the model's inputs, string [B] each.

    Raises:
        ValueError: the tokenizer is not the model's, or the model's task has no predictions.
    """
    prediction = _prediction(model)
    check_tokenizer(model, tokenizer)
    return partial(tasks.resolve(prediction.predictor), model, tokenizer)


def _prediction(model: LanguageModel) -> PredictionSpec:
    found = tasks.task_of(model).prediction
    if found is None:
        accepted = ", ".join(spec.model_class.__name__ for spec in tasks.all_tasks() if spec.prediction)
        raise ValueError(f"model={type(model).__name__} is invalid: expected one of {accepted}. Call tfllm.generate instead.")
    return found
