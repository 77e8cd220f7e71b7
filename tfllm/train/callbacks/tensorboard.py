"""A run's curves in TensorBoard: the same however often the process died on the way.

Points of training every few steps (each the mean over those steps), of validation and speed at the end of each epoch, the run's
config, and its settings as hyperparameters. A process that was killed leaves points that come again; when the run goes on they
are removed, and what is missing of an epoch is taken from the run's history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from tfllm.train.callbacks.event_files import Point, event_files, keep
from tfllm.train.callbacks.scalars import write_scalar

Sums = dict[str, list[float]]
"""Each metric's sum and weight."""


class TensorBoard(keras.callbacks.Callback):
    """Writes the curves. It stands before what saves the run: a point is on its way to the disk before its checkpoint is.

    Args:
        folder: where to, a path or an address (gs://…); below it `train` and `validation`.
        history: the run's records, one an epoch, each with its step.
        hparams: settings to show as hyperparameters, beside the model's and the optimizer's.
        every: steps between two points of a curve.
        state: what `state` gave, where the run goes on inside an epoch.
    """

    def __init__(
        self,
        folder: str,
        *,
        history: list[dict[str, Any]],
        hparams: Mapping[str, Any] | None = None,
        every: int = 10,
        state: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.folder, self._history, self._every = folder, history, every
        self._hparams, self._resumed = hparams or {}, state
        self._before: Sums = {}
        self._written = 0
        self.shown: dict[str, set[Point]] = {}
        """What stood in `train` and in `validation` when training began."""

    def on_train_begin(self, logs: Any = None) -> None:
        for writer in _OPEN.pop(self.folder, ()):  # an earlier `fit` of this process was left by an error
            writer.close()
        files = {name: event_files(f"{self.folder}/{name}") for name in ("train", "validation")}
        step, recorded = self._step(), self._history[-1]["step"] if self._history else 0
        of_steps = {metric.name for metric in self.model.metrics} | {"learning_rate"}
        for name, found in files.items():
            gaps = self._first_missing(name, {point for file in found for points in file.points for point in points})

            def wanted(tag: str, at: int, name: str = name, gaps: Mapping[str, int] = gaps) -> bool:
                last = step if name == "train" and tag in of_steps else recorded
                return at <= last and at < gaps.get(tag, at + 1)

            self.shown[name] = keep(found, wanted)
        self._write_settings()
        self.train, self.validation = (tf.summary.create_file_writer(f"{self.folder}/{name}") for name in files)
        _OPEN[self.folder] = (self.train, self.validation)
        for record in self._history:
            self._write_epoch(record, record["step"])
        self.flush()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        resumed = self._resumed if self.model.fit_status.steps_to_skip else None
        self._before = resumed["sums"] if resumed else self._sums()
        self._written = resumed["step"] if resumed else self._step()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self._step()
        last = batch + 1 == self.params["steps"]
        if step == self._written or (step // self._every == self._written // self._every and not last):
            return
        sums, metrics = self._sums(), {metric.name: metric for metric in self.model.metrics}
        with self.train.as_default():
            for name, (total, weight) in sums.items():
                total_before, weight_before = self._before.get(name, (0.0, 0.0))
                if weight > weight_before:
                    ratio = tf.constant((total - total_before) / (weight - weight_before), tf.float64)
                    write_scalar(name, float(metrics[name].value_of(ratio)), step)
            write_scalar("learning_rate", float(np.asarray(self.model.optimizer.learning_rate)), step)
        self._before, self._written = sums, step

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._step() % self.params["steps"] == 0:  # an epoch that was left has no record, and no points
            self._write_epoch(logs or {}, self._step())
        self.flush()

    def on_train_end(self, logs: Any = None) -> None:
        for writer in _OPEN.pop(self.folder, ()):
            writer.close()

    def has_images(self, step: int) -> bool:
        """Did `validation` have more than curves at a step, when training began?"""
        curves = {tag for record in self._history for tag in _of_an_epoch("validation", record)}
        return any(at == step and tag not in curves for tag, at in self.shown["validation"])

    def flush(self) -> None:
        self.train.flush()
        self.validation.flush()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that the next point is the mean over all of its steps; all points so far are written."""
        self.flush()
        return {"step": self._written, "sums": self._before}

    def _write_epoch(self, record: Mapping[str, Any], step: int) -> None:
        """Writes what an epoch's record says and what is not there yet."""
        for folder, writer in (("train", self.train), ("validation", self.validation)):
            with writer.as_default():
                for tag, value in _of_an_epoch(folder, record).items():
                    if (tag, step) not in self.shown[folder]:
                        write_scalar(tag, value, step)

    def _first_missing(self, folder: str, there: set[Point]) -> dict[str, int]:
        """The first step that each tag lacks of the history. What comes after it is written again: readers want an order."""
        missing: dict[str, int] = {}
        for record in self._history:
            for tag in _of_an_epoch(folder, record):
                if (tag, record["step"]) not in there:
                    missing.setdefault(tag, record["step"])
        return missing

    def _write_settings(self) -> None:
        """The config and the hyperparameters, in the place of those an earlier life wrote."""
        for file in event_files(self.folder):
            tf.io.gfile.remove(file.path)
        config = self.model.config.to_dict()
        optimizer = {"optimizer": type(self.model.optimizer).__name__}
        settings = {**config, **self.model.training_settings, **optimizer, **self._hparams}
        plain = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in settings.items()}
        writer = tf.summary.create_file_writer(self.folder)
        with writer.as_default():
            hparams_api.hparams(plain)
            tf.summary.text("config", f"```\n{json.dumps(config, indent=2)}\n```", step=0)
        writer.close()

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _sums(self) -> Sums:
        return {metric.name: list(metric.sums()) for metric in self.model.metrics}


_OPEN: dict[str, tuple[Any, Any]] = {}
"""Writers of this process by folder."""


def _of_an_epoch(folder: str, record: Mapping[str, Any]) -> dict[str, float]:
    """What of an epoch's record stands in `train` or in `validation`, by tag.

    loss 2.1, tokens_per_second 9e4, val_loss 2.2, val_confusion [[…]]  ->  train: tokens_per_second; validation: loss
    """
    numbers = {name: float(value) for name, value in record.items() if not isinstance(value, dict | list)}
    if folder == "validation":
        return {name.removeprefix("val_"): value for name, value in numbers.items() if name.startswith("val_")}
    return {name: value for name, value in numbers.items() if name.endswith(("_per_second", "_utilisation"))}
