"""The components of fine-tuning: read the files of a task, build its model, check both, evaluate.

Input: the name of a task. What differs between tasks is in `tfllm/tasks/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfllm import tasks
from tfllm.config import ModelConfig
from tfllm.data.labelled import Labelled
from tfllm.deprecation import warn_renamed
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.models.folder import get
from tfllm.tasks.spec import FinetuningSpec, Option, TaskSpec
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.evaluation import Evaluation
from tfllm.train.distribution.tensor_parallel import TensorParallel


def read(
    task: str, source: Any, tokenizer: Tokenizer | str | Path, *, max_length: int | None = None, **options: Any
) -> Labelled:
    """Rows of a task by its name, for those who know it only when they run: the command line.

    >>> rows = tfllm.finetuning.read("text_classifier", "train.csv", tokenizer, label="topic")

    Args:
        task: "text_classifier", "text_regressor", "token_classifier", "question_answerer", "text_embedder", or one of yours.
        source: a file, as the task's function in `tfllm.data` takes it.
        max_length: longest row in tokens; the task's own unless given: 384 for questions, else 128.
        options: of the task: `text`, `pair`, `label`, `labels`, `multi_label`, `skip_empty`; of token classifiers
            `word_column` and `spaces`. A column that is a number may be a string.

    Raises:
        ValueError: names file and line; or the task does not take an option.
    """
    _, spec = _named(task)
    given = {"max_length": spec.max_length if max_length is None else max_length} | _given(task, spec.reader_options, options)
    return tasks.resolve(spec.reader)(source, tokenizer, **spec.reader_arguments(given))


def build_model(
    task: str, pretrained: LanguageModel | ModelConfig | str | Path, rows: Labelled, **settings: Any
) -> LanguageModel:
    """A model for such rows, with a new head on a pretrained stack, or with first weights for a config.

    Args:
        pretrained: an encoder, the path of its folder, or a config.
        settings: `seed`, `dtype`, and what else the model's constructor takes (`pooling` of tasks on whole texts); `config`,
            where `pretrained` is a model. Labels come from the rows.

    Raises:
        ValueError: the task does not take an option.
    """
    named, spec = _named(task)
    model_class = named.model_class
    options = {name: settings.pop(name) for name in tasks.finetuning_options() if name in settings}
    settings |= _given(task, spec.model_options, options) | {name: getattr(rows, name) for name in spec.settings_from_rows}
    if isinstance(pretrained, ModelConfig):
        return model_class(pretrained, **settings)
    return model_class.from_pretrained(pretrained, **settings)


def learner(task: str, pretrained: Any, rows: Labelled, *, multi_label: bool = False, **settings: Any) -> LanguageModel:
    """Deprecated: `build_model`, which takes `multi_label` from the rows."""
    warn_renamed("tfllm.finetuning.learner", "tfllm.finetuning.build_model")
    return build_model(task, pretrained, rows, **settings)


def evaluator(model: LanguageModel | str | Path, rows: Labelled, *, batch_size: int = 32) -> Callable[[], Evaluation]:
    """A function that scores the model, as it is when called, on labelled rows of its task.

    >>> tfllm.finetuning.evaluator(model, test)().scores
    {'accuracy': 0.98, 'macro_f1': 0.97, 'micro_f1': 0.98, 'matthews': 0.97, 'macro_precision': 0.97, 'macro_recall': 0.97}

    Raises:
        ValueError: the rows are another task's.
    """
    model = get(model)
    check_data(model, rows)

    def forward(batch: Any) -> tf.Tensor:
        return model(batch, training=False)

    strategy = model.distribute_strategy
    on_mesh = isinstance(strategy, TensorParallel)
    forward = strategy.from_outside(forward) if on_mesh else tf.function(forward, reduce_retracing=True)
    evaluate = tasks.resolve(spec_of(model, rows).evaluator)
    return lambda: evaluate(model, rows, forward, batch_size)


def spec_of(model: LanguageModel, rows: Labelled) -> FinetuningSpec:
    """How a model learns from these rows: as the rows' task says, whose model class must be the model's.

    Raises:
        TypeError: the rows are none.
        ValueError: the model is not fine-tuned, or not on such rows.
    """
    able = [spec for spec in tasks.all_tasks() if spec.finetuning]
    names = [spec.name for spec in able if spec.model_class.task == model.task]
    kind = type(model).__name__
    if not names:
        accepted = ", ".join(dict.fromkeys(spec.model_class.__name__ for spec in able))
        raise ValueError(f"A {kind} cannot be fine-tuned: expected one of {accepted}.")
    if not isinstance(rows, Labelled):
        raise TypeError(
            f"rows={rows!r:.80} is invalid: expected labelled rows, got {type(rows).__name__}. Read them with a function of "
            "tfllm.data (text_classification, regression, text_pairs, tagging, question_answering)."
        )
    if rows.task not in names:
        wanted = " or a ".join(names)
        raise ValueError(
            f"A {kind} is trained on rows of a {wanted}, got rows of a {rows.task}. Read the file with the function of its "
            "task."
        )
    return tasks.finetuning_of(tasks.get(rows.task))


def own_settings() -> set[str]:
    """Of `Finetuning`, those settings that some tasks take and others do not."""
    return {name for spec in tasks.all_tasks() if spec.finetuning for name in spec.finetuning.compile_settings}


def check_data(model: Any, rows: Labelled) -> None:
    """Raises ValueError unless the rows are what the model learns from."""
    spec, kind = spec_of(model, rows), type(model).__name__
    check_tokenizer(model, rows.tokenizer)
    ours = {name: getattr(model, name) for name in spec.settings_from_rows}
    theirs = {name: getattr(rows, name) for name in spec.settings_from_rows}
    if ours != theirs:
        had, wanted = ({name: each[name] for name in each if ours[name] != theirs[name]} for each in (ours, theirs))
        given = ["model", *(f"{name}={'rows.labels' if name == 'labels' else each}" for name, each in theirs.items() if each)]
        named = had.keys() == {"labels"} and {*rows.labels} <= {*model.labels}
        raise ValueError(
            f"{kind} was made with {had}, the rows with {wanted}. Give the model another head, as tfllm finetune does: "
            f"tfllm.{kind}.from_pretrained({', '.join(given)}){'; or read the file with labels=model.labels' if named else ''}"
        )
    if rows.max_length > model.config.max_length and model.config.positions == "learned":
        most = model.config.max_length
        raise ValueError(
            f"rows.max_length={rows.max_length} is invalid: expected at most {most}, the positions of the model. Read the "
            f"rows with max_length={most}."
        )


def _named(task: str) -> tuple[TaskSpec, FinetuningSpec]:
    spec = tasks.get(task, stacklevel=3)
    return spec, tasks.finetuning_of(spec)


def _given(task: str, options: tuple[Option, ...], values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, which are not the default.

    Raises:
        ValueError: the task does not take one of them.
    """
    defaults = {name: option.default for name, option in tasks.finetuning_options().items()}
    taken = {option.name for option in options}
    given = {name: value for name, value in values.items() if not (value is None or _same(value, defaults.get(name)))}
    if unknown := sorted(given.keys() - taken):
        name = unknown[0]
        raise ValueError(
            f"{name}={given[name]!r:.80} is invalid: expected no {name} with task={task!r}, which takes "
            f"{', '.join(sorted(taken)) or 'no options'}. Remove it."
        )
    return given


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default
