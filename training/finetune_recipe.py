"""Fine-tuning of MiniLM-L6 (Wang et al. 2020; 22.7 million parameters) on labelled data, for the recipes beside this file.

Enters: a `Recipe`. Leaves, in runs/<name>/: checkpoints, `best/`, TensorBoard logs and `summary.json`; and an exported
SavedModel. Settings were chosen by the validation file; the test file is read once, at the end, by the best epoch's model.
Killed at any moment, a recipe goes on when started again. `--seed 1` runs it again from another head and order.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops an exported tokenizer is made of
import tyro
from minilm import minilm

import tfllm
from tfllm import finetuning
from tfllm.data import Labelled
from tfllm.prediction.answers import inputs_of


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between the recipes."""

    name: str
    data: Callable[[], Path]
    """Fetches the data set: a folder with a file for each of train, validation and test."""
    read: Callable[..., Labelled]
    """(file, tokenizer, labels=…) -> rows: a function of `tfllm.data` with its settings."""
    model: Callable[..., Any]
    """(pretrained, config=…, seed=…, dtype=…, labels=…) -> a model of the task with a new head."""
    settings: tfllm.Finetuning
    measure: str
    """The score of the test file that the recipe is judged by."""


def main(recipe: Recipe) -> None:
    def from_seed(seed: int = 0) -> None:
        run(recipe, seed)

    tyro.cli(from_seed, description=__doc__)


def run(recipe: Recipe, seed: int) -> None:
    started = time.perf_counter()
    folder = Path("runs") / (recipe.name if seed == 0 else f"{recipe.name}-seed-{seed}")
    files = {path.stem: path for path in recipe.data().iterdir()}
    pretrained, tokenizer = tfllm.from_huggingface(minilm())
    training = recipe.read(files["train"], tokenizer)
    labels = {"labels": training.labels} if training.labels else {}
    validation, test = (recipe.read(files[name], tokenizer, **labels) for name in ("validation", "test"))
    print(f"{len(training)} rows to learn from, {len(validation)} to choose by, {len(test)} to be judged by")

    model = recipe.model(pretrained, seed=seed, dtype="auto", **labels)
    settings = replace(recipe.settings, seed=seed)
    training_run = finetuning.finetune(model, training, validation, folder=folder, settings=settings)
    best, tokenizer = tfllm.load(folder / "best")
    version = tfllm.export(best, tokenizer, Path("saved_models") / folder.name)
    print(report := tfllm.check(version))
    summary = {
        "measure": recipe.measure,
        "test": finetuning.evaluator(best, test)().scores,
        "validation": training_run.best_record,
        "minutes": (time.perf_counter() - started) / 60,
        "saved_model": str(version),
        "keeps_its_contract": report.ok,
        "served_as_in_python": served_as_in_python(best, tokenizer, version, test.records),
        "logs": str(folder / "logs"),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


def served_as_in_python(model: Any, tokenizer: Any, version: Path, records: Sequence[Any]) -> str:
    """How many of 100 test rows the exported model answers as `predict` does: strings the same, numbers to 1e-4."""
    asked = {name: [getattr(record, _FIELDS.get(name, name)) for record in records[:100]] for name in inputs_of(model)}
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    answers = {
        name: value.numpy() for name, value in served(**{name: tf.constant(each) for name, each in asked.items()}).items()
    }
    expected = tfllm.predict(model, tokenizer, *asked.values(), batch_size=100)
    counts = answers.get("count", [None] * len(expected))
    same = sum(all(_equal(value, answers[name][i], counts[i]) for name, value in row.items()) for i, row in enumerate(expected))
    return f"{same} of {len(expected)}"


_FIELDS = {"text_pair": "pair"}
"""Where a record calls an input otherwise."""


def _equal(expected: Any, found: Any, count: int | None = None) -> bool:
    if isinstance(expected, list):  # the served row is padded behind `count`
        found = found if count is None else found[:count]
        return len(expected) == len(found) and all(_equal(value, other) for value, other in zip(expected, found, strict=True))
    if isinstance(expected, str):
        return found == expected.encode()
    return bool(np.isclose(found, expected, rtol=1e-4, atol=1e-4))
