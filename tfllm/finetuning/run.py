"""`finetune`: one call from labelled rows to the best epoch's model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tfllm import train
from tfllm.data.labelled import Labelled
from tfllm.finetuning.components import check_data, evaluator, own_settings, spec_of
from tfllm.models.base import LanguageModel
from tfllm.models.folder import get
from tfllm.settings import Finetuning, takes_settings
from tfllm.tasks.spec import FinetuningSpec
from tfllm.train.runs.weights import values_digest


@takes_settings(Finetuning)
def finetune(
    model: LanguageModel | str | Path,
    training: Labelled,
    validation: Labelled,
    *,
    folder: str | Path,
    settings: Finetuning | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
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
        model: a new one, or the path of a model of this task to train further; `compile` is called here, and its `max_length`
            becomes the rows', so that it predicts as it learns. Made in the scope of a strategy (`tfllm.train.strategy`), it
            trains there.
        training, validation: rows of the model's task, from `tfllm.data`.
        folder: of the run: checkpoints, `best/` and TensorBoard logs.
        callbacks: of yours, after the run's.
        verbose: as Keras' `fit` has it; "auto" is lines where standard output is no terminal. Of several workers the first
            alone speaks.

    Returns:
        The run, with a record an epoch in `history`.

    Raises:
        TypeError: the model is no model, or rows are none.
        ValueError: the data is another task's, or a setting is out of range.
    """
    settings = settings or Finetuning()
    model = get(model)
    _check_rows(model, training, validation)
    spec = spec_of(model, training)
    best = settings.best or spec.metrics_of(model).best
    _check_settings(settings, model, spec, best)
    model.set_lengths_of(training)
    start = values_digest(model.variables)[:16]  # a run that begins with other weights is another run
    if settings.freeze is not None:
        model.freeze(settings.freeze)
    steps_per_epoch = math.ceil(len(training) / settings.batch_size)
    with model.distribute_strategy.scope():
        _compile(model, settings, settings.epochs * steps_per_epoch, spec.compile_settings)
    weights = training.class_weights() if settings.class_weights else None
    run = train.Run(
        folder,
        model,
        tokenizer=training.tokenizer,
        steps_per_epoch=steps_per_epoch,
        data=f"{training.fingerprint} and {validation.fingerprint}, batches of {settings.batch_size}, seed {settings.seed}, "
        f"weighted {weights is not None}, frozen {settings.freeze}, first weights {start}",
        keep=2,
        best=best,
        patience=settings.patience,
    )
    verbose = verbose if run.is_chief else 0
    if verbose:
        counts = f"{len(training)} rows to learn from, {len(validation)} to choose by"
        if shared := validation.shared_with(training):
            counts += f" ({shared} of which are learnt from, too)"
        print(f"{counts}; {folder} is at epoch {run.epoch} of {settings.epochs}")
    if run.exhausted:
        return run
    batches = training.batches(settings.batch_size, seed=settings.seed, start_step=run.step, class_weights=weights)
    watching = run.callbacks(
        evaluate=evaluator(model, validation, batch_size=settings.batch_size),
        hparams=dataclasses.asdict(settings),
        samples_every=settings.samples_every,
    )
    model.fit(
        batches,
        validation_data=validation.batches(settings.batch_size, shuffle=False, repeat=False),
        epochs=settings.epochs,
        initial_epoch=run.epoch,
        steps_per_epoch=steps_per_epoch,
        callbacks=[*watching, *callbacks],
        verbose=verbose,
    )
    return run


def _check_rows(model: Any, training: Labelled, validation: Labelled) -> None:
    """Raises ValueError unless the model learns from both, and both have the same labels."""
    check_data(model, training)
    if isinstance(validation, Labelled) and validation.labels != training.labels and validation.task == training.task:
        raise ValueError(
            f"validation.labels={validation.labels} is invalid: expected the labels of the training rows, {training.labels}. "
            "Read the validation file with labels=training.labels."
        )
    check_data(model, validation)


def _compile(model: Any, settings: Finetuning, steps: int, own_names: Sequence[str]) -> None:
    """Compiles the model with AdamW; `own_names` are the settings that its `compile` takes beside the common ones."""
    rates = train.schedule(
        "linear", peak=settings.learning_rate, steps=steps, warmup_steps=int(settings.warmup * steps), final_fraction=0.0
    )
    optimizer = train.adamw(
        rates, weight_decay=settings.weight_decay, beta_2=0.999, epsilon=1e-6, layer_decay=settings.layer_decay
    )
    own = {name: getattr(settings, name) for name in own_names}
    own["jit_compile"] = False  # rows have many lengths, and XLA would compile each
    model.compile(optimizer, gradient_accumulation=settings.gradient_accumulation, seed=settings.seed, **own)


def _check_settings(settings: Finetuning, model: Any, spec: FinetuningSpec, best: str) -> None:
    for name in ("epochs", "batch_size", "gradient_accumulation"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}={getattr(settings, name)} is invalid: expected 1 or more.")
    if not 0 <= settings.warmup < 1:
        raise ValueError(f"warmup={settings.warmup} is invalid: expected a fraction of all steps, from 0 to below 1.")
    for name in sorted(own_settings().difference(spec.compile_settings)):
        if getattr(settings, name) != getattr(Finetuning, name):
            raise ValueError(
                f"{name}={getattr(settings, name)} is invalid: expected no {name} for a {type(model).__name__}, which does "
                "not use it. Remove it."
            )
    if settings.batch_size % settings.gradient_accumulation:
        raise ValueError(
            f"batch_size={settings.batch_size} is invalid: expected a multiple of "
            f"gradient_accumulation={settings.gradient_accumulation}. Give such a batch_size."
        )
    names = [*(metric.name for metric in model.build_metrics()), *spec.metrics_of(model).names]
    known = [f"val_{name}" for name in names]
    if best not in known:
        raise ValueError(
            f"best={best!r} is invalid: expected a metric of {type(model).__name__}: {', '.join(dict.fromkeys(known))}."
        )
