"""A run: one folder that carries a training from its first step to its last, however often the process dies on the way.

    runs/demo/
        config.json          the model's architecture
        checkpoints/         the newest few, see `checkpoints.py`
        logs/                for TensorBoard

A run that was killed goes on at the end of its last epoch, one that was asked to stop (SIGTERM) where it stood; both end with
the weights, bit for bit, of a run left alone, on the same machine with the same number of threads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled  # there is no public way to ask

from tfllm.config import ModelConfig
from tfllm.tokenizers import Tokenizer
from tfllm.train import weights
from tfllm.train.callbacks import Checkpointing, Throughput
from tfllm.train.checkpoints import (
    checkpoint_name,
    latest_checkpoint,
    read_checkpoint,
    read_state,
    remove_all_but,
    write_checkpoint,
)
from tfllm.train.tensorboard import TensorBoard


class Run:
    """Restores what its folder holds, and saves at the end of every epoch.

    >>> run = Run("runs/mini", model, tokenizer=tokenizer, steps_per_epoch=100, data=store.fingerprint)
    >>> batches = tfllm.data.causal_lm(store, sequence_length=256, batch_size=16, start_step=run.step)
    >>> model.fit(batches, epochs=20, initial_epoch=run.epoch, steps_per_epoch=100, callbacks=run.callbacks())

    Args:
        folder: of the run; made if it is not there.
        model: compiled. Its weights and its optimizer's state are those of the newest checkpoint afterwards.
        tokenizer: the model's.
        steps_per_epoch: how often to save: an epoch is the distance between two checkpoints.
        data: what the batches are made of (a store's fingerprint, batch size, seed …): a run goes on with its own data only.
        weights_from: a model folder, checkpoint or run to start from where this run has no checkpoint of its own.
        keep: checkpoints kept.

    Raises:
        ValueError: the folder holds a run of another model, tokenizer or data, or a damaged checkpoint.
    """

    def __init__(
        self,
        folder: str | Path,
        model: Any,
        *,
        tokenizer: Tokenizer,
        steps_per_epoch: int,
        data: str = "",
        weights_from: str | Path | None = None,
        keep: int = 3,
    ):
        if steps_per_epoch < 1 or keep < 1:
            raise ValueError(f"steps_per_epoch={steps_per_epoch} and keep={keep} must be at least 1")
        if not model.compiled:
            raise ValueError("the model is not compiled: call model.compile(optimizer) before Run, which restores both")
        if steps_per_epoch % model.steps_per_execution:
            raise ValueError(
                f"steps_per_epoch={steps_per_epoch} is not a multiple of steps_per_execution={model.steps_per_execution}"
            )
        self.folder, self.model, self.tokenizer = Path(folder), model, tokenizer
        self.steps_per_epoch, self.keep = steps_per_epoch, keep
        self.history: list[dict[str, Any]] = []
        """One record an epoch: step, and every metric."""
        self._identity = {"tokenizer": tokenizer.fingerprint(), "data": data}
        self._metrics: dict[str, float] = {}
        checkpoint = latest_checkpoint(self.folder)
        if checkpoint is not None:
            self._restore(checkpoint)
        elif weights_from is not None:
            weights.read(_weights_file(Path(weights_from)), model.variables)
        self.folder.mkdir(parents=True, exist_ok=True)
        model.config.save(self.folder / "config.json")

    @property
    def step(self) -> int:
        """Steps done: the next batch is that of this step, counted from 0."""
        return int(self.model.optimizer.iterations.numpy())

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step // self.steps_per_epoch

    def callbacks(
        self,
        *,
        sample: Callable[[], list[str]] | None = None,
        flops_per_token: int | None = None,
        log_every: int = 10,
    ) -> list[keras.callbacks.Callback]:
        """What `fit` needs to save, to measure and to write for TensorBoard.

        Args:
            sample: texts to show at the end of each epoch.
            flops_per_token: of one training step, for the utilisation; `3 * config.forward_flops_per_token(S)`.
            log_every: steps between two points of the curves.
        """
        return [
            Throughput(flops_per_token),
            TensorBoard(self.folder / "logs", tokenizer=self.tokenizer, sample=sample, every=log_every),
            Checkpointing(self.save, self._restore_metrics),
        ]

    def save(self, logs: dict[str, Any] | None = None) -> Path:
        """Writes a checkpoint of this very step; `logs` becomes the epoch's record in the history."""
        step = self.step
        if logs is not None:
            self.history.append({"step": step} | {name: float(value) for name, value in logs.items()})
        final = self.folder / "checkpoints" / checkpoint_name(step)
        if not final.exists():
            state = {
                "step": step,
                "steps_per_epoch": self.steps_per_epoch,
                "identity": self._identity,
                "settings": self._settings(),
                "metrics": {variable.path: float(variable) for variable in self.model.metrics_variables},
                "history": self.history,
            }
            write_checkpoint(self.model, self.tokenizer, folder=self.folder, state=state)
            remove_all_but(self.folder, self.keep)
        return final

    def _restore_metrics(self) -> None:
        """Gives the metrics of a half-done epoch back, after `fit` has reset them."""
        for variable in self.model.metrics_variables:
            if variable.path in self._metrics:
                variable.assign(self._metrics[variable.path])
        self._metrics = {}

    def _restore(self, checkpoint: Path) -> None:
        there, here = ModelConfig.load(checkpoint / "config.json"), self.model.config
        if there != here:
            values = here.to_dict()
            changed = [f"{name} was {old}, is {values[name]}" for name, old in there.to_dict().items() if old != values[name]]
            raise ValueError(f"{self.folder} holds a run of another model: {'; '.join(changed)}. Choose another folder")
        state = read_state(checkpoint)
        for part, value in self._identity.items():
            if state["identity"][part] != value:
                raise ValueError(
                    f"{self.folder} was trained with another {part} ({state['identity'][part]!r}, now {value!r}). "
                    "Give it what it was started with, or choose another folder"
                )
        for name, value in self._settings().items():
            if state["settings"].get(name) != value:
                warnings.warn(
                    f"{self.folder} was trained with {name}={state['settings'].get(name)}, now {value}: "
                    "the run goes on, but no longer bit for bit as it would have",
                    stacklevel=3,
                )
        read_checkpoint(self.model, checkpoint)
        self.history = state["history"]
        if inside := self.step % self.steps_per_epoch:
            self._metrics = state["metrics"]
            self.model.resume_inside_epoch(inside)

    def _settings(self) -> dict[str, Any]:
        """What the last bits of a result depend on."""
        return {
            "dtype": self.model.dtype_policy.name,
            "seed": self.model.seed,
            "gradient_accumulation": self.model.gradient_accumulation,
            "cores": len(os.sched_getaffinity(0)),
            "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "deterministic_ops": is_op_determinism_enabled(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        }


def _weights_file(folder: Path) -> Path:
    holder = folder if (folder / "model.safetensors").is_file() else latest_checkpoint(folder) or folder
    return holder / "model.safetensors"
