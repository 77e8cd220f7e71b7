"""The Keras callback that saves a run: after the last step of every epoch, and wherever SIGTERM reaches the process.

Input: a `Run` and the events of `fit`. Output: calls of `Run.save` and `Run.record`.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import keras

from tfllm.train.distribution import strategies
from tfllm.train.runs.async_writer import WRITER

if TYPE_CHECKING:
    from tfllm.train.runs.run import Run

EXIT_PREEMPTED = 143
"""The exit code after SIGTERM: 128 + 15, as in a shell. The run was saved and can be started again."""


class CheckpointCallback(keras.callbacks.Callback):
    """Saves a run after every epoch's last step, and inside an epoch where `fit` ends there or the process receives SIGTERM.

    When one worker receives SIGTERM, all workers end after the same step, of training or of validation.
    An epoch that another callback ends (`model.stop_training`) has no record: the next `fit` continues inside it.

    Raises:
        OSError: a checkpoint could not be written; raised at the next step.
        ValueError: `fit` has other epochs than the run, the run's patience is exhausted, or the data ends inside an epoch.
        SystemExit: with `EXIT_PREEMPTED`, after the run is saved.
    """

    def __init__(self, run: Run):
        super().__init__()
        self._run = run

    def on_train_begin(self, logs: Any = None) -> None:
        self._check_fit_arguments()
        status = self.model.fit_status
        status.preemption_requested = status.preemption_agreed = False

        def on_sigterm(number: int, frame: Any) -> None:
            status.preemption_requested = True

        if threading.current_thread() is threading.main_thread():  # `fit` restores the handler
            signal.signal(signal.SIGTERM, on_sigterm)

    def on_train_end(self, logs: Any = None) -> None:
        self._run.wait()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch != self._run.epoch:
            raise ValueError(f"fit begins epoch {epoch}, the run is at {self._run.epoch}: give fit initial_epoch=run.epoch")
        self._run.restore_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        WRITER.check()
        if batch + 1 == self._run.steps_per_epoch or self.model.fit_status.preemption_agreed:
            self._run.save()
        self._exit_if_preempted()

    def on_test_begin(self, logs: Any = None) -> None:
        if self._inside_an_epoch():  # before validation, which uses the same metric variables
            self._run.save()
            self._run.wait()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._exit_if_preempted()

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
        # Scores that each worker computes by itself may differ in their last bits: the first worker decides.
        if self._run.patience and strategies.value_of_first_worker(self.model.distribute_strategy, float(self._run.exhausted)):
            self.model.stop_training = True

    def _check_fit_arguments(self) -> None:
        run = self._run
        if run.exhausted:
            raise ValueError("the run has ended by its patience: load best/, or give more patience (`run.exhausted` says so)")
        if self.params["steps"] != run.steps_per_epoch:
            raise ValueError(
                f"fit has steps_per_epoch={self.params['steps']}, the run {run.steps_per_epoch}: give both the same"
            )
        if self.model.fit_status.steps_to_skip != run.steps_since_record:
            raise ValueError(
                f"the run stands {run.steps_since_record} steps inside an epoch, where an earlier fit was left: make the model "
                "and the Run again, to go on from its last checkpoint"
            )

    def _inside_an_epoch(self) -> bool:
        return self._run.step % self._run.steps_per_epoch > 0

    def _exit_if_preempted(self) -> None:
        status = self.model.fit_status
        if status.preemption_agreed:
            status.running = False  # no further step is due, so the watchdog need not wait for one
            self._run.wait()
            print("\nAsked to end: the run is saved. Start again to go on.", flush=True)
            raise SystemExit(EXIT_PREEMPTED)
