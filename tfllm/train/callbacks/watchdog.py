"""Ends a process whose training does not progress, so that whoever started it can start it again.

Input: the events of `fit`. Output: a stack trace of each thread on standard error, and exit code 1.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from typing import Any

import keras

EXIT_STALLED = 1


class Watchdog(keras.callbacks.Callback):
    """Ends the process with `EXIT_STALLED` when no step of training or validation ends for `seconds`.

    A step waits for its batch and for the other workers, so an input pipeline that hangs is noticed, and so is a worker that
    hangs. `seconds` must be more than the longest pause: the first step builds the graph, and an epoch ends with samples and
    scores.

    Raises:
        ValueError: `seconds` is not above 0.
    """

    def __init__(self, seconds: float):
        super().__init__()
        if not seconds > 0:
            raise ValueError(f"stall_after={seconds} is invalid: expected seconds, more than 0, or None for no watchdog.")
        self._seconds, self._latest = seconds, 0.0
        self._stopped = threading.Event()

    def on_train_begin(self, logs: Any = None) -> None:
        self._stopped.clear()
        self._note_progress()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def on_train_end(self, logs: Any = None) -> None:
        self._stopped.set()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._note_progress()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._note_progress()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._note_progress()

    def _note_progress(self) -> None:
        self._latest = time.monotonic()

    def _watch(self) -> None:
        # `fit` may also end with an error; then it calls no callback.
        while self.model.fit_status.running and not self._stopped.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._latest > self._seconds:
                print(
                    f"\nno step ended for {self._seconds:g} s: the input pipeline gives no batch, or another worker does not "
                    "take part. Start again to go on from the last checkpoint. Here each thread stands:",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=2)
                os._exit(EXIT_STALLED)
