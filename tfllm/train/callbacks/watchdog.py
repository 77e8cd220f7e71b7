"""A process that stands still says where, and ends: whoever started it can start it again."""

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
    """Ends the process with `EXIT_STALLED` where no step of training or validation ends for `seconds`.

    A step waits for its batch, so an input pipeline that gives none is found, and so is a worker that does not take part.
    Give it more than the longest pause: the first step builds the graph, and an epoch ends with samples and scores.

    Raises:
        ValueError: `seconds` is not above 0.
    """

    def __init__(self, seconds: float):
        super().__init__()
        if not seconds > 0:
            raise ValueError(f"stall_after={seconds}: give seconds, more than 0, or None for no watch")
        self._seconds, self._latest = seconds, 0.0
        self._over = threading.Event()

    def on_train_begin(self, logs: Any = None) -> None:
        self._over.clear()
        self._alive()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def on_train_end(self, logs: Any = None) -> None:
        self._over.set()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._alive()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._alive()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._alive()

    def _alive(self) -> None:
        self._latest = time.monotonic()

    def _watch(self) -> None:
        # `fit` may also end with an error, of which no callback hears.
        while self.model.fit_status.running and not self._over.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._latest > self._seconds:
                print(
                    f"\nno step ended for {self._seconds:g} s: the input pipeline gives no batch, or another worker does not "
                    "take part. Start again to go on from the last checkpoint. Here each thread stands:",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=2)
                os._exit(EXIT_STALLED)
