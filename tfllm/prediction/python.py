"""`predict`: the predictions of a model in Python.

In: a model, its tokenizer, texts. Out: a dict for each row. It runs the same graph that `export` writes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfllm.layers.onednn import hide_integer_notice
from tfllm.models import folder
from tfllm.models.base import LanguageModel
from tfllm.prediction.answers import answers, inputs_of
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.base import check_text
from tfllm.train.distribution.tensor_parallel import TensorParallel

_FUNCTIONS: weakref.WeakKeyDictionary[LanguageModel, tuple[Tokenizer, dict[str, Any], Any]] = weakref.WeakKeyDictionary()


def predict(
    model: LanguageModel | str | Path, tokenizer: Tokenizer | str | Path, *texts: str | Sequence[str], batch_size: int = 32
) -> list[dict[str, Any]]:
    """The model's prediction for each text (or pair of texts, or question and context). An export gives the same.

    >>> tfllm.predict(model, tokenizer, ["What a film!"])
    [{'label': 'good', 'score': 0.98, 'labels': ['bad', 'good'], 'probabilities': [0.02, 0.98]}]
    >>> tfllm.predict(answerer, tokenizer, "Who wrote it?", "It was written by Ada.")
    [{'answer': 'Ada', 'start': 18, 'end': 21, 'score': 7.1}]

    Args:
        model, tokenizer: a model and its tokenizer, or the paths of their folders. Each call reads the folders again.
        texts: for each input of the model a sequence of strings, or one string for one row. The inputs are `text`; `text` and
            `text_pair` of a model for pairs; `question` and `context` of a `QuestionAnswerer`.
        batch_size: rows that are computed at a time.

    Returns:
        A dict of plain Python values for each row.

    Raises:
        TypeError: an input is no string, `model` is no model, or `tokenizer` no tokenizer.
        ValueError: the number of inputs is wrong, or they have different numbers of rows; the tokenizer is not the model's; the
            model's task has no predictions; or `batch_size` is less than 1.
    """
    hide_integer_notice()
    model, tokenizer = folder.get_both(model, tokenizer)
    names = inputs_of(model)
    if isinstance(model.distribute_strategy, TensorParallel):
        raise ValueError(
            f"model={type(model).__name__} is invalid: expected a model on one device, and this one is on a mesh. Save it, and "
            "load it outside the strategy's scope."
        )
    columns = [[column] if isinstance(column, str | bytes) else list(column) for column in texts]
    kind, inputs = type(model).__name__, " and ".join(names)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is invalid: expected at least 1.")
    if len(columns) != len(names):
        raise ValueError(
            f"texts is invalid: expected {len(names)} for this {kind} ({inputs}), got {len(columns)}. Give {inputs}, one after "
            "the other."
        )
    if len({len(column) for column in columns}) != 1:
        counts = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"texts is invalid: expected as many rows of {inputs}, got {counts}. Give the same number of each.")
    function = _function(model, tokenizer)
    for column in columns:
        for text in column:
            check_text(text)
    found: list[dict[str, Any]] = []
    for begin in range(0, len(columns[0]), batch_size):
        batch = {
            name: tf.constant(column[begin : begin + batch_size], tf.string)
            for name, column in zip(names, columns, strict=True)
        }
        found += _records(function(**batch))
    return found


def _function(model: LanguageModel, tokenizer: Tokenizer) -> Any:
    """The traced function. It is traced again only for another model, tokenizer or settings of the model."""
    known = _FUNCTIONS.get(model)
    if known is None or known[0] is not tokenizer or known[1] != model.settings():
        signature = {name: tf.TensorSpec([None], tf.string) for name in inputs_of(model)}
        function = tf.function(answers(model, tokenizer), autograph=False).get_concrete_function(**signature)
        known = _FUNCTIONS[model] = (tokenizer, model.settings(), function)
    return known[2]


def _records(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dict of plain Python values for each row."""
    columns = {name: _plain(value) for name, value in found.items()}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _plain(value: Any) -> list[Any]:
    values = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
    return _decoded(values) if value.dtype == tf.string else values


def _decoded(value: Any) -> Any:
    return [_decoded(each) for each in value] if isinstance(value, list) else value.decode()
