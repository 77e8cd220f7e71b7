"""When a run is saved: after the last step of every epoch, and where it stands when a worker is asked to end."""

from __future__ import annotations

import signal
import threading
from typing import Any, Protocol

import keras

from tfllm.train.distribution import strategies
from tfllm.train.runs.async_writer import WRITER

EXIT_PREEMPTED = 143
"""The exit code after SIGTERM: 128 + 15, as the shell has it. The run was saved and can be started again."""


class Savable(Protocol):
    """What is saved: `train.runs.run.Run`."""

    steps_per_epoch: int
    patience: int | None

    @property
    def step(self) -> int: ...

    @property
    def epoch(self) -> int: ...

    @property
    def unrecorded(self) -> int: ...

    def save(self) -> Any: ...

    def record(self, logs: dict[str, Any]) -> None: ...

    def wait(self) -> None: ...

    @property
    def exhausted(self) -> bool: ...

    def restore_metrics(self) -> None: ...


class Checkpointing(keras.callbacks.Callback):
    """Saves a run after every epoch's last step, and inside an epoch where it ends there or the process gets SIGTERM.

    All workers end after the same step, that of training or validation which is next when one of them was asked to end.
    An epoch that a callback ends (`model.stop_training`) is no record: the next `fit` goes on inside it.

    Raises:
        OSError: a checkpoint could not be written; at the next step.
        ValueError: `fit` was given other epochs than the run's, the run has ended, or the data ends inside an epoch.
        SystemExit: with `EXIT_PREEMPTED`, once saved.
    """

    def __init__(self, run: Savable):
        super().__init__()
        self._run, self._asked_to_end = run, False

    def on_train_begin(self, logs: Any = None) -> None:
        if self._run.exhausted:
            raise ValueError("the run has ended by its patience: load best/, or give more patience (`run.exhausted` says so)")
        if self.params["steps"] != self._run.steps_per_epoch:
            raise ValueError(
                f"fit has steps_per_epoch={self.params['steps']}, the run {self._run.steps_per_epoch}: give both the same"
            )
        if self.model.steps_done_before != self._run.unrecorded:
            raise ValueError(
                f"the run stands {self._run.unrecorded} steps inside an epoch, where an earlier fit was left: make the model "
                "and the Run again, to go on from its last checkpoint"
            )
        if threading.current_thread() is threading.main_thread():  # `fit` puts back what was there
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_end(self, logs: Any = None) -> None:
        self._run.wait()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch != self._run.epoch:
            raise ValueError(f"fit begins epoch {epoch}, the run is at {self._run.epoch}: give fit initial_epoch=run.epoch")
        self._run.restore_metrics()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.end_asked = self._asked_to_end

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        WRITER.check()
        if batch + 1 == self._run.steps_per_epoch or self.model.end_agreed:
            self._run.save()
        self._leave_if_agreed()

    def on_test_begin(self, logs: Any = None) -> None:
        if self._inside_an_epoch():  # before validation, whose metrics are the same variables
            self._run.save()
            self._run.wait()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.end_asked = self._asked_to_end

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._leave_if_agreed()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._inside_an_epoch():
            self._run.save()
            self._run.wait()
            if not self.model.stop_training:
                raise ValueError(
                    f"the data ended at step {self._run.step}, inside an epoch of {self._run.steps_per_epoch} steps; the run "
                    "is saved there. Give a dataset that repeats (`.repeat()`), or steps_per_epoch as many as it has"
                )
            return
        self._run.record(logs or {})
        # Scores that each worker found by itself may differ in their last bits.
        if self._run.patience and strategies.of_first(self.model.distribute_strategy, float(self._run.exhausted)):
            self.model.stop_training = True

    def _on_sigterm(self, number: int, frame: Any) -> None:
        self._asked_to_end = True

    def _inside_an_epoch(self) -> bool:
        return self._run.step % self._run.steps_per_epoch > 0

    def _leave_if_agreed(self) -> None:
        if self.model.end_agreed:
            self.model.fitting = False  # no step will end any more: the watchdog need not wait for one
            self._run.wait()
            print("\nAsked to end: the run is saved. Start again to go on.", flush=True)
            raise SystemExit(EXIT_PREEMPTED)
