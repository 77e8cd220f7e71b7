"""Keras' progress bar as lines, for a file or a pipe: there each state of a bar would stay."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras

from tfllm.progress import INTERVAL, shows_bars

EPOCHS = 100
"""The epochs whose end is always told; of later ones it is where the last line is `INTERVAL` seconds old."""


class ProgressLines(keras.callbacks.Callback):
    """Prints how far `fit` is, as Keras' `verbose=2` writes it, but also inside a long epoch.

    Epoch 1/3 - 40/100 - 30s - 751ms/step - loss: 5.1342 - accuracy: 0.0312
    Epoch 1/3 - 100/100 - 76s - 760ms/step - loss: 4.2107 - accuracy: 0.1172 - val_loss: 4.1038 - val_accuracy: 0.1225
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = self._ended = 0
        self._began = self._said = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._ended, self._said = 0, time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._began = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._said >= INTERVAL and batch + 1 != self.params["steps"]:
            self._say(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._ended += 1
        if self._ended <= EPOCHS or epoch + 1 == self.params["epochs"] or time.monotonic() - self._said >= INTERVAL:
            self._say(self.params["steps"], logs)

    def _say(self, step: int | None, logs: dict[str, Any] | None) -> None:
        self._said = time.monotonic()
        seconds, steps = self._said - self._began, self.params["steps"]
        place = [f"Epoch {self._epoch + 1}/{self.params['epochs']}"]
        if step is not None:
            place += [f"{step}/{steps}" if steps else str(step), f"{seconds:.0f}s", f"{1000 * seconds / step:.0f}ms/step"]
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        values = [f"{name}: {_short(value)}" for name, value in numbers.items()]
        print(" - ".join(place + values), flush=True)


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 or not value else f"{value:.4e}"


def with_progress_lines(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `fit`, in which `verbose="auto"` means lines where standard output is no terminal."""
    if arguments.get("verbose", "auto") != "auto" or shows_bars(sys.stdout):
        return arguments
    callbacks = arguments.get("callbacks")
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(ProgressLines())
    else:
        callbacks = [*keras.tree.flatten(callbacks or []), ProgressLines()]
    return arguments | {"verbose": 0, "callbacks": callbacks}


def without_progress_bar(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `evaluate` or `predict`, whose bar would stand among the results where standard output is no terminal."""
    if arguments.get("verbose", "auto") != "auto" or shows_bars(sys.stdout):
        return arguments
    return arguments | {"verbose": 0}
