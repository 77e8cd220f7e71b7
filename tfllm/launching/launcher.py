"""`tfllm launch`: runs a command in several local processes.

Input: the command's arguments. Output: the exit code.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from tfllm.launching.cluster import cluster_tasks, reserve_port
from tfllm.launching.nonblocking_writer import standard_writers
from tfllm.launching.supervisor import EXIT_TERMINATED, EXIT_USAGE_ERROR, Signals, Supervisor

PAUSE = 1.0
"""Seconds before a restart, so that ports, memory and locks of the failed processes are free again."""


def launch(
    arguments: Sequence[str], *, workers: int, parameter_servers: int = 0, restarts: int = 0, grace: float = 30.0
) -> int:
    """Run a command in several processes of one cluster on this machine, until all have ended.

    Args:
        arguments: what each process runs, as `python_command` reads it.
        workers: processes that train.
        parameter_servers: with any, a cluster for tf.distribute.ParameterServerStrategy: these, and a chief.
        restarts: starts after a failure, in total.
        grace: seconds between SIGTERM and SIGKILL, for saving.

    Returns:
        0, or the exit code of the first process that failed (128 + n for signal n); after 2, a wrong command line, nothing is
        started again. Asked to end (SIGTERM, SIGINT, SIGHUP, or nobody takes its output any more), 143 once all have ended
        as they were asked to.

    Raises:
        ValueError: numbers out of range, nothing to run, or a TF_CONFIG that is set already.
        OSError: this is not Linux; or it has no port or process left to give.
        RuntimeError: this is not the main thread. Only that one receives signals.
    """
    if sys.platform != "linux":
        raise OSError(f"launch works on Linux, this is {sys.platform}: start each worker with its own TF_CONFIG")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("launch receives signals, so it runs in the main thread only: call it there, or run `tfllm launch`")
    _check(workers=workers, parameter_servers=parameter_servers, restarts=restarts, grace=grace)
    command, tasks = python_command(arguments), cluster_tasks(workers, parameter_servers)
    with standard_writers() as writers, Signals() as signals, contextlib.ExitStack() as open_ports:
        supervisor = Supervisor(command, tasks, writers, signals=signals, grace=grace, restarts=restarts)
        while True:
            reserved = [reserve_port() for _ in tasks]
            open_ports.close()  # after the new ones are reserved, so that a restart gets other ports
            for port in reserved:
                open_ports.enter_context(port)
            code = supervisor.run([port.getsockname()[1] for port in reserved])
            if code in (0, EXIT_USAGE_ERROR) or signals.stop_requested or not supervisor.restarts:
                return code
            supervisor.restarts -= 1
            supervisor.log(f"starting all again in {PAUSE:g} s, {supervisor.restarts} restarts left")
            supervisor.drain()
            if signals.wait(PAUSE):
                return EXIT_TERMINATED


def python_command(arguments: Sequence[str]) -> list[str]:
    """The command line of each process: a Python file, a module, or a command of tfllm.

    train.py --epochs 3    ->  python train.py --epochs 3
    -m mine.train          ->  python -m mine.train
    pretrain runs/store    ->  python -m tfllm pretrain runs/store
    """
    if not arguments:
        raise ValueError(
            "launch has nothing to run: say what after --, a tfllm command, FILE.py or -m MODULE, and its arguments"
        )
    plain = arguments[0] == "-m" or arguments[0].endswith(".py")
    return [sys.executable, *([] if plain else ["-m", "tfllm"]), *arguments]


def _check(*, workers: int, parameter_servers: int, restarts: int, grace: float) -> None:
    given = {
        "workers": (workers, 1),
        "parameter_servers": (parameter_servers, 0),
        "restarts": (restarts, 0),
        "grace": (grace, 0),
    }
    for name, (value, least) in given.items():
        if not least <= value < float("inf"):
            raise ValueError(f"{name}={value} is invalid: expected at least {least}.")
    if "TF_CONFIG" in os.environ:
        raise ValueError(
            f"TF_CONFIG is set ({os.environ['TF_CONFIG']}), so this process is one of a cluster already: run the command "
            "without launch, or unset TF_CONFIG"
        )
