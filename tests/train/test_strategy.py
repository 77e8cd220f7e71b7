"""Which strategy a name gives, and what is refused before anything is trained."""

from __future__ import annotations

import json

import keras
import pytest
import tensorflow as tf

import tfllm
from tfllm.train.distribution.replicas import gather_rows, sum_over_replicas
from tfllm.train.distribution.strategies import barrier, is_chief, is_same_on_all_workers, num_workers

CONFIG = tfllm.preset("llama-tiny", vocab_size=64, num_layers=1)
CLUSTER = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize("config", ["", "{}", json.dumps({"cluster": {"worker": ["127.0.0.1:1"]}})])
def test_one_device_is_what_auto_gives_here(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    strategy = tfllm.train.strategy()
    assert strategy is tf.distribute.get_strategy()
    assert is_chief(strategy) and num_workers(strategy) == 1 and is_same_on_all_workers(strategy, 7)
    barrier(strategy)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mirored", {}, "kind='mirored' is invalid: expected one of auto, one, mirrored, multi_worker, parameter_server, tpu"),
        ("multi_worker", {}, "needs a TF_CONFIG that names the workers: start them with `tfllm launch"),
        ("parameter_server", {}, "needs a TF_CONFIG that names the workers"),
        ("mirrored", {"mesh": (1, 2)}, r"mesh=\(1, 2\) is invalid with kind='mirrored': expected kind='tensor_parallel'"),
        ("mirrored", {"devices": 0}, "devices=0 is invalid: expected 1 or more"),
        ("tensor_parallel", {}, "mesh=None is invalid: expected two numbers of devices"),
        ("tensor_parallel", {"mesh": (0, 2)}, r"mesh=\(0, 2\) is invalid: expected two numbers"),
        ("auto", {"mesh": (1, 2), "devices": ["CPU:0"]}, r"mesh=\(1, 2\) is invalid: it needs 2 devices, and there are 1"),
    ],
)
def test_what_cannot_be_had_is_refused(kind: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfllm.train.strategy(kind, **options)


def test_workers_take_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(CLUSTER))
    with pytest.raises(ValueError, match="devices=2 is invalid with several workers: each uses all its GPUs"):
        tfllm.train.strategy("multi_worker", devices=2)
    with pytest.raises(ValueError, match="uses the devices of one process, and TF_CONFIG names several processes"):
        tfllm.train.strategy("tensor_parallel", mesh=(1, 1))


@pytest.mark.parametrize("config", ["not json", "[1]"])
def test_a_broken_cluster_is_shown(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="TF_CONFIG is not a JSON object with a cluster"):
        tfllm.train.strategy()


def test_keras_distribution_is_refused() -> None:
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.raises(ValueError, match=r"keras.distribution is set, which does nothing under TensorFlow"):
            tfllm.CausalLM(CONFIG).compile(tfllm.train.adamw(1e-3))
    finally:
        keras.distribution.set_distribution(None)


def test_an_optimizer_of_another_scope_is_refused() -> None:
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = tfllm.CausalLM(CONFIG)
    with pytest.raises(ValueError, match="made in a strategy's scope, the optimizer in another"):
        model.compile(tfllm.train.adamw(1e-3))


def test_one_replica_has_all_rows() -> None:
    rows = gather_rows(tf.constant([[1.0], [2.0]]))
    assert rows.values.numpy().tolist() == [[1.0], [2.0]]
    assert rows.are_local(tf.constant([-1, 0, 1, 2])).numpy().tolist() == [False, True, True, False]
    assert sum_over_replicas({"a": tf.constant(3.0)})["a"].numpy() == 3.0
