"""One process of a contender of distribution.py: trains by `fit`, some epochs each time it is told "go".

Enters: the job as JSON in argv[1], then lines on standard input; TF_CONFIG where there are several workers. Leaves: one JSON
line when its first step is done, one a turn.

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

from tfllm import train
from tfllm.tokenizers import ByteTokenizer


def main() -> None:
    job = json.loads(sys.argv[1])
    with train.strategy(job["strategy"], devices=job["devices"]).scope():
        model, to_features = training_worker.tfllm(job)
    run, callbacks = None, []
    if job["folder"]:
        run = train.Run(job["folder"], model, tokenizer=ByteTokenizer(), steps_per_epoch=job["steps"], keep=1)
        callbacks = run.callbacks()
    model.fit(
        training_worker.rows_of(job).map(to_features).prefetch(2),
        initial_epoch=run.epoch if run else 0,
        epochs=1 << 30,
        steps_per_epoch=job["steps"],
        callbacks=[*callbacks, Turns(job["epochs"], run)],
        verbose=0,
    )


class Turns(keras.callbacks.Callback):
    """Waits for its turn before every so many epochs, and reports after them."""

    def __init__(self, epochs: int, run: train.Run | None):
        super().__init__()
        self._epochs, self._run, self._done = epochs, run, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._done and batch == 0:
            print(json.dumps({"first_step_at": time.time()}), flush=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._done % self._epochs == 0:
            if self._done and sys.stdin.readline().strip() != "go":
                sys.exit()
            self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._done += 1
        if self._done % self._epochs:
            return
        pauses = []
        if self._run is not None:
            self._run.wait()
            pauses = [record["checkpoint_pause"] for record in self._run.history[-self._epochs :]]
        print(json.dumps({"seconds": time.perf_counter() - self._started, "pauses": pauses}), flush=True)


if __name__ == "__main__":
    main()
