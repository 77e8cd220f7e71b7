"""Prints the progress of `fit` as lines, for a file or a pipe, where every state of a progress bar would stay.

Input: the events and arguments of `fit`. Output: lines on standard output.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import keras

from tfllm.progress import INTERVAL, shows_bars

EPOCHS = 100
"""The end of so many epochs is always printed; of later ones, if the last line is `INTERVAL` seconds old."""


class ProgressLines(keras.callbacks.Callback):
    """Prints lines like those of Keras' `verbose=2`, also inside a long epoch.

    Epoch 1/3 - 40/100 - 30s - 751ms/step - loss: 5.1342 - accuracy: 0.0312
    Epoch 1/3 - 100/100 - 76s - 760ms/step - loss: 4.2107 - accuracy: 0.1172 - val_loss: 4.1038 - val_accuracy: 0.1225
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = self._epochs_done = 0
        self._epoch_start = self._last_line = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._epochs_done, self._last_line = 0, time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._epoch_start = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._last_line >= INTERVAL and batch + 1 != self.params["steps"]:
            self._print(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._epochs_done += 1
        if self._epochs_done <= EPOCHS or epoch + 1 == self.params["epochs"] or time.monotonic() - self._last_line >= INTERVAL:
            self._print(self.params["steps"], logs)

    def _print(self, step: int | None, logs: dict[str, Any] | None) -> None:
        self._last_line = time.monotonic()
        seconds, steps = self._last_line - self._epoch_start, self.params["steps"]
        place = [f"Epoch {self._epoch + 1}/{self.params['epochs']}"]
        if step is not None:
            place += [f"{step}/{steps}" if steps else str(step), f"{seconds:.0f}s", f"{1000 * seconds / step:.0f}ms/step"]
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        values = [f"{name}: {_short(value)}" for name, value in numbers.items()]
        print(" - ".join(place + values), flush=True)


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 or not value else f"{value:.4e}"


def with_progress_lines(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `fit`, changed so that `verbose="auto"` prints lines if standard output is not a terminal."""
    if arguments.get("verbose", "auto") != "auto" or shows_bars(sys.stdout):
        return arguments
    callbacks = arguments.get("callbacks")
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(ProgressLines())
    else:
        callbacks = [*keras.tree.flatten(callbacks or []), ProgressLines()]
    return arguments | {"verbose": 0, "callbacks": callbacks}


def without_progress_bar(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `evaluate` or `predict`, without a progress bar if standard output is not a terminal."""
    if arguments.get("verbose", "auto") != "auto" or shows_bars(sys.stdout):
        return arguments
    return arguments | {"verbose": 0}
