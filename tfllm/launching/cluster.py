"""Who works with whom on this machine: counts in, tasks, ports and the TF_CONFIG of each process out.

TF_CONFIG: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A place in the cluster."""

    kind: str
    index: int

    def __str__(self) -> str:
        return f"{self.kind} {self.index}"


def cluster_tasks(workers: int, parameter_servers: int = 0) -> list[Task]:
    """The processes of a cluster. With parameter servers there is a chief, who alone runs the steps.

    2     ->  worker 0, worker 1
    2, 1  ->  chief 0, worker 0, worker 1, ps 0
    """
    servers = [Task("ps", index) for index in range(parameter_servers)]
    chief = [Task("chief", 0)] if servers else []
    return chief + [Task("worker", index) for index in range(workers)] + servers


def tf_config(tasks: Sequence[Task], ports: Sequence[int], task: Task) -> str:
    """The value of TF_CONFIG for one process. Of two workers, at ports 4001 and 4002, the second:

    {"cluster": {"worker": ["127.0.0.1:4001", "127.0.0.1:4002"]}, "task": {"type": "worker", "index": 1}}
    """
    cluster: dict[str, list[str]] = {}
    for member, port in zip(tasks, ports, strict=True):
        cluster.setdefault(member.kind, []).append(f"127.0.0.1:{port}")
    return json.dumps({"cluster": cluster, "task": {"type": task.kind, "index": task.index}})


def reserve_port() -> socket.socket:
    """A socket bound to a free port, to be held while a worker uses that port.

    As long as it is bound and does not listen, Linux gives its port to nobody who asks for any free one; yet a server that
    sets SO_REUSEADDR too may listen there, and TensorFlow's does.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("", 0))
    return held
