"""One thread that writes what training has to save, while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Does jobs one after the other, in their order; Python ends when all is done. An error waits for `check` or `wait`."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Has `job` done after all before it. Who hands in much memory waits first, so that no two such jobs hold it."""
        self._thread = self._thread or ThreadPoolExecutor(1, "checkpoints")
        self._pending.append(self._thread.submit(job))

    def check(self) -> None:
        """Raises the error of a job that has failed, now that it is known."""
        if any(job.done() and job.exception() for job in self._pending):
            self.wait()

    def wait(self) -> None:
        """Waits until all is done. Raises the first error there was."""
        with self._lock:
            pending, self._pending = self._pending, []
        errors = [error for job in pending if (error := job.exception())]
        if errors:
            raise errors[0]


WRITER = Writer()
"""Of this process: two threads in one folder would remove each other's files."""
