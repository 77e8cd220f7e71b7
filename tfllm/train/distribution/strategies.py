"""Strategies: where a model trains, how batches are shared out, and what the workers of a run agree on.

Input: a strategy's name, or any `tf.distribute.Strategy`. Output: the strategy, in whose scope the model is made, and
    datasets that
give each worker its part of a batch.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

import tensorflow as tf

from tfllm.features import ROW, TOKEN_IDS
from tfllm.settings import StrategyName
from tfllm.train.distribution import parameter_server
from tfllm.train.distribution.replicas import local_value, sum_over_replicas
from tfllm.train.distribution.tensor_parallel import TensorParallel


class WorkerLostError(RuntimeError):
    """Another worker of the run has ended or cannot be reached, so a step could not be done."""


def strategy(
    kind: StrategyName = "auto",
    *,
    devices: int | Sequence[str] | None = None,
    mesh: tuple[int, int] | None = None,
) -> tf.distribute.Strategy:
    """Makes a strategy to train a model under.

    >>> with tfllm.train.strategy("mirrored", devices=2).scope():
    ...     model = tfllm.CausalLM(config)
    ...     model.compile(tfllm.train.adamw(1e-3))
    >>> model.fit(...)

    A batch is always the whole one, over all workers and replicas; losses, weights and dropout are those of one device.

    Args:
        kind: "one" device; "mirrored", all devices of this process; "multi_worker", all devices of all the processes that
            TF_CONFIG names (`tfllm launch` sets it); "parameter_server", the same with variables on servers of their own, not
            in step; "tpu"; "tensor_parallel", weights split over a mesh of this process's devices (`tensor_parallel.py`).
            "auto": a mesh where one is given; else what TF_CONFIG says; without it, mirrored where there are several GPUs,
            else one.
        devices: how many of this process's GPUs to take, or processors where it has none (the one processor is then split
            into as many devices); or their names. All GPUs, or one processor, unless given.
        mesh: of "tensor_parallel": over how many devices the rows of a batch are split, and over how many the weights.

    Raises:
        ValueError: the name is unknown, or there are no such devices, or TF_CONFIG says otherwise.
        RuntimeError: TensorFlow has been used before, so that the processor cannot be split any more.
    """
    if kind not in get_args(StrategyName):
        raise ValueError(f"kind={kind!r} is invalid: expected one of {', '.join(get_args(StrategyName))}.")
    if kind == "tensor_parallel" or (kind == "auto" and mesh is not None):
        return _tensor_parallel(mesh, devices)
    if mesh is not None:
        raise ValueError(
            f"mesh={mesh!r} is invalid with kind={kind!r}: expected kind='tensor_parallel'. Leave one of them out."
        )
    cluster = _cluster()
    if kind == "auto":
        kind = _default_kind(cluster, devices)
    if kind in ("multi_worker", "parameter_server") and not cluster:
        raise ValueError(
            f"kind={kind!r} needs a TF_CONFIG that names the workers: start them with `tfllm launch --workers N -- …`"
        )
    if kind == "tpu":
        return _tpu()
    if kind == "parameter_server":
        parameter_server.serve()
        return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())
    if kind == "multi_worker":
        if devices is not None:
            raise ValueError(
                f"devices={devices!r} is invalid with several workers: each uses all its GPUs, or its processor. Leave it out, "
                "and set CUDA_VISIBLE_DEVICES to use fewer GPUs"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        names = _devices(devices)
        # Parts of one processor need no collectives, which wait for each other's threads.
        sums = None if _gpus() else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy(names, cross_device_ops=sums)
    return tf.distribute.get_strategy() if devices is None else tf.distribute.OneDeviceStrategy(_devices(devices)[0])


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and logs, for all workers."""
    resolver = strategy.cluster_resolver
    if resolver is None or num_workers(strategy) == 1:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """The number of processes that do every step together."""
    return strategy.extended._num_workers if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else 1


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker has called this."""
    is_same_on_all_workers(strategy, 0)


def is_same_on_all_workers(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Whether all workers give the same `number`. All of them must call this."""
    if num_workers(strategy) == 1:
        return True
    return len(set(_values_of_all(strategy, number))) == 1


def value_of_first_worker(strategy: tf.distribute.Strategy, number: float) -> float:
    """The first worker's `number`, on all workers. All of them must call this."""
    return number if num_workers(strategy) == 1 else _values_of_all(strategy, number)[0]


@runtime_checkable
class ShardableDataset(Protocol):
    """A dataset that can make a part of each batch without the rest, as those of `tfllm.data`."""

    def share(self, part: int, parts: int) -> tf.data.Dataset:
        """Part number `part` of `parts` equal parts of each batch, in the order of its rows."""


def distribute_dataset(strategy: tf.distribute.Strategy, data: Any) -> Any:
    """Shares a dataset out to workers and replicas, and numbers the rows.

    A dataset of `tfllm.data` is made in parts, each on the worker that needs it. Of any other dataset, every worker makes all
    and keeps its part, unless the dataset's `auto_shard_policy` says otherwise. In both cases the rows of all workers together
    are the batch of one device, and each row carries its index in that batch (`features.ROW`).

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """
    if strategy.num_replicas_in_sync == 1 or not isinstance(data, tf.data.Dataset):
        return data
    if num_workers(strategy) == 1:
        return data.map(add_row_numbers)
    policies = tf.data.experimental.AutoShardPolicy
    if isinstance(data, ShardableDataset):
        shared, replicas = data, strategy.num_replicas_in_sync

        def replica_dataset(number: int) -> tf.data.Dataset:
            share = shared.share(number, replicas)
            (rows, *_), *_ = (value.shape for value in share.element_spec.values())
            return share.map(lambda batch: add_row_numbers(batch, first=number * rows))

        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            # All workers' first replicas, then all second ones: the order in which Keras joins the results of `predict`.
            return round_robin(
                [replica_dataset(i) for i in range(context.input_pipeline_id, replicas, context.num_input_pipelines)]
            )

        return strategy.distribute_datasets_from_function(worker_dataset)
    options = tf.data.Options()
    if data.options().experimental_distribute.auto_shard_policy == policies.AUTO:
        options.experimental_distribute.auto_shard_policy = policies.DATA
    return data.map(add_row_numbers).with_options(options)


def add_row_numbers(batch: Any, *others: Any, first: int = 0) -> Any:
    """Adds the index of each row to a batch, counted from `first`.

    token_ids 7 8 | 9 5 | 6 4, by name or alone, first 3 -> row 3 4 5 beside them
    """
    if tf.is_tensor(batch):
        batch = {TOKEN_IDS: batch}
    if isinstance(batch, dict):
        one = next(iter(batch.values()))
        rows = tf.ensure_shape(first + tf.range(tf.shape(one)[0]), one.shape[:1])
        batch = batch | {ROW: rows}
    return (batch, *others) if others else batch


def round_robin(datasets: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """The first batch of each dataset, then the second of each, and so on. Batches with the same number have one shape.

    7 8 | 9 10 and 11 12 | 13 14 -> 7 8 | 11 12 | 9 10 | 13 14

    The result knows its number of batches: without it, several workers would get batches of unknown size.
    """
    if len(datasets) == 1:
        return datasets[0]
    rounds = tf.data.Dataset.zip(*datasets)
    return rounds.map(lambda *batches: tf.nest.map_structure(lambda *values: tf.stack(values), *batches)).unbatch()


def _values_of_all(strategy: tf.distribute.Strategy, number: float) -> list[float]:
    """Each replica's number, in their order. float64 keeps whole numbers below 2**53 exact."""
    return local_value(strategy, _gather_function(strategy)(tf.constant(number, tf.float64))).numpy().tolist()


@functools.cache
def _gather_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    """A function from a number to the numbers of all replicas. Cached, so that it is traced once."""

    def gather(number: tf.Tensor) -> tf.Tensor:
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        return sum_over_replicas(
            tf.one_hot(place, strategy.num_replicas_in_sync, on_value=number, off_value=tf.zeros_like(number))
        )

    return report_lost_worker(tf.function(lambda number: strategy.run(gather, (number,)), autograph=False))


def report_lost_worker(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a step of several workers: when one of them has gone, the error is a WorkerLostError."""

    def step(*args: Any) -> Any:
        try:
            return call(*args)
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError) as error:
            raise WorkerLostError(
                "another worker of this run ended or cannot be reached, so the step was not done; the last checkpoint is "
                "whole. Start all workers again to go on from it (`tfllm launch --restarts N` does). TensorFlow said: "
                f"{error.message.strip().splitlines()[-1]:.300}"
            ) from error

    return step


def _cluster() -> dict[str, list[str]]:
    """The cluster of TF_CONFIG; {} if it names one process or none."""
    config = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(config or "{}").get("cluster", {})
    except (ValueError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG is not a JSON object with a cluster ({error}): {config!r:.200}") from error
    return cluster if sum(map(len, cluster.values())) > 1 else {}


def _default_kind(cluster: dict[str, list[str]], devices: Any) -> StrategyName:
    if cluster:
        return "parameter_server" if cluster.get("ps") else "multi_worker"
    if devices is None:
        devices = _gpus()
    count = devices if isinstance(devices, int) else len(devices)
    return "mirrored" if count > 1 else "one"


def _gpus() -> int:
    return len(tf.config.list_physical_devices("GPU"))


def _devices(devices: int | Sequence[str] | None) -> list[str]:
    """The names of the devices to use."""
    if isinstance(devices, Sequence):
        return list(devices)
    kind = "GPU" if _gpus() else "CPU"
    if devices is not None:
        if devices < 1:
            raise ValueError(f"devices={devices} is invalid: expected 1 or more, or the names of devices.")
        if kind == "CPU":
            processor = tf.config.list_physical_devices("CPU")[0]
            if len(tf.config.get_logical_device_configuration(processor) or [None]) < devices:
                parts = [tf.config.LogicalDeviceConfiguration()] * devices
                tf.config.set_logical_device_configuration(processor, parts)
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    if devices is not None and len(found) < devices:
        raise ValueError(f"devices={devices} is invalid: expected at most {len(found)}, for there are {', '.join(found)}.")
    return found[:devices]


def _tensor_parallel(mesh: tuple[int, int] | None, devices: int | Sequence[str] | None) -> tf.distribute.Strategy:
    if mesh is None or len(mesh) != 2 or min(mesh) < 1:
        raise ValueError(
            f"mesh={mesh!r} is invalid: expected two numbers of devices, for the rows of a batch and for the weights: (1, 2)"
        )
    if _cluster():
        raise ValueError(
            "kind='tensor_parallel' uses the devices of one process, and TF_CONFIG names several processes: unset it"
        )
    names = _devices(math.prod(mesh) if devices is None else devices)
    if len(names) != math.prod(mesh):
        raise ValueError(
            f"mesh={mesh!r} is invalid: it needs {math.prod(mesh)} devices, and there are {len(names)} ({', '.join(names)})."
        )
    return TensorParallel(mesh, devices=names)


def _tpu() -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
