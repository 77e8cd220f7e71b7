"""The graph function that predicts: `predict` runs it in Python, `export` writes it.

Enters: a model and its tokenizer. Leaves: a function from string tensors [B] to a dict of tensors [B, …], which are ragged
where rows have different numbers of answers. Which function that is, the model's task says (`tfllm/tasks/`).
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
"""Name -> tf.Tensor or tf.RaggedTensor."""


def inputs_of(model: LanguageModel) -> tuple[str, ...]:
    """Names of the strings the model takes.

    Raises:
        ValueError: the model's task has no predictions (a causal model generates).
    """
    _prediction(model)
    return tasks.task_of(model).input_names(getattr(model, "pairs", False))


def answers(model: LanguageModel, tokenizer: Tokenizer) -> Callable[..., Answers]:
    """The model's function from its inputs (by name, string [B]) to its answers.

    Raises:
        ValueError: the tokenizer is not the model's, or the model does not predict.
    """
    prediction = _prediction(model)
    check_tokenizer(model, tokenizer)
    return partial(tasks.resolve(prediction.predictor), model, tokenizer)


def _prediction(model: LanguageModel) -> PredictionSpec:
    found = tasks.task_of(model).prediction
    if found is None:
        able = ", ".join(spec.name for spec in tasks.all_tasks() if spec.prediction)
        raise ValueError(f"{type(model).__name__} does not predict; those that do: {able}. Try tfllm.generate")
    return found
