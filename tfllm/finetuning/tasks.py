"""The tasks by name: what reads their files, what learns them, what they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.data.labelled import Labelled, question_answering, regression, tagging, text_classification, text_pairs
from tfllm.data.labelled.word_spacing import Spaces
from tfllm.finetuning import evaluation
from tfllm.models import QuestionAnswerer, TextClassifier, TextEmbedder, TextRegressor, TokenClassifier
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.models.folder import get
from tfllm.text.tags import is_iob2
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.evaluation import Evaluation
from tfllm.train.distribution.tensor_parallel import TensorParallel


class Task(NamedTuple):
    """What a task is judged by."""

    name: str
    """On the command line."""
    evaluate: Callable[[Any, Labelled, Callable[..., Any], int], Evaluation]
    scores: tuple[str, ...]
    """What `evaluate` gives, and f1_… of each kind of entity."""
    best: str
    """The measure by which the best epoch is kept."""
    settings: tuple[str, ...] = ()
    """Of `Finetuning`, what the model's `compile` takes beside the common ones."""


def read(
    task: str,
    source: Any,
    tokenizer: Tokenizer,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    word_column: str | None = None,
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
    max_length: int = 128,
    spaces: Spaces | None = None,
    skip_empty: bool = False,
) -> Labelled:
    """Rows of a task by its name, for those who know it only when they run: the command line.

    Args:
        task: "classification", "regression", "tagging", "question-answering" or "embedding".
        source: a file, as the task's function in `tfllm.data` takes it.
        text, pair, label: names of columns; a CoNLL file's label is a number.
        word_column: of a CoNLL file's words, a number; of a CoNLL-U file's, a name.
        labels: of the training data, for all other data.
        spaces: between the words of a CoNLL file; see `tagging`.
        skip_empty: pass over rows with an empty text: of classification, regression and embedding.

    Raises:
        ValueError: names file and line.
    """
    _known(task)
    whole: dict[str, Any] = dict(text=text, max_length=max_length, skip_empty=skip_empty)
    if task == "classification":
        classes: dict[str, Any] = dict(label=label or "label", labels=labels, multi_label=multi_label)
        return text_classification(source, tokenizer, pair=pair, **classes, **whole)
    if task == "regression":
        return regression(source, tokenizer, pair=pair, label=label or "label", **whole)
    if task == "embedding":
        return text_pairs(source, tokenizer, pair=pair or "text_pair", **whole)
    if task == "tagging":
        columns = dict(column=_column(label), word_column=_column(word_column))
        return tagging(source, tokenizer, **columns, labels=labels, max_length=max_length, spaces=spaces)
    return question_answering(source, tokenizer, max_length=max_length, stride=min(128, max_length // 3))


def learner(
    task: str,
    pretrained: LanguageModel | ModelConfig | str | Path,
    rows: Labelled,
    *,
    multi_label: bool = False,
    pooling: Any = None,
    **options: Any,
) -> LanguageModel:
    """A model for such rows on a pretrained stack, or with first weights for a config. `options` are seed, dtype, and of a
    pretrained model config, as `from_pretrained` takes them."""
    _known(task)

    def made(kind: type[LanguageModel], **settings: Any) -> LanguageModel:
        if isinstance(pretrained, ModelConfig):
            return kind(pretrained, **settings, **options)
        return kind.from_pretrained(pretrained, **settings, **options)

    pairs = rows.second is not None
    pooled = {} if pooling is None else {"pooling": pooling}
    if task == "classification":
        classes = dict(labels=rows.labels, pairs=pairs, multi_label=multi_label)
        return made(TextClassifier, **classes, **pooled)
    if task == "regression":
        return made(TextRegressor, pairs=pairs, **pooled)
    if task == "embedding":
        return made(TextEmbedder, **pooled)
    if task == "tagging":
        return made(TokenClassifier, labels=rows.labels)
    return made(QuestionAnswerer)


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
    return lambda: task_of(model).evaluate(model, rows, forward, batch_size)


def task_of(model: LanguageModel) -> Task:
    if isinstance(model, TokenClassifier):
        return _ENTITIES if is_iob2(model.labels) else _PARTS_OF_SPEECH
    if isinstance(model, TextClassifier):
        return _SEVERAL_LABELS if model.multi_label else _CLASSES
    for kind, task in ((QuestionAnswerer, _ANSWERS), (TextEmbedder, _VECTORS), (TextRegressor, _NUMBERS)):
        if isinstance(model, kind):
            return task
    accepted = "TextClassifier, TextRegressor, TokenClassifier, QuestionAnswerer, TextEmbedder"
    raise ValueError(f"{type(model).__name__} is not fine-tuned here; accepted: {accepted}")


def check_data(model: Any, rows: Labelled) -> None:
    """Raises ValueError unless the rows are what the model learns from."""
    task_of(model)
    if not isinstance(rows, Labelled):
        raise TypeError(
            f"rows={rows!r:.80} must be labelled rows, got {type(rows).__name__}: a function of tfllm.data reads them from a "
            "file (text_classification, regression, text_pairs, tagging, question_answering)"
        )
    kind = type(model).__name__
    if rows.task != model.task:
        raise ValueError(f"{kind} learns from rows of a {model.task}, got rows of a {rows.task}: read the file for this task")
    check_tokenizer(model, rows.tokenizer)
    ours = {name: getattr(model, name) for name in ("labels", "multi_label", "pairs") if hasattr(model, name)}
    theirs = {name: value for name, value in _made_for(rows).items() if name in ours}
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
        raise ValueError(f"rows of up to {rows.max_length} tokens; the model places {most}: read them with max_length={most}")


def _made_for(rows: Labelled) -> dict[str, Any]:
    """What a model must be made with to learn from these rows."""
    return {"labels": rows.labels, "multi_label": rows.multi_label, "pairs": rows.second is not None}


def _column(name: str | None) -> int | str | None:
    """A column of a CoNLL file is a number, of a CoNLL-U file a name."""
    return int(name) if name and name.removeprefix("-").isdecimal() else name


def _known(task: str) -> None:
    names = [each.name for each in (_CLASSES, _NUMBERS, _ENTITIES, _ANSWERS, _VECTORS)]
    if task not in names:
        raise ValueError(f"task={task!r} is unknown; it is one of {', '.join(names)}")


_CLASSES = Task(
    "classification",
    evaluation.evaluate_classes,
    ("accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "matthews"),
    "val_accuracy",
    ("label_smoothing",),
)
_SEVERAL_LABELS = _CLASSES._replace(
    scores=("accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall"), best="val_micro_f1"
)
_NUMBERS = Task("regression", evaluation.evaluate_numbers, ("pearson", "spearman", "mean_squared_error"), "val_loss")
_ENTITIES = Task("tagging", evaluation.evaluate_words, ("precision", "recall", "f1", "f1_on_text", "accuracy"), "val_f1")
_PARTS_OF_SPEECH = _ENTITIES._replace(scores=("accuracy", "accuracy_on_text"), best="val_accuracy")
_ANSWERS = Task(
    "question-answering",
    evaluation.evaluate_answers,
    ("exact_match", "f1", "exact_match_answerable", "f1_answerable", "right_unanswerable", "oracle_exact_match"),
    "val_f1",
)
_VECTORS = Task(
    "embedding", evaluation.evaluate_vectors, ("recall_at_1", "mean_reciprocal_rank"), "val_recall_at_1", ("temperature",)
)
OWN_SETTINGS = {name for task in (_CLASSES, _NUMBERS, _ENTITIES, _ANSWERS, _VECTORS) for name in task.settings}
"""Of `Finetuning`, those that some tasks take and others do not."""
