"""A run: one folder that carries a training from its first step to its last, however often the process dies on the way.

    runs/demo/
        config.json          the model's architecture
        checkpoints/         the newest few, see `checkpoints.py`
        best/                the model of the best epoch so far, where `best` was asked for
        logs/                for TensorBoard

A checkpoint is written after an epoch's last step, while validation and the next epoch go on. A run that was killed goes on at
its last one, a run that was asked to stop (SIGTERM) where it stood; both end with the weights, bit for bit, of a run left
alone, on the same machine with the same number of threads.

Of several workers each restores, and the first alone writes: the folder must be one that all of them see.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfllm import tokenizers
from tfllm.config import ModelConfig
from tfllm.files import lock, patiently
from tfllm.tokenizers import Tokenizer
from tfllm.train.callbacks.evaluation import Evaluating, Evaluation
from tfllm.train.callbacks.samples import Samples
from tfllm.train.callbacks.tensorboard import TensorBoard
from tfllm.train.callbacks.throughput import Throughput
from tfllm.train.callbacks.watchdog import Watchdog
from tfllm.train.distribution import strategies
from tfllm.train.runs import weights
from tfllm.train.runs.best_epoch import best_of
from tfllm.train.runs.checkpoint_callback import Checkpointing
from tfllm.train.runs.checkpoints import (
    Snapshot,
    checkpoint_name,
    latest_checkpoint,
    model_folder,
    read_checkpoint,
    read_state,
    take_weights,
    task_changes,
)
from tfllm.train.runs.checkpoint_manager import Keeper
from tfllm.train.runs.remote_folder import Remote, is_address
from tfllm.train.runs.resume_checks import check_same, settings_of
from tfllm.train.runs.async_writer import WRITER


class Run:
    """Restores what its folder holds, and saves at the end of every epoch.

    >>> run = Run("runs/mini", model, tokenizer=tokenizer, steps_per_epoch=100, data=store.fingerprint)
    >>> batches = tfllm.data.causal_lm(store, sequence_length=256, batch_size=16, start_step=run.step)
    >>> model.fit(batches, epochs=20, initial_epoch=run.epoch, steps_per_epoch=100, callbacks=run.callbacks())

    Args:
        folder: of the run; made if it is not there. An address (gs://…, s3://…) is read and written through `tf.io.gfile`.
        model: compiled. Its weights and its optimizer's state are those of the newest checkpoint afterwards.
        tokenizer: the model's, or the path of its folder.
        steps_per_epoch: how often to save: an epoch is the distance between two checkpoints.
        data: what the batches are made of (a store's fingerprint, batch size, seed …): a run goes on with its own data only.
        weights_from: a model folder, checkpoint or run to start from where this run has no checkpoint of its own; an address
            too.
        keep: checkpoints kept, the newest.
        keep_every: keep those of each multiple of so many epochs, too.
        best: name of the validation measure whose best epoch is kept as a model folder, "val_loss" or "val_macro_f1", say.
            Losses, errors, perplexities and bits per byte are best low, all others high.
        patience: stop after as many epochs without a better one; needs `best`.

    Raises:
        ValueError: the folder holds a run of another model, tokenizer or data, or a damaged checkpoint; or not all workers
            see the same one.
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
        if not hasattr(model, "compiled"):
            raise TypeError(
                f"model={model!r:.80} must be a compiled model, got {type(model).__name__}: load or make it, and call "
                "model.compile(optimizer); its weights may come from a folder by weights_from"
            )
        for name, count in (("steps_per_epoch", steps_per_epoch), ("keep", keep), ("keep_every", keep_every)):
            if count is not None and count < 1:
                raise ValueError(f"{name}={count} must be at least 1")
        if patience is not None and (patience < 1 or best is None):
            raise ValueError(f"patience={patience} goes with best={best!r}: give a measure's name, and at least 1 epoch")
        if not model.compiled:
            raise ValueError("the model is not compiled: call model.compile(optimizer) before Run, which restores both")
        if steps_per_epoch % model.steps_per_execution:
            raise ValueError(
                f"steps_per_epoch={steps_per_epoch} is not a multiple of steps_per_execution={model.steps_per_execution}"
            )
        remote = Remote(str(folder)) if is_address(folder) else None
        self._logs = f"{folder}/logs"
        self.folder = Path(folder) if remote is None else remote.fetch()
        """Here; of an address, where checkpoints stand before they are copied."""
        self.model, self.tokenizer = model, tokenizers.get(tokenizer)
        self.steps_per_epoch, self.best, self.patience = steps_per_epoch, best, patience
        self._keeper = Keeper(self.folder, remote, keep, keep_every and keep_every * steps_per_epoch)
        self.history: list[dict[str, Any]] = []
        """One record an epoch: step, every metric, and the tables of its evaluation."""
        self._data = data
        self._metrics: dict[str, float] = {}
        self._resumed: dict[str, Any] = {}
        self._watching: dict[str, Any] = {}
        self._evaluating: Evaluating | None = None
        self._paused = 0.0
        self._strategy = model.distribute_strategy
        self.writes = strategies.is_chief(self._strategy)
        """Is this the worker that writes?"""
        WRITER.wait()
        if self.writes:  # before it is read: who trained here may be writing its last checkpoint
            self.folder.mkdir(parents=True, exist_ok=True)
            lock(self.folder)
        checkpoint = latest_checkpoint(self.folder)
        if checkpoint is not None:
            self._restore(checkpoint)
        elif weights_from is not None:
            there = Remote(str(weights_from)) if is_address(weights_from) else None  # its folder here goes when it does
            take_weights(self.model, self.tokenizer, model_folder(there.fetch_model() if there else weights_from))
        self._check_agreement()
        if self.writes:
            model.config.save(self.folder / "config.json")

    def __repr__(self) -> str:
        best = f", best={self.best!r}" if self.best else ""
        return f"Run({str(self.folder)!r}, {type(self.model).__name__}, epoch {self.epoch}, step {self.step}{best})"

    @property
    def step(self) -> int:
        """Steps done: the next batch is that of this step, counted from 0."""
        return int(self.model.optimizer.iterations.numpy())

    @property
    def epoch(self) -> int:
        """Epochs done, with their validation."""
        return (self.step - self.unrecorded) // self.steps_per_epoch

    @property
    def unrecorded(self) -> int:
        """Steps done since the last epoch's record."""
        inside = self.step % self.steps_per_epoch
        ended = self.step > 0 and not inside and (not self.history or self.history[-1]["step"] < self.step)
        return self.steps_per_epoch if ended else inside

    @property
    def best_record(self) -> dict[str, Any] | None:
        """The record of the best epoch, the first of equals; None before there is one, or where no `best` was asked for."""
        return None if self.best is None or not self.history else best_of(self.history, self.best)

    @property
    def exhausted(self) -> bool:
        """Did `patience` epochs pass without a better one? Then `fit` has nothing to do."""
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
        """What `fit` needs to save, to measure and to write for TensorBoard.

        Args:
            sample: texts to show after some epochs.
            evaluate: more scores of each epoch, and pictures to show after some.
            flops_per_token: of one training step, for the utilisation; `3 * config.forward_flops_per_token(S)`.
            tokens_per_step: how many tokens a step reads, where the loss counts fewer.
            hparams: settings to show as hyperparameters, beside the model's and the optimizer's.
            log_every: steps between two points of the curves.
            samples_every: epochs between two sets of samples and pictures; the last epoch always has them. Unless given, at
                least 500 steps lie between two sets, so that they take a small share of the time.
            stall_after: seconds without a step after which the process says where it stands and ends with code 1.
        """
        self._evaluating = None if evaluate is None else Evaluating(evaluate)
        pictures = None if self._evaluating is None else self._evaluating.pictures
        throughput = Throughput(flops_per_token, tokens_per_step, state=self._resumed.get("throughput"))
        points = self._resumed.get("tensorboard")
        board = TensorBoard(self._logs, history=self.history, hparams=hparams, every=log_every, state=points)
        samples = Samples(board, tokenizer=self.tokenizer, sample=sample, pictures=pictures, every=samples_every)
        self._watching = {"throughput": throughput, "tensorboard": board}
        return [
            *([] if stall_after is None else [Watchdog(stall_after)]),
            throughput,
            *([] if self._evaluating is None else [self._evaluating]),
            # Points, then what is saved after them, then pictures: an error in a picture must not cost an epoch.
            *([board] if self.writes else []),
            Checkpointing(self),
            *([samples] if self.writes else []),
        ]

    def save(self) -> Path:
        """Has a checkpoint of this very step written, while training goes on; `wait` waits for it.

        Raises:
            OSError: an earlier one could not be written.
        """
        started, step = time.perf_counter(), self.step
        final = self.folder / "checkpoints" / checkpoint_name(step)
        if self.writes and not final.exists():
            WRITER.wait()
            snapshot = Snapshot.of(self.model, self.tokenizer, optimizer=True)
            state = self._state()
            WRITER.submit(lambda: self._keeper.checkpoint(snapshot, state))
        self._paused = time.perf_counter() - started
        return final

    def record(self, logs: dict[str, Any]) -> None:
        """Ends an epoch, whose last step was saved: `logs` become its record in the history."""
        step = self.step
        tables = {} if self._evaluating is None else self._evaluating.tables
        numbers = {"step": step} | {name: float(value) for name, value in logs.items()}
        self.history.append(numbers | {"checkpoint_pause": self._paused} | tables)
        if not self.writes:
            return
        if self.best_record is self.history[-1]:
            # Before the record: killed in between, the epoch is validated again, and the same is written again.
            best = Snapshot.of(self.model, self.tokenizer)
            WRITER.submit(lambda: self._keeper.best(best))
        final, history = self.folder / "checkpoints" / checkpoint_name(step), list(self.history)
        WRITER.submit(lambda: self._keeper.history(history, final))

    def wait(self) -> None:
        """Waits until all that was saved is on the disk, and until all workers know it.

        Raises:
            OSError: something could not be written; what was written before is untouched.
        """
        WRITER.wait()
        strategies.meet(self._strategy)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "identity": self._identity(),
            "settings": settings_of(self.model),
            "metrics": {variable.path: float(np.asarray(variable)) for variable in self.model.metrics_variables},
            "callbacks": {name: callback.state() for name, callback in self._watching.items()},
            "history": list(self.history),
        }

    def restore_metrics(self) -> None:
        """Gives the metrics of a half-done epoch back, after `fit` has reset them."""
        for variable in self.model.metrics_variables:
            if variable.path in self._metrics:
                variable.assign(self._metrics[variable.path])
        self._metrics = {}

    def _restore(self, checkpoint: Path) -> None:
        changed = ModelConfig.load(checkpoint / "config.json").differences(self.model.config, but_for={"remat"})
        changed += task_changes(checkpoint, self.model)
        if changed:
            raise ValueError(f"{self.folder} holds a run of another model: {'; '.join(changed)}. Choose another folder")
        state = read_state(checkpoint)
        check_same(self.folder, state, identity=self._identity(), settings=settings_of(self.model))
        inside = state["step"] % state["steps_per_epoch"]
        if state["steps_per_epoch"] != self.steps_per_epoch and (inside or state["step"] % self.steps_per_epoch):
            raise ValueError(
                f"{self.folder} is at step {state['step']} with {state['steps_per_epoch']} steps an epoch: "
                f"with steps_per_epoch={self.steps_per_epoch} it would stand inside an epoch. Give the same, or a divisor"
            )
        rate = None if self._scheduled() else float(np.asarray(self.model.optimizer.learning_rate))
        patiently(lambda: read_checkpoint(self.model, checkpoint))
        if rate is not None:
            self.model.optimizer.learning_rate = rate  # the one given now, not the checkpoint's
        self.history = state["history"]
        if self.unrecorded:
            self._metrics, self._resumed = state["metrics"], state.get("callbacks", {})
            self.model.resume_inside_epoch(self.unrecorded)

    def _check_agreement(self) -> None:
        """Raises ValueError unless all workers are to take the same step from the same weights, on the same data."""
        if strategies.workers(self._strategy) == 1:
            return
        if not strategies.agree(self._strategy, self.step):
            raise ValueError(
                f"{self.folder} is at step {self.step} here and at another for other workers: give one all can see"
            )
        start = json.dumps(self._identity()) + weights.digest_of(self.model.variables)
        if not strategies.agree(self._strategy, int(hashlib.sha256(start.encode()).hexdigest()[:12], 16)):
            raise ValueError(
                "the workers start from other weights, data or tokenizers: give all the same store, tokenizer and model "
                f"(here data is {self._data!r}, the tokenizer {self.tokenizer.fingerprint()[:12]}…)"
            )

    def _scheduled(self) -> bool:
        return isinstance(self.model.optimizer.get_config()["learning_rate"], dict)

    def _identity(self) -> dict[str, str]:
        """What must not change."""
        return {
            "tokenizer": self.tokenizer.fingerprint(),
            "data": self._data,
            "optimizer": type(self.model.optimizer).__name__,
            "best": self.best or "",
        }
