"""Fine-tuning from end to end: a pretrained encoder and labelled data in; a run with its best model, and scores, out.

The parts are public, too: `tfllm.data` reads the files, the models learn by `fit`, `train.scores` counts. This is how they go
together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import features, train
from tfllm.data.labelled import (
    Labelled,
    Questions,
    Tagged,
    question_answering,
    regression,
    tagging,
    text_classification,
    text_pairs,
)
from tfllm.models import (
    QuestionAnswerer,
    TextClassifier,
    TextEmbedder,
    TextRegressor,
    TokenClassifier,
)
from tfllm.models.base import LanguageModel
from tfllm.prediction.spans import best_spans
from tfllm.prediction.words import is_bio
from tfllm.settings import Finetuning
from tfllm.tokenizers import Tokenizer
from tfllm.train import scores
from tfllm.train.evaluating import Evaluation
from tfllm.train.pictures import confusion_picture


class _Task(NamedTuple):
    """What a task is judged by."""

    evaluate: Callable[[Any, Labelled, Callable[..., Any], int], Evaluation]
    best: str


def finetune(
    model: LanguageModel,
    training: Labelled,
    validation: Labelled,
    *,
    folder: str | Path,
    settings: Finetuning | None = None,
    verbose: int | str = "auto",
) -> train.Run:
    """Trains a task's model on labelled rows; killed at any moment, the same call goes on where the run was.

    >>> pretrained, tokenizer = tfllm.from_huggingface("minilm")
    >>> rows = tfllm.data.text_classification("train.csv", tokenizer)
    >>> held_out = tfllm.data.text_classification("validation.csv", tokenizer, labels=rows.labels)
    >>> model = tfllm.TextClassifier.from_pretrained(pretrained, labels=rows.labels)
    >>> run = tfllm.finetune(model, rows, held_out, folder="runs/topics")
    >>> best, tokenizer = tfllm.load("runs/topics/best")

    Args:
        model: a new one; `compile` is called here.
        training, validation: rows of the model's task, from `tfllm.data`.
        folder: of the run: checkpoints, `best/` and TensorBoard logs.
        verbose: as Keras' `fit` has it.

    Returns:
        The run, with a record an epoch in `history`.

    Raises:
        ValueError: the data is another task's, or a setting is out of range.
    """
    settings = settings or Finetuning()
    for rows in (training, validation):
        check_data(model, rows)
    if settings.epochs < 1 or not 0 <= settings.warmup < 1:
        raise ValueError(f"epochs={settings.epochs} must be at least 1, warmup={settings.warmup} in [0, 1)")
    if settings.freeze:
        model.freeze(settings.freeze)
    steps_per_epoch = math.ceil(len(training) / settings.batch_size)
    steps = settings.epochs * steps_per_epoch
    rates = train.schedule(
        "linear", peak=settings.learning_rate, steps=steps, warmup_steps=int(settings.warmup * steps), final_fraction=0.0
    )
    optimizer = train.adamw(
        rates, weight_decay=settings.weight_decay, beta_2=0.999, epsilon=1e-6, layer_decay=settings.layer_decay
    )
    model.compile(optimizer, gradient_accumulation=settings.gradient_accumulation, seed=settings.seed)
    weights = training.class_weights() if settings.class_weights else None
    run = train.Run(
        folder,
        model,
        tokenizer=training.tokenizer,
        steps_per_epoch=steps_per_epoch,
        data=f"{training.fingerprint}, batches of {settings.batch_size}, seed {settings.seed}, weighted {weights is not None}",
        keep=1,
        best=settings.best or task_of(model).best,
        patience=settings.patience,
    )
    if run.exhausted:
        return run
    model.fit(
        training.batches(settings.batch_size, seed=settings.seed, start_step=run.step, class_weights=weights),
        validation_data=validation.batches(settings.batch_size, shuffle=False, repeat=False),
        epochs=settings.epochs,
        initial_epoch=run.epoch,
        steps_per_epoch=steps_per_epoch,
        callbacks=run.callbacks(evaluate=evaluator(model, validation, batch_size=settings.batch_size)),
        verbose=verbose,
    )
    return run


def read(
    task: str,
    source: Any,
    tokenizer: Tokenizer,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
    max_length: int = 128,
) -> Labelled:
    """Rows of a task by its name, for those who know it only when they run: the command line.

    Args:
        task: "classification", "regression", "tagging", "question-answering" or "embedding".
        source: a file, as the task's function in `tfllm.data` takes it.
        text, pair, label: names of columns; a CoNLL file's label is a number.
        labels: of the training data, for all other data.

    Raises:
        ValueError: names file and line.
    """
    if task == "classification":
        classes: dict[str, Any] = dict(label=label or "label", labels=labels, multi_label=multi_label)
        return text_classification(source, tokenizer, text=text, pair=pair, max_length=max_length, **classes)
    if task == "regression":
        return regression(source, tokenizer, text=text, pair=pair, label=label or "label", max_length=max_length)
    if task == "embedding":
        return text_pairs(source, tokenizer, text=text, pair=pair or "text_pair", max_length=max_length)
    if task == "tagging":
        column = int(label) if label and label.removeprefix("-").isdecimal() else label
        return tagging(source, tokenizer, column=column, labels=labels, max_length=max_length)
    return question_answering(source, tokenizer, max_length=max_length, stride=max_length // 3)


def learner(
    task: str, pretrained: LanguageModel, rows: Labelled, *, multi_label: bool = False, pooling: Any = None, **options: Any
) -> LanguageModel:
    """A model for such rows on a pretrained stack. `options` are `from_pretrained`'s: seed, dtype, config."""
    pairs = rows.second is not None
    pooled = {} if pooling is None else {"pooling": pooling}
    if task == "classification":
        classes = dict(labels=rows.labels, pairs=pairs, multi_label=multi_label)
        return TextClassifier.from_pretrained(pretrained, **classes, **pooled, **options)
    if task == "regression":
        return TextRegressor.from_pretrained(pretrained, pairs=pairs, **pooled, **options)
    if task == "embedding":
        return TextEmbedder.from_pretrained(pretrained, **pooled, **options)
    if task == "tagging":
        return TokenClassifier.from_pretrained(pretrained, labels=rows.labels, **options)
    return QuestionAnswerer.from_pretrained(pretrained, **options)


def evaluator(model: LanguageModel, rows: Labelled, *, batch_size: int = 32) -> Callable[[], Evaluation]:
    """A function that scores the model, as it is when called, on labelled rows of its task.

    >>> tfllm.finetuning.evaluator(model, test)().scores
    {'accuracy': 0.98, 'macro_f1': 0.97, 'micro_f1': 0.98, 'matthews': 0.97}

    Raises:
        ValueError: the rows are another task's.
    """
    check_data(model, rows)
    forward = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    return lambda: task_of(model).evaluate(model, rows, forward, batch_size)


def task_of(model: LanguageModel) -> _Task:
    if isinstance(model, TokenClassifier):
        return _Task(_evaluate_words, "val_f1" if is_bio(model.labels) else "val_accuracy")
    for kind, task in _TASKS.items():
        if isinstance(model, kind):
            return task
    raise ValueError(f"{type(model).__name__} is not fine-tuned here; accepted: {', '.join(kind.__name__ for kind in _TASKS)}")


def check_data(model: Any, rows: Labelled) -> None:
    """Raises ValueError unless the rows are what the model learns from."""
    task_of(model)
    wanted = {TokenClassifier: Tagged, QuestionAnswerer: Questions}.get(type(model), Labelled)
    if not isinstance(rows, wanted) or (wanted is Labelled and isinstance(rows, (Tagged, Questions))):
        raise ValueError(f"{type(model).__name__} learns from rows of {wanted.__name__}, got {type(rows).__name__}")
    if rows.tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"the rows' tokenizer has {rows.tokenizer.vocab_size} ids, the model's vocabulary {model.config.vocab_size}"
        )
    if getattr(model, "labels", ()) != rows.labels and getattr(model, "labels", None) is not None:
        raise ValueError(f"the rows' labels are {rows.labels}, the model's {model.labels}: give the data labels=model.labels")
    if rows.max_length > model.config.max_length and model.config.positions == "learned":
        raise ValueError(f"rows of up to {rows.max_length} tokens; the model places {model.config.max_length}: cut them there")
    if getattr(model, "pairs", False) != (rows.second is not None) and wanted is Labelled and rows.together == 1:
        raise ValueError(
            f"{type(model).__name__} was made with pairs={model.pairs}, the rows are another kind: make both alike"
        )


def _outputs(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Iterator[np.ndarray]:
    """The model's output for each row, rows of padding left out."""
    left = len(rows)
    for batch in rows.batches(batch_size, shuffle=False, repeat=False):
        yield from np.asarray(forward(batch))[:left]
        left -= batch_size


def _evaluate_classes(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    outputs, truth = np.array(list(_outputs(model, rows, forward, batch_size))), rows.row_features[features.LABELS]
    if model.multi_label:
        return Evaluation(dataclasses.asdict(scores.multi_label_scores(outputs > 0, truth > 0.5)))
    found = scores.class_scores(outputs.argmax(-1), truth, len(model.labels))
    values = {name: value for name, value in dataclasses.asdict(found).items() if name != "confusion"}
    return Evaluation(values, {"confusion": lambda: confusion_picture(found.confusion, model.labels)})


def _evaluate_numbers(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    outputs = np.array(list(_outputs(model, rows, forward, batch_size)))
    return Evaluation(dataclasses.asdict(scores.number_scores(outputs, rows.row_features[features.LABELS])))


def _evaluate_words(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    assert isinstance(rows, Tagged)
    predicted = rows.by_sentence([row.argmax(-1) for row in _outputs(model, rows, forward, batch_size)])
    truth = [list(sentence.labels) for sentence in rows.records]
    if not is_bio(model.labels):
        return Evaluation({"accuracy": scores.tag_accuracy(predicted, truth)})
    found = dataclasses.asdict(scores.entity_scores(predicted, truth))
    by_label = {f"f1_{label}": value for label, value in found.pop("f1_by_label").items()}
    return Evaluation(found | by_label)


def _evaluate_answers(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    assert isinstance(rows, Questions)
    spans: dict[str, list[Any]] = {"start": [], "end": [], "score": [], "none": []}
    for row in _outputs(model, rows, forward, batch_size):
        for name, value in best_spans(row[None]).items():
            spans[name].append(value[0])
        spans["none"].append(row[0, 0] + row[1, 0])
    starts, ends, best, none = (np.array(spans[name]) for name in ("start", "end", "score", "none"))
    answers = rows.answers(starts, ends, best, none)
    predicted = {question.id: answer.text for question, answer in zip(rows.records, answers, strict=True)}
    truth = {question.id: question.answers for question in rows.records}
    found = dataclasses.asdict(scores.answer_scores(predicted, truth))
    return Evaluation({name: value for name, value in found.items() if not math.isnan(value)})


def _evaluate_vectors(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    """How often a text's partner is the nearest of all second texts, and the mean of one over its rank."""
    vectors = np.array(list(_outputs(model, rows, forward, batch_size)))
    cosines = vectors[0::2] @ vectors[1::2].T
    ranks = 1 + (cosines > np.diag(cosines)[:, None]).sum(1)
    return Evaluation({"recall_at_1": float((ranks == 1).mean()), "mean_reciprocal_rank": float((1 / ranks).mean())})


_TASKS: dict[type, _Task] = {
    TextClassifier: _Task(_evaluate_classes, "val_accuracy"),
    TokenClassifier: _Task(_evaluate_words, "val_f1"),
    QuestionAnswerer: _Task(_evaluate_answers, "val_f1"),
    TextEmbedder: _Task(_evaluate_vectors, "val_recall_at_1"),
    TextRegressor: _Task(_evaluate_numbers, "val_loss"),
}
