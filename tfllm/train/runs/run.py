"""A training run in one folder, which continues after the process was killed, however often that happens.

    runs/demo/
        config.json          the model's architecture
        checkpoints/         the newest few, see `checkpoints.py`
        best/                the model of the best epoch so far, if `best` is given
        logs/                event files for TensorBoard

Input: a compiled model, its tokenizer, a folder. Output: callbacks for `fit`, and the folder.

A checkpoint is written after an epoch's last step, while validation and the next epoch go on. A run that was killed continues
from its last checkpoint, a run that received SIGTERM from the step it stopped at. Both end with the weights, bit for bit, of a
run that was not interrupted, on the same machine with the same number of threads.

Of several workers, all restore and only the first writes: all of them must see the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfllm import tokenizers
from tfllm.deprecation import warn_renamed
from tfllm.files import retry_transient
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.evaluation import Evaluation, EvaluationCallback
from tfllm.train.callbacks.samples import Samples
from tfllm.train.callbacks.tensorboard import TensorBoard
from tfllm.train.callbacks.throughput import Throughput
from tfllm.train.callbacks.watchdog import Watchdog
from tfllm.train.distribution import strategies
from tfllm.train.runs.async_writer import WRITER
from tfllm.train.runs.best_epoch import best_epoch
from tfllm.train.runs.checkpoint_callback import CheckpointCallback
from tfllm.train.runs.checkpoint_manager import CheckpointManager
from tfllm.train.runs.checkpoints import (
    Snapshot,
    checkpoint_name,
    latest_checkpoint,
    load_initial_weights,
    lock_run_folder,
    model_folder,
    read_checkpoint,
    read_state,
)
from tfllm.train.runs.remote_folder import RemoteFolder, is_address
from tfllm.train.runs.resume_checks import (
    check_arguments,
    check_resumable,
    check_workers_agree,
    settings_of,
    warn_of_changed_settings,
)


class Run:
    """Restores the newest checkpoint of a folder, and saves at the end of every epoch.

    >>> run = Run("runs/mini", model, tokenizer=tokenizer, steps_per_epoch=100, data=store.fingerprint)
    >>> batches = tfllm.data.causal_lm(store, sequence_length=256, batch_size=16, start_step=run.step)
    >>> model.fit(batches, epochs=20, initial_epoch=run.epoch, steps_per_epoch=100, callbacks=run.callbacks())

    Args:
        folder: of the run; it is made if needed. An address (gs://…, s3://…) is read and written through `tf.io.gfile`.
        model: compiled. Afterwards its weights and its optimizer's state are those of the newest checkpoint.
        tokenizer: the model's, or the path of its folder.
        steps_per_epoch: steps between two checkpoints.
        data: describes what the batches are made of (a store's fingerprint, batch size, seed …). A run continues only with the
            data it began with.
        weights_from: a model folder, checkpoint or run, or its address. Its weights are the first weights, unless this run has
            a checkpoint of its own.
        keep: how many of the newest checkpoints stay.
        keep_every: checkpoints at multiples of this many epochs stay, too.
        best: name of a validation metric, such as "val_loss" or "val_macro_f1". The model of the epoch with its best value is
            kept in `best/`. Low is best for losses, errors, perplexities and bits per byte, high for all others.
        patience: stop after this many epochs without a better one; needs `best`.

    Raises:
        ValueError: the folder holds a run of another model, tokenizer or data, or a damaged checkpoint; or not all workers
            see the same folder.
    """

    def __init__(
        self,
        folder: str | Path,
        model: Any,
        *,
        tokenizer: Tokenizer | str | Path,
        steps_per_epoch: int,
        data: str = "",
        weights_from: str | Path | None = None,
        keep: int = 3,
        keep_every: int | None = None,
        best: str | None = None,
        patience: int | None = None,
    ):
        check_arguments(model, steps_per_epoch=steps_per_epoch, keep=keep, keep_every=keep_every, best=best, patience=patience)
        remote = RemoteFolder(str(folder)) if is_address(folder) else None
        self._logs = f"{folder}/logs"
        self.folder = Path(folder) if remote is None else remote.download()
        """The local folder; of a remote run, where checkpoints are written before they are copied."""
        self.model, self.tokenizer = model, tokenizers.get(tokenizer)
        self.steps_per_epoch, self.best, self.patience = steps_per_epoch, best, patience
        self.history: list[dict[str, Any]] = []
        """One record per epoch: step, every metric, and the tables of its evaluation."""
        self._manager = CheckpointManager(self.folder, remote, keep, keep_every and keep_every * steps_per_epoch)
        self._data = data
        self._metric_values: dict[str, float] = {}  # of the epoch that the checkpoint is inside of
        self._callback_states: dict[str, Any] = {}  # likewise
        self._stateful_callbacks: dict[str, Any] = {}
        self._evaluation: EvaluationCallback | None = None
        self._pause_seconds = 0.0
        self._strategy = model.distribute_strategy
        self.is_chief = strategies.is_chief(self._strategy)
        """Whether this worker writes."""
        self._restore_or_start(weights_from)

    def __repr__(self) -> str:
        best = f", best={self.best!r}" if self.best else ""
        return f"Run({str(self.folder)!r}, {type(self.model).__name__}, epoch {self.epoch}, step {self.step}{best})"

    @property
    def step(self) -> int:
        """Steps done; the next batch is that of this step, counted from 0."""
        return int(self.model.optimizer.iterations.numpy())

    @property
    def epoch(self) -> int:
        """Epochs done, validation included."""
        return (self.step - self.steps_since_record) // self.steps_per_epoch

    @property
    def steps_since_record(self) -> int:
        """Steps done since the last epoch's record."""
        inside = self.step % self.steps_per_epoch
        unrecorded = self.step > 0 and not inside and (not self.history or self.history[-1]["step"] < self.step)
        return self.steps_per_epoch if unrecorded else inside

    @property
    def unrecorded(self) -> int:
        """The old name of `steps_since_record`."""
        warn_renamed("Run.unrecorded", "Run.steps_since_record")
        return self.steps_since_record

    @property
    def best_record(self) -> dict[str, Any] | None:
        """The record of the best epoch, the first of equals; None before there is one, or without `best`."""
        return None if self.best is None or not self.history else best_epoch(self.history, self.best)

    @property
    def exhausted(self) -> bool:
        """Whether `patience` epochs passed without a better one, so that `fit` has nothing left to do."""
        best = self.best_record
        return self.patience is not None and best is not None and len(self.history) - self.history.index(best) > self.patience

    def callbacks(
        self,
        *,
        sample: Callable[[], list[str]] | None = None,
        evaluate: Callable[[], Evaluation] | None = None,
        flops_per_token: int | None = None,
        tokens_per_step: int | None = None,
        hparams: Mapping[str, Any] | None = None,
        log_every: int = 10,
        samples_every: int | None = None,
        stall_after: float | None = None,
    ) -> list[keras.callbacks.Callback]:
        """The callbacks for `fit` that save, measure, and write for TensorBoard.

        Args:
            sample: returns texts to show after some epochs.
            evaluate: returns further scores of each epoch, and images to show after some.
            flops_per_token: of one training step, for the utilisation; `3 * config.forward_flops_per_token(S)`.
            tokens_per_step: tokens that a step reads, if the loss counts fewer.
            hparams: settings to show as hyperparameters, in addition to the model's and the optimizer's.
            log_every: steps between two points of the curves.
            samples_every: epochs between two sets of samples and images; the last epoch always has them. By default, at least
                500 steps lie between two sets, so that they take a small share of the time.
            stall_after: seconds without a step after which the process prints where each thread is and ends with code 1.
        """
        self._evaluation = None if evaluate is None else EvaluationCallback(evaluate)
        images = None if self._evaluation is None else self._evaluation.images
        throughput = Throughput(flops_per_token, tokens_per_step, state=self._callback_states.get("throughput"))
        points = self._callback_states.get("tensorboard")
        board = TensorBoard(self._logs, history=self.history, hparams=hparams, every=log_every, state=points)
        samples = Samples(board, tokenizer=self.tokenizer, sample=sample, images=images, every=samples_every)
        self._stateful_callbacks = {"throughput": throughput, "tensorboard": board}
        return [
            *([] if stall_after is None else [Watchdog(stall_after)]),
            throughput,
            *([] if self._evaluation is None else [self._evaluation]),
            # Points, then the checkpoint they belong to, then images: an error in an image must not lose an epoch.
            *([board] if self.is_chief else []),
            CheckpointCallback(self),
            *([samples] if self.is_chief else []),
        ]

    def save(self) -> Path:
        """Starts writing a checkpoint of the current step, while training goes on; `wait` waits for it.

        Raises:
            OSError: an earlier checkpoint could not be written.
        """
        started, step = time.perf_counter(), self.step
        path = self._checkpoint_path(step)
        if self.is_chief and not path.exists():
            WRITER.wait()
            snapshot = Snapshot.of(self.model, self.tokenizer, optimizer=True)
            state = self._state()
            WRITER.submit(lambda: self._manager.save_checkpoint(snapshot, state))
        self._pause_seconds = time.perf_counter() - started
        return path

    def record(self, logs: dict[str, Any]) -> None:
        """Ends an epoch whose last step was saved: `logs` become its record in the history."""
        step = self.step
        tables = {} if self._evaluation is None else self._evaluation.tables
        numbers = {"step": step} | {name: float(value) for name, value in logs.items()}
        self.history.append(numbers | {"checkpoint_pause": self._pause_seconds} | tables)
        if not self.is_chief:
            return
        if self.best_record is self.history[-1]:
            # Before the history: if the process is killed in between, the epoch is validated and its model written again.
            best = Snapshot.of(self.model, self.tokenizer)
            WRITER.submit(lambda: self._manager.save_best(best))
        path, history = self._checkpoint_path(step), list(self.history)
        WRITER.submit(lambda: self._manager.save_history(history, path))

    def wait(self) -> None:
        """Waits until everything saved is on the disk, on all workers.

        Raises:
            OSError: something could not be written; what was written before is untouched.
        """
        WRITER.wait()
        strategies.barrier(self._strategy)

    def restore_metrics(self) -> None:
        """Assigns the metrics of an epoch that was left half done. `fit` has reset them."""
        for variable in self.model.metrics_variables:
            if variable.path in self._metric_values:
                variable.assign(self._metric_values[variable.path])
        self._metric_values = {}

    def _restore_or_start(self, weights_from: str | Path | None) -> None:
        """Restores the newest checkpoint, or takes the first weights; then checks that all workers agree."""
        WRITER.wait()
        if self.is_chief:  # before the folder is read: another process may be writing its last checkpoint there
            self.folder.mkdir(parents=True, exist_ok=True)
            lock_run_folder(self.folder)
        checkpoint, recorded = latest_checkpoint(self.folder), {}
        if checkpoint is not None:
            recorded = self._restore(checkpoint)
        elif weights_from is not None:
            # Its local copy lives as long as this object.
            source = RemoteFolder(str(weights_from)) if is_address(weights_from) else None
            local = weights_from if source is None else source.download_model()
            load_initial_weights(self.model, self.tokenizer, model_folder(local))
        check_workers_agree(self.model, self.folder, step=self.step, identity=self._identity())
        warn_of_changed_settings(self.folder, recorded, settings_of(self.model))
        if self.is_chief:
            self.model.config.save(self.folder / "config.json")

    def _restore(self, checkpoint: Path) -> dict[str, Any]:
        """Restores model, optimizer and history; returns the settings that the checkpoint was trained with."""
        state = read_state(checkpoint)
        check_resumable(
            self.folder,
            checkpoint,
            state,
            model=self.model,
            identity=self._identity(),
            steps_per_epoch=self.steps_per_epoch,
        )
        is_constant = not isinstance(self.model.optimizer.get_config()["learning_rate"], dict)
        learning_rate = float(np.asarray(self.model.optimizer.learning_rate)) if is_constant else None
        retry_transient(lambda: read_checkpoint(self.model, checkpoint))
        if learning_rate is not None:
            self.model.optimizer.learning_rate = learning_rate  # the one given now, not the checkpoint's
        self.history = state["history"]
        if self.steps_since_record:
            self._metric_values, self._callback_states = state["metrics"], state.get("callbacks", {})
            self.model.resume_inside_epoch(self.steps_since_record)
        return state["settings"]

    def _checkpoint_path(self, step: int) -> Path:
        return self.folder / "checkpoints" / checkpoint_name(step)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "identity": self._identity(),
            "settings": settings_of(self.model),
            "metrics": {variable.path: float(np.asarray(variable)) for variable in self.model.metrics_variables},
            "callbacks": {name: callback.state() for name, callback in self._stateful_callbacks.items()},
            "history": list(self.history),
        }

    def _identity(self) -> dict[str, str]:
        """What must not change while the run lasts."""
        return {
            "tokenizer": self.tokenizer.fingerprint(),
            "data": self._data,
            "optimizer": type(self.model.optimizer).__name__,
            "best": self.best or "",
        }
