"""`tfllm launch`: runs one command in several processes on this machine."""

from __future__ import annotations

from typing import Annotated

import tyro


def launch(
    command: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="-- COMMAND [ARGUMENT …]", help_behavior_hint="")
    ],
    *,
    workers: int,
    restarts: int = 0,
    grace: float = 30.0,
    parameter_servers: int = 0,
) -> None:
    """Run a command in several local workers, with TF_CONFIG for tf.distribute. If one fails, all end, and can be restarted.

    COMMAND is a command of tfllm, a Python file, or -m MODULE: tfllm launch --workers 2 --restarts 3 -- pretrain runs/store …

    Exit code: 0, or that of the worker that failed first; 143 after SIGTERM or Ctrl-C if all workers have saved. After exit
    code 2 (invalid arguments) the workers are not restarted.

    Args:
        command: The command of each worker, after --.
        workers: Number of workers.
        restarts: How often all workers are restarted after a failure, in total.
        grace: Seconds between SIGTERM and SIGKILL, in which a worker can save.
        parameter_servers: Number of parameter servers. If it is not 0, the cluster is for ParameterServerStrategy: parameter
            servers, workers and a chief.
    """
    from tfllm.launching import launch as launch_processes

    raise SystemExit(
        launch_processes(command, workers=workers, parameter_servers=parameter_servers, restarts=restarts, grace=grace)
    )
