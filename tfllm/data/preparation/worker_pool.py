"""A pool of worker processes for `prepare`.

In: a function and its jobs. Out: the results, in the order in which they are ready.
A worker is a fresh interpreter that imports this package and the function's module, and nothing else. So the caller's main
module is not run again (a script needs no `if __name__ == "__main__"`, which multiprocessing's "spawn" asks for), and the
threads of a loaded TensorFlow are not copied ("fork" would copy them, and hang). A worker that dies, for example killed for
want of memory, closes its pipe: the caller gets an error at once and never waits for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing.connection
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_BOOT = """import json, sys
sys.path[:] = json.loads(sys.argv[2])
from tfllm.data.preparation.worker_pool import serve
serve(int(sys.argv[1]))"""


PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerError(RuntimeError):
    """A worker process ended without an answer."""


def run(function: Callable[[Job], Result], jobs: Iterable[Job], *, processes: int) -> Iterator[Result]:
    """The results of `function` on every job, in the order they are done.

    Args:
        function: picklable (a module's function, or functools.partial of one). With one process it runs here.
        jobs: picklable; taken one at a time, when a worker is free.
        processes: workers at most.

    Raises:
        WorkerError: a worker died; the message names its job and its signal.
        Exception: whatever `function` raised.
    """
    if processes == 1:
        yield from map(function, jobs)
        return
    team: dict[Connection, _Worker] = {}
    waiting = iter(jobs)
    try:
        for job in waiting:
            while len(team) >= processes and all(worker.job is not None for worker in team.values()):
                yield from _answers(team)
            idle = next((worker for worker in team.values() if worker.job is None), None)
            if idle is None:
                idle = _Worker(function)
                team[idle.connection] = idle
            idle.give(job)
        while any(worker.job is not None for worker in team.values()):
            yield from _answers(team)
    finally:
        for worker in team.values():
            worker.stop()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]):
        self.connection, theirs = multiprocessing.connection.Pipe()
        command = [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)]
        alone = {"TOKENIZERS_PARALLELISM": "false"} | os.environ  # the other cores have their own worker
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=alone)
        theirs.close()
        self.job: Any = None
        self.send(function)

    def give(self, job: Any) -> None:
        self.job = job
        self.send(job)

    def send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.death() from error

    def answer(self) -> Any:
        try:
            done, value = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self.death() from error
        self.job = None
        if not done:
            raise value
        return value

    def death(self) -> WorkerError:
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        advice = " (the system may be out of memory: give fewer `processes`)" if code == -signal.SIGKILL else ""
        return WorkerError(
            f"A worker process ended with {how} while it worked on {self.job}{advice}. Finished pieces are kept: call again "
            "to continue."
        )

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def _answers(team: dict[Connection, _Worker]) -> Iterator[Any]:
    busy = [connection for connection, worker in team.items() if worker.job is not None]
    for connection in multiprocessing.connection.wait(busy):
        yield team[connection].answer()  # type: ignore[index]


def serve(handle: int) -> None:
    """The worker's side: takes the function, then jobs, until the caller is gone."""
    # Ctrl-C reaches the whole process group; the caller ends the workers itself, without their tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A caller that is killed takes its workers with it, in the middle of a job too (Linux; elsewhere at its end).
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(handle)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            function = connection.recv()
        except (AttributeError, ImportError) as error:
            connection.send((False, WorkerError(f"{error}. A tokenizer must be of a class that can be imported.")))
            return
        while True:
            job = connection.recv()
            try:
                answer = (True, function(job))
            except Exception as error:
                error.add_note(f"(in worker process {os.getpid()})")
                answer = (False, error)
            connection.send(answer)
