"""Several processes of one command on this machine."""

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
    """Run a command in several local workers, with TF_CONFIG for tf.distribute. When one fails, all end, and may start again.

    COMMAND is one of tfllm's, a Python file, or -m MODULE: tfllm launch --workers 2 --restarts 3 -- pretrain runs/store …

    Exit code: 0, or that of the worker that failed first; 143 when asked to end (SIGTERM, Ctrl-C) and all saved. After 2,
    a command line that a worker does not understand, nothing is started again.

    Args:
        command: What each worker runs, after --.
        workers: How many.
        restarts: How often all are started again after a failure, in total.
        grace: Seconds a worker has to save between SIGTERM and SIGKILL.
        parameter_servers: With any, a cluster for ParameterServerStrategy: these, the workers and a chief.
    """
    from tfllm.launching import launch as launch_processes

    raise SystemExit(
        launch_processes(command, workers=workers, parameter_servers=parameter_servers, restarts=restarts, grace=grace)
    )
