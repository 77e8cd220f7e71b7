"""The processes of a cluster on this machine.

Input: numbers of processes. Output: their tasks, free ports, and the TF_CONFIG of each. Source of the format: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterTask:
    """One process of a cluster: its job (chief, worker or ps) and its number among the processes of that job."""

    kind: str
    index: int

    def __str__(self) -> str:
        return f"{self.kind} {self.index}"


def cluster_tasks(workers: int, parameter_servers: int = 0) -> list[ClusterTask]:
    """The processes of a cluster. With parameter servers there is also a chief, which hands out the steps.

    2     ->  worker 0, worker 1
    2, 1  ->  chief 0, worker 0, worker 1, ps 0
    """
    servers = [ClusterTask("ps", index) for index in range(parameter_servers)]
    chief = [ClusterTask("chief", 0)] if servers else []
    return chief + [ClusterTask("worker", index) for index in range(workers)] + servers


def tf_config(tasks: Sequence[ClusterTask], ports: Sequence[int], task: ClusterTask) -> str:
    """The value of TF_CONFIG for one process. Of two workers, at ports 4001 and 4002, the second:

    {"cluster": {"worker": ["127.0.0.1:4001", "127.0.0.1:4002"]}, "task": {"type": "worker", "index": 1}}
    """
    cluster: dict[str, list[str]] = {}
    for worker, port in zip(tasks, ports, strict=True):
        cluster.setdefault(worker.kind, []).append(f"127.0.0.1:{port}")
    return json.dumps({"cluster": cluster, "task": {"type": task.kind, "index": task.index}})


def reserve_port() -> socket.socket:
    """A socket bound to a free port. Keep it open while a worker uses that port.

    While it is bound and does not listen, Linux gives its port to no process that asks for any free port. A server that sets
    SO_REUSEADDR, as TensorFlow's does, may listen there.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("", 0))
    return reserved
