"""Measures the speed of training.

Input: the clock and the metrics of `fit`. Output: tokens per second and utilisation in the epoch's logs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf


class Throughput(keras.callbacks.Callback):
    """Adds `tokens_per_second` to the epoch's logs, and `flops_utilisation` where `flops_per_token` is given.

    Tokens are those that the loss counts, or `tokens_per_step` for each step if it is given. Without it, a model whose loss
    counts something else (`model.weight_unit`: rows, words) gets `rows_per_second` or `words_per_second`.

    Time is measured from the end of the first step, which builds the graph, to the end of the last, without validation. If
    several processes trained the epoch, `state` holds what the earlier ones measured.
    The utilisation is the share of the speed of one large matrix product on this machine, timed once before training.
    """

    def __init__(
        self,
        flops_per_token: int | None = None,
        tokens_per_step: int | None = None,
        *,
        state: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self._resumed = state or _NOTHING
        self._earlier: Mapping[str, float] = _NOTHING
        self._flops_per_token, self._tokens_per_step = flops_per_token, tokens_per_step
        self._peak = self._ended = 0.0
        self._started: tuple[float, float] | None = None
        self._tokens_at_end: float | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        if self._flops_per_token:
            self._peak = matmul_flops_per_second(self.model.dtype_policy.compute_dtype)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._step_before = int(self.model.optimizer.iterations.numpy())
        self._started = self._tokens_at_end = None
        self._earlier = self._resumed if self.model.fit_status.steps_to_skip else _NOTHING

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._ended = time.perf_counter()
        if self._started is None and int(self.model.optimizer.iterations.numpy()) > self._step_before:
            self._started = (self._ended, self._tokens())

    def on_test_begin(self, logs: Any = None) -> None:
        self._tokens_at_end = self._tokens()  # validation counts its own tokens from here

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        tokens, seconds = self.state().values()
        if logs is None or seconds <= 0 or tokens <= 0:
            return
        logs["tokens_per_second" if self._tokens_per_step else f"{self.model.weight_unit}_per_second"] = tokens / seconds
        if self._flops_per_token:
            logs["flops_utilisation"] = tokens / seconds * self._flops_per_token / self._peak

    def state(self) -> dict[str, float]:
        """Tokens and seconds of this epoch so far."""
        tokens, seconds = self._earlier["tokens"], self._earlier["seconds"]
        if self._started is not None:
            tokens += (self._tokens() if self._tokens_at_end is None else self._tokens_at_end) - self._started[1]
            seconds += self._ended - self._started[0]
        return {"tokens": tokens, "seconds": seconds}

    def _tokens(self) -> float:
        if self._tokens_per_step:
            return float(self._tokens_per_step * int(self.model.optimizer.iterations.numpy()))
        return self.model.metrics[0].sums()[1]


_NOTHING = {"tokens": 0.0, "seconds": 0.0}


def matmul_flops_per_second(dtype: str) -> float:
    """The speed of a 2048 x 2048 x 2048 product on the default device, the best of eight, in FLOP/s (a multiply-add is two)."""
    size = 2048
    left = tf.cast(tf.random.stateless_normal([size, size], [0, 1]), dtype)
    product = tf.function(lambda a: tf.reduce_sum(tf.cast(tf.matmul(a, a), tf.float32)))
    product(left).numpy()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product(left).numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
