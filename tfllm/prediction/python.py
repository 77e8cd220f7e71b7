"""`predict`: the answers of a model in Python, by the graph that exports carry."""

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
    """What the model says of each text (or pair, or question and context), as the exported model would.

    >>> tfllm.predict(model, tokenizer, ["What a film!"])
    [{'label': 'good', 'score': 0.98, 'labels': ['bad', 'good'], 'probabilities': [0.02, 0.98]}]
    >>> tfllm.predict(answerer, tokenizer, "Who wrote it?", "It was written by Ada.")
    [{'answer': 'Ada', 'start': 18, 'end': 21, 'score': 7.1}]

    Args:
        model, tokenizer: or the paths of their folders (for one call: each call loads them anew).
        texts: one sequence for each of the model's inputs, or a string for one row. Inputs are `text`; `text` and `text_pair`
            for models made for pairs; `question` and `context` for a `QuestionAnswerer`.
        batch_size: rows at a time.

    Raises:
        TypeError: an input is no string, the model no model, or the tokenizer no tokenizer.
        ValueError: another number of inputs, or of rows in them; the tokenizer is not the model's; the model does not predict;
            `batch_size` is not 1 or more.
    """
    hide_integer_notice()
    model, tokenizer = folder.get_both(model, tokenizer)
    names = inputs_of(model)
    if isinstance(model.distribute_strategy, TensorParallel):
        raise ValueError("predict wants a model on one device, this one stands on a mesh: save it, and load it outside")
    columns = [[column] if isinstance(column, str | bytes) else list(column) for column in texts]
    kind, wanted = type(model).__name__, " and ".join(names)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be 1 or more")
    if len(columns) != len(names):
        raise ValueError(f"this {kind} takes {len(names)} ({wanted}) for each answer, got {len(columns)}")
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"{kind} takes as many of {wanted}, got {', '.join(str(len(column)) for column in columns)}")
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
    """Traced once a model, tokenizer and settings (how much of a text is read, say)."""
    known = _FUNCTIONS.get(model)
    if known is None or known[0] is not tokenizer or known[1] != model.settings():
        signature = {name: tf.TensorSpec([None], tf.string) for name in inputs_of(model)}
        function = tf.function(answers(model, tokenizer), autograph=False).get_concrete_function(**signature)
        known = _FUNCTIONS[model] = (tokenizer, model.settings(), function)
    return known[2]


def _records(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dict a row, of plain Python values."""
    columns = {name: _plain(value) for name, value in found.items()}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _plain(value: Any) -> list[Any]:
    values = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
    return _decoded(values) if value.dtype == tf.string else values


def _decoded(value: Any) -> Any:
    return [_decoded(each) for each in value] if isinstance(value, list) else value.decode()
