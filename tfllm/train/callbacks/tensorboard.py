"""Writes a run's curves for TensorBoard. They are the same however often the process was killed.

Input: the metrics of training, the run's history and settings. Output: event files: points of training every few steps (each
    the
mean over those steps), points of validation and speed at the end of each epoch, the run's config, and its settings as
hyperparameters. When a run continues, points that will be written again are removed, and missing points of an epoch are
written from the run's history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from tfllm.train.callbacks.event_files import Point, event_files, prune
from tfllm.train.callbacks.scalars import write_scalar

Sums = dict[str, list[float]]
"""Each metric's sum and weight."""


class TensorBoard(keras.callbacks.Callback):
    """Writes the curves. It comes before the callback that saves the run, so a point is written before its checkpoint.

    Args:
        folder: a path or an address (gs://…); event files go to `train` and `validation` below it.
        history: the run's records, one per epoch, each with its step.
        hparams: settings to show as hyperparameters, in addition to the model's and the optimizer's.
        every: steps between two points of a curve.
        state: what `state` returned, if the run continues inside an epoch.
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
        """The points in `train` and in `validation` when training began."""

    def on_train_begin(self, logs: Any = None) -> None:
        for writer in _OPEN.pop(self.folder, ()):  # an earlier `fit` of this process ended with an error
            writer.close()
        files = {name: event_files(f"{self.folder}/{name}") for name in ("train", "validation")}
        step, recorded = self._step(), self._history[-1]["step"] if self._history else 0
        of_steps = {metric.name for metric in self.model.metrics} | {"learning_rate"}
        for name, found in files.items():
            gaps = self._first_missing(name, {point for file in found for points in file.points for point in points})

            def wanted(tag: str, at: int, name: str = name, gaps: Mapping[str, int] = gaps) -> bool:
                last = step if name == "train" and tag in of_steps else recorded
                return at <= last and at < gaps.get(tag, at + 1)

            self.shown[name] = prune(found, wanted)
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
        if self._step() % self.params["steps"] == 0:  # an epoch that was interrupted has no record and no points
            self._write_epoch(logs or {}, self._step())
        self.flush()

    def on_train_end(self, logs: Any = None) -> None:
        for writer in _OPEN.pop(self.folder, ()):
            writer.close()

    def has_images(self, step: int) -> bool:
        """Whether `validation` had images at this step when training began."""
        curves = {tag for record in self._history for tag in _epoch_points("validation", record)}
        return any(at == step and tag not in curves for tag, at in self.shown["validation"])

    def flush(self) -> None:
        self.train.flush()
        self.validation.flush()

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, so that the next point is the mean over all of its steps. Flushes all points first."""
        self.flush()
        return {"step": self._written, "sums": self._before}

    def _write_epoch(self, record: Mapping[str, Any], step: int) -> None:
        """Writes the points of an epoch's record that are not there yet."""
        for folder, writer in (("train", self.train), ("validation", self.validation)):
            with writer.as_default():
                for tag, value in _epoch_points(folder, record).items():
                    if (tag, step) not in self.shown[folder]:
                        write_scalar(tag, value, step)

    def _first_missing(self, folder: str, there: set[Point]) -> dict[str, int]:
        """For each tag, the first step of the history that has no point. Later points are written again, to keep the order."""
        missing: dict[str, int] = {}
        for record in self._history:
            for tag in _epoch_points(folder, record):
                if (tag, record["step"]) not in there:
                    missing.setdefault(tag, record["step"])
        return missing

    def _write_settings(self) -> None:
        """Writes the config and the hyperparameters, in place of those of an earlier process."""
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
"""This process' open writers by folder."""


def _epoch_points(folder: str, record: Mapping[str, Any]) -> dict[str, float]:
    """The points of an epoch's record for `train` or for `validation`, by tag.

    loss 2.1, tokens_per_second 9e4, val_loss 2.2, val_confusion [[…]]  ->  train: tokens_per_second; validation: loss
    """
    numbers = {name: float(value) for name, value in record.items() if not isinstance(value, dict | list)}
    if folder == "validation":
        return {name.removeprefix("val_"): value for name, value in numbers.items() if name.startswith("val_")}
    return {name: value for name, value in numbers.items() if name.endswith(("_per_second", "_utilisation"))}
