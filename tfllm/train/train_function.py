"""What `fit` and `evaluate` call: one step after the other, and the metrics then.

Enters: a model, its step on one batch, metrics. Leaves: a function of an iterator over batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.train.distribution.replicas import local, summed
from tfllm.train.distribution.strategies import losing_no_worker, workers
from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.gradients import Measures


def repeated(model: Any, step: Callable[[Any], Measures], metrics: Sequence[Any]) -> Callable[[Any], dict[str, tf.Tensor]]:
    """A function that takes `steps_per_execution` batches of an iterator (or those that are left) -> the metrics then.

    Keras' own takes the mean of each replica's metrics, which ends in an error on several workers (keras #20585).

    Raises (what it returns):
        StopIteration, OutOfRangeError: the iterator has no batch left.
        WorkerLostError: another worker did not take part.
    """
    strategy = model.distribute_strategy
    several = workers(strategy) > 1
    on_mesh = isinstance(strategy, TensorParallel)

    def one(source: Any, asked: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        batch = source if on_mesh else next(source)
        model.add(local(strategy, strategy.run(step, (batch,))))
        if several:
            asked = local(strategy, strategy.run(lambda: summed(tf.identity(asked))))
        return asked, {metric.name: metric.result() for metric in metrics}

    if not model.run_eagerly:
        # A mesh splits known sizes only.
        one = tf.function(one, reduce_retracing=not on_mesh, autograph=False)

    def function(iterator: Any) -> dict[str, tf.Tensor]:
        results: dict[str, tf.Tensor] = {}
        # A loop in the graph is no faster, and collectives inside one mix up its rounds.
        for _ in range(model.steps_per_execution):
            try:
                # An iterator over batches on a mesh is Python's own, not for the graph.
                source = next(iterator) if on_mesh else iterator
                agreed, results = one(source, tf.constant(float(model.end_asked)))
            except (StopIteration, tf.errors.OutOfRangeError):
                if not results:
                    raise
                break
        if on_mesh:  # an error of its devices is told to who reads, and to nobody else
            next(iter(results.values())).numpy()
        # Of one worker nothing is read back: that would wait for the device.
        model.end_agreed = bool(agreed) if several else model.end_asked
        return results

    return losing_no_worker(function) if several else function
