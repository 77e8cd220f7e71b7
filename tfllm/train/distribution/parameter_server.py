"""`fit` under `ParameterServerStrategy`: variables on servers, steps on workers, without synchronisation.

Input: a model made in the strategy's scope, and a dataset of `tfllm.data`. Output: a trained model and Keras' history. Keras'
    own
`fit` does not support this strategy (keras #18624). The batch of any step can be made independently, so the chief schedules
steps by number; when a worker dies, another one does its step with the same batch. Workers do not wait for each other (Li et
al. 2014): a gradient may belong to weights some steps old, and no two runs are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import keras
import tensorflow as tf

from tfllm.train.gradients import MetricSums

MAX_PENDING = 2
"""Scheduled steps per worker that are not done: one that it works on, one that waits."""


@runtime_checkable
class IndexedBatches(Protocol):
    """A dataset whose batches can be made independently, by number, as those of `tfllm.data`."""

    def element(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """The batch with this number (int64 []), counted from 0."""

    def cardinality(self) -> tf.Tensor: ...


def serve() -> None:
    """Serves the chief, and does not return, in a worker or a server. In the chief it does nothing."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type in ("worker", "ps"):
        server = tf.distribute.Server(
            resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc"
        )
        server.join()


class ParameterServerTrainer:
    """Schedules a model's steps on the workers of a cluster."""

    def __init__(self, model: Any):
        self._model = model
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(model.distribute_strategy)
        self._pending: list[Any] = []
        self._workers = model.distribute_strategy._num_workers

    def fit(
        self,
        x: Any,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_data: Any = None,
        callbacks: Any = None,
        verbose: int | str = "auto",
        **others: Any,
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`; metrics are computed at the end of each epoch.

        Raises:
            ValueError: the data is not from `tfllm.data`, or an argument has no meaning under this strategy.
        """
        model, steps = self._model, steps_per_epoch or _length(x)
        others.pop("shuffle", None)
        if others:
            raise ValueError(f"fit under ParameterServerStrategy takes no {', '.join(sorted(others))}")
        if steps is None:
            raise ValueError("fit under ParameterServerStrategy needs steps_per_epoch, because the data is infinite: give it")
        if model.steps_per_execution > 1:
            raise ValueError("ParameterServerStrategy schedules single steps: compile without steps_per_execution")
        callbacks = keras.callbacks.CallbackList(
            callbacks, add_history=True, add_progbar=verbose != 0, verbose=verbose, epochs=epochs, steps=steps, model=model
        )
        model.stop_training = False
        step, number = self._scheduler(model.train_step, x), 0
        done_before = int(model.optimizer.iterations.numpy())
        callbacks.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            for batch in range(steps):
                callbacks.on_train_batch_begin(batch)
                if not model.fit_status.skip(1):
                    step(number)
                    number += 1
                stop = model.fit_status.preemption_requested
                if batch + 1 == steps or stop:
                    self._join()
                    # Two workers that increment the counter at the same time may increment it once.
                    model.optimizer.iterations.assign(done_before + number)
                    model.fit_status.preemption_agreed = stop
                callbacks.on_train_batch_end(batch)
            logs = dict(model.get_metrics_result())
            if validation_data is not None:
                scores = self.evaluate(validation_data, callbacks=callbacks)
                logs |= {f"val_{name}": value for name, value in scores.items()}
            callbacks.on_epoch_end(epoch, keras.tree.map_structure(float, logs))
            if model.stop_training:
                break
        callbacks.on_train_end()
        return model.history

    def evaluate(self, x: Any, *, callbacks: Any = None) -> dict[str, float]:
        """The metrics over all batches of a finite dataset."""
        model, length = self._model, _length(x)
        if length is None:
            raise ValueError("evaluate under ParameterServerStrategy needs finite data: take(…) some of it")
        callbacks = callbacks or keras.callbacks.CallbackList(model=model, steps=length)
        callbacks.on_test_begin()
        model.reset_metrics()
        step = self._scheduler(model.test_step, x)
        for number in range(length):
            callbacks.on_test_batch_begin(number)
            step(number)
            callbacks.on_test_batch_end(number)
        self._join()
        callbacks.on_test_end()
        return {metric.name: float(metric.result()) for metric in model.validation_metrics}

    def _join(self) -> None:
        """Waits for all scheduled steps."""
        self._coordinator.join()
        while self._pending:
            self._model.update_metrics(self._pending.pop(0).fetch())

    def _scheduler(self, step: Callable[[Any], MetricSums], data: Any) -> Callable[[int], None]:
        """A function that schedules the step on the batch with a given number."""
        if not isinstance(data, IndexedBatches):
            raise ValueError(
                f"ParameterServerStrategy needs data of tfllm.data (causal_lm, masked_lm, batches), whose batches can be made "
                f"independently; got {type(data).__name__}"
            )
        strategy = self._model.distribute_strategy

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
        def work(number: tf.Tensor) -> MetricSums:
            return strategy.run(step, (data.element(number),))

        def schedule(number: int) -> None:
            if len(self._pending) >= MAX_PENDING * self._workers:
                self._model.update_metrics(self._pending.pop(0).fetch())
            self._pending.append(self._coordinator.schedule(work, (tf.constant(number, tf.int64),)))

        return schedule


def _length(data: Any) -> int | None:
    """The number of batches of a dataset; None if it is infinite."""
    length = int(data.cardinality())
    return None if length < 0 else length
