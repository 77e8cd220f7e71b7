"""One process of a contender of distribution.py: trains by `fit`, some epochs each time it is told "go".

The job is a shape's name, precision, strategy, steps an epoch and epochs a turn; TF_CONFIG where there are several workers. It
is ready when it has taken a turn, and says when its first step was done.

With `job["folder"]` every epoch ends with a checkpoint there, and a turn lasts until the last of them is on the disk.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import training_worker
from shapes import SHAPES
from turns import Meter, peak_mb, say, turns, versions

from tfllm import train
from tfllm.tokenizers import ByteTokenizer


def main() -> None:
    job = json.loads(sys.argv[1])
    shape = SHAPES[job["shape"]]
    with train.strategy(job["strategy"], devices=job["devices"]).scope():
        model, to_features = training_worker.tfllm(shape, job["precision"])
    run, callbacks = None, []
    if job["folder"]:
        run = train.Run(job["folder"], model, tokenizer=ByteTokenizer(), steps_per_epoch=job["steps"], keep=1)
        callbacks = run.callbacks()
    model.fit(
        training_worker.batches(shape).map(to_features).prefetch(2),
        initial_epoch=run.epoch if run else 0,
        epochs=1 << 30,
        steps_per_epoch=job["steps"],
        callbacks=[*callbacks, Turns(job["epochs"], run)],
        verbose=0,
    )


class Turns(keras.callbacks.Callback):
    """Waits for its turn before every so many epochs but the first, and reports after them."""

    def __init__(self, epochs: int, run: train.Run | None):
        super().__init__()
        self._epochs, self._run, self._done = epochs, run, 0
        self._told, self._meter, self._first_step_at = turns(), Meter(), 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._first_step_at = self._first_step_at or time.time()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._done and self._done % self._epochs == 0:
            if next(self._told, None) is None:
                sys.exit()
            self._meter = Meter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._done += 1
        if self._done % self._epochs:
            return
        pauses = []
        if self._run is not None:
            self._run.wait()
            pauses = [record["checkpoint_pause"] for record in self._run.history[-self._epochs :]]
        if self._done > self._epochs:
            say(self._meter.report() | {"pauses": pauses})
        else:
            used = versions("tensorflow", "keras")
            say({"first_step_at": self._first_step_at, "peak_mb": peak_mb(), "versions": used})


if __name__ == "__main__":
    main()
