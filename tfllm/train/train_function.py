"""The function that Keras' `fit` and `evaluate` call: it does one step, or several, and returns the metrics.

Input: a model, its step on one batch, metrics. Output: a function of an iterator over batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.train.distribution.replicas import local_value, sum_over_replicas
from tfllm.train.distribution.strategies import num_workers, report_lost_worker
from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.gradients import MetricSums


def make_step_function(
    model: Any, step: Callable[[Any], MetricSums], metrics: Sequence[Any]
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """A function that takes `steps_per_execution` batches of an iterator (fewer at its end) and returns the metrics then.

    Keras' own function averages each replica's metrics, which fails on several workers (keras #20585).

    Args:
        model: compiled; its `fit_status` is read and written.
        step: one step on one batch, as each replica runs it.
        metrics: those whose values are returned.

    Raises (the function returned):
        StopIteration, OutOfRangeError: the iterator has no batch left.
        WorkerLostError: another worker did not take part.
    """
    strategy = model.distribute_strategy
    multi_worker = num_workers(strategy) > 1
    on_mesh = isinstance(strategy, TensorParallel)

    def one_step(source: Any, stop: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        batch = source if on_mesh else next(source)
        model.update_metrics(local_value(strategy, strategy.run(step, (batch,))))
        if multi_worker:
            stop = local_value(strategy, strategy.run(lambda: sum_over_replicas(tf.identity(stop))))
        return stop, {metric.name: metric.result() for metric in metrics}

    if not model.run_eagerly:
        # A mesh splits known sizes only.
        one_step = tf.function(one_step, reduce_retracing=not on_mesh, autograph=False)

    def step_function(iterator: Any) -> dict[str, tf.Tensor]:
        results: dict[str, tf.Tensor] = {}
        # A loop in the graph is no faster, and collectives inside one mix up its rounds.
        for _ in range(model.steps_per_execution):
            try:
                # An iterator over batches on a mesh is Python's own, not for the graph.
                source = next(iterator) if on_mesh else iterator
                stop, results = one_step(source, tf.constant(float(model.fit_status.preemption_requested)))
            except (StopIteration, tf.errors.OutOfRangeError):
                if not results:
                    raise
                break
        if on_mesh:  # an error of its devices is raised where a result is read, and nowhere else
            next(iter(results.values())).numpy()
        # With one worker, nothing is read back from the device: that would wait for it.
        model.fit_status.preemption_agreed = bool(stop) if multi_worker else model.fit_status.preemption_requested
        return results

    return report_lost_worker(step_function) if multi_worker else step_function
