"""A thread that writes checkpoints while training continues.

Input: functions without arguments that write. Output: their files, in order; their errors, at `check` or `wait`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class AsyncWriter:
    """Runs jobs in one thread, one after the other. Python does not exit before all are done."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Queues a job. Call `wait` before a job that holds a copy of the weights, so that memory holds one copy only."""
        self._thread = self._thread or ThreadPoolExecutor(1, "checkpoints")
        self._pending.append(self._thread.submit(job))

    def check(self) -> None:
        """Raises the error of a job that has failed; does not wait for jobs that still run."""
        if any(job.done() and job.exception() for job in self._pending):
            self.wait()

    def wait(self) -> None:
        """Waits for all jobs. Raises the first error of any."""
        with self._lock:
            pending, self._pending = self._pending, []
        errors = [error for job in pending if (error := job.exception())]
        if errors:
            raise errors[0]


WRITER = AsyncWriter()
"""The one writer of this process: two threads in one folder would remove each other's files."""
