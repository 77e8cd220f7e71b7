"""Starts the processes of one cluster, forwards their output, and ends all of them when one fails.

Input: a command, the tasks of the cluster, their ports. Output: the processes' output, line by line, and one exit code.

One thread waits for output, for processes that exit, and for signals. Each process leads a process group of its own, so that
its children are killed with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from tfllm.launching.cluster import ClusterTask, tf_config
from tfllm.launching.line_buffer import LineBuffer
from tfllm.launching.nonblocking_writer import NonblockingWriter

EXIT_TERMINATED = 128 + signal.SIGTERM
"""143: the exit code of a process that SIGTERM ended, and of a run that received SIGTERM and saved."""

EXIT_USAGE_ERROR = 2
"""The exit code of a process with a wrong command line. It would fail again, so it is not restarted."""

_READ_SIZE = 1 << 20  # bytes, the most a pipe holds
_DRAIN_SECONDS = 1.0  # how long a launcher that is asked to end waits until its output is read

# A process that kills the groups of running workers when the launcher has gone, even by SIGKILL. The kernel's PR_SET_PDEATHSIG
# would reach a worker, but not its children. A group's number is written when the group begins and again when it has ended.
_GUARD = """import os, signal, sys
for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP: signal.signal(number, signal.SIG_IGN)
groups = set()
for line in sys.stdin: groups ^= {int(line)}
for group in groups:
    try: os.killpg(group, signal.SIGKILL)
    except ProcessLookupError: pass
"""


@contextlib.contextmanager
def _guard() -> Iterator[int]:
    """The file descriptor of the pipe on which a guard process reads the numbers of process groups."""
    silent = subprocess.DEVNULL
    # A session of its own, so that signals for the launcher's group or terminal do not reach the guard.
    command = [sys.executable, "-ISc", _GUARD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True) as process:
        assert process.stdin is not None
        yield process.stdin.fileno()


class Signals:
    """Receives signals as bytes on a socket, for `select`. SIGTERM, SIGINT and SIGHUP set `stop_requested`."""

    _STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> Signals:
        self.stop_requested = False
        with contextlib.ExitStack() as undo:
            self.socket, there = (undo.enter_context(end) for end in socket.socketpair())
            self.socket.setblocking(False)
            there.setblocking(False)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False))
            for number in (signal.SIGCHLD, *self._STOP_SIGNALS):
                if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's `&`
                    undo.callback(signal.signal, number, signal.signal(number, lambda *_: None))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def read(self) -> None:
        if any(number in self._STOP_SIGNALS for number in self.socket.recv(4096)):
            self.stop_requested = True

    def wait(self, seconds: float) -> bool:
        """Waits this many seconds, or until the launcher is asked to end; returns whether it was."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while not self.stop_requested and (left := end - time.monotonic()) > 0:
                if selector.select(left):
                    self.read()
        return self.stop_requested


@dataclass(eq=False)
class _Stream:
    source: IO[bytes]
    writer: NonblockingWriter
    lines: LineBuffer


@dataclass(eq=False)
class _ChildProcess:
    task: ClusterTask
    process: subprocess.Popen[bytes]
    streams: list[_Stream]

    def has_exited(self) -> bool:
        """Does not reap the process, so that no other process gets its number."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Starts, watches and stops the processes of one cluster.

    Args:
        command: what each process runs.
        tasks: one per process.
        writers: for their standard output and standard error.
        signals: receives the launcher's signals.
        grace: seconds between SIGTERM and SIGKILL.
        restarts: how many are left. When a worker of a parameter-server cluster fails, one is used here: only that worker is
            started again, and the chief continues with the others meanwhile.
    """

    def __init__(
        self,
        command: Sequence[str],
        tasks: Sequence[ClusterTask],
        writers: tuple[NonblockingWriter, NonblockingWriter],
        *,
        signals: Signals,
        grace: float,
        restarts: int,
    ):
        self.restarts = restarts
        self._out, self._error = writers
        self._command, self._tasks, self._signals, self._grace = command, tasks, signals, grace

    def run(self, ports: Sequence[int]) -> int:
        """Starts all processes and waits for them. Returns the exit code as `launch` does."""
        self._ports = ports
        self._running: list[_ChildProcess] = []
        self._stopping: Literal["", "requested", "failed", "done"] = ""
        self._deadline: float | None = None
        self._failure, self._codes = 0, set[int]()
        with _guard() as self._guard_pipe:
            try:
                for task in self._tasks:
                    self._start(task)
                while self._running:
                    self._process_events()
            finally:
                for child in self._running:  # after an exception
                    child.kill()
                self.drain()
        return self._failure or (EXIT_TERMINATED if self._stopping == "requested" and EXIT_TERMINATED in self._codes else 0)

    def drain(self) -> None:
        """Waits until all output is written; at most `_DRAIN_SECONDS` once this process is asked to end."""
        end: float | None = None
        while self._out or self._error:
            if self._signals.stop_requested and end is None:
                end = time.monotonic() + _DRAIN_SECONDS
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            self._wait(left)

    def log(self, text: str) -> None:
        self._error.put(f"tfllm launch: {text}\n".encode())

    def _start(self, task: ClusterTask) -> None:
        process = subprocess.Popen(
            self._command,
            # Unbuffered: what a worker prints last is not lost when it is killed.
            env={"PYTHONUNBUFFERED": "1", **os.environ, "TF_CONFIG": tf_config(self._tasks, self._ports, task)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            # In the new process itself: until it has registered, it holds the guard's pipe open, even if the launcher is
            # killed.
            preexec_fn=self._register_with_guard,
        )
        assert process.stdout is not None and process.stderr is not None
        writers = ((process.stdout, self._out), (process.stderr, self._error))
        for source, _ in writers:
            os.set_blocking(source.fileno(), False)
        self._running.append(
            _ChildProcess(task, process, [_Stream(source, writer, LineBuffer()) for source, writer in writers])
        )

    def _process_events(self) -> None:
        """Waits for an event, and handles it: output, a signal, a process that exited, a deadline."""
        self._wait(None if self._deadline is None else max(0.0, self._deadline - time.monotonic()))
        if self._signals.stop_requested and not self._stopping:
            error = self._out.error or self._error.error
            self.log(
                "asked to end" + f", as output is lost ({error})" * bool(error) + f": the workers have {self._grace:g} s to"
            )
            self._stop("requested")
        for child in [child for child in self._running if child.has_exited()]:
            self._reap(child)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            for child in self._running:
                self.log(f"{child.task} did not end within {self._grace:g} s: killed")
                child.kill()

    def _wait(self, seconds: float | None) -> None:
        """Waits until a descriptor can be read or written or a signal arrives, then reads, writes or notes it."""
        with selectors.PollSelector() as selector:
            selector.register(self._signals.socket, selectors.EVENT_READ)
            for writer in {self._out, self._error}:
                if writer:
                    selector.register(writer.descriptor, selectors.EVENT_WRITE, writer)
            for child in self._running:
                for stream in child.streams:
                    # A slow reader makes the workers wait, except when they have to save and end.
                    if self._stopping or not stream.writer.full:
                        selector.register(stream.source, selectors.EVENT_READ, (child, stream))
            for key, _ in selector.select(seconds):
                if key.data is None:
                    self._signals.read()
                elif isinstance(key.data, NonblockingWriter):
                    self._write(key.data)
                else:
                    self._forward(*key.data)

    def _stop(self, reason: Literal["requested", "failed", "done"]) -> None:
        self._stopping, self._deadline = reason, time.monotonic() + self._grace
        for child in self._running:
            os.kill(child.process.pid, signal.SIGTERM)  # not its children: it may need them for saving

    def _reap(self, child: _ChildProcess) -> None:
        child.kill()  # children that it left
        for stream in list(child.streams):
            self._forward(child, stream, last=True)
        with contextlib.suppress(BrokenPipeError):  # the guard was killed; the run can continue without it
            os.write(self._guard_pipe, b"%d\n" % child.process.pid)
        status = child.process.wait()
        self._running.remove(child)
        self._handle_exit(child.task, status)

    def _handle_exit(self, task: ClusterTask, status: int) -> None:
        """Decides what to do after a process has exited. `status` is subprocess' returncode: -n for signal n."""
        code = status if status >= 0 else 128 - status
        self._codes.add(code)
        if code == 0:
            if task.kind == "chief" and not self._stopping:
                self._stop("done")  # workers and servers would wait for ever for steps
            return
        if self._failure or self._stopping == "done" or (self._stopping == "requested" and code == EXIT_TERMINATED):
            return
        how = f"exit code {code}" + (f" (signal {-status}, {signal.strsignal(-status)})" if status < 0 else "")
        alone = task.kind == "worker" and self._tasks[0].kind == "chief" and code != EXIT_USAGE_ERROR
        if alone and not self._stopping and self.restarts:
            self.restarts -= 1
            self.log(f"{task} ended with {how}: starting it again, {self.restarts} restarts left")
            self._start(task)
            return
        self._failure = code
        goes_on = self._running and not self._stopping
        self.log(f"{task} ended with {how}" + f"; the others have {self._grace:g} s to end" * bool(goes_on))
        if goes_on:
            self._stop("failed")

    def _forward(self, child: _ChildProcess, stream: _Stream, *, last: bool = False) -> None:
        try:
            data = os.read(stream.source.fileno(), _READ_SIZE)
        except BlockingIOError:  # no more output, though a child process of the worker holds the pipe open
            data = b""
        lines = stream.lines.feed(data, time.monotonic())
        if last or not data:
            lines += stream.lines.rest()
            stream.source.close()
            child.streams.remove(stream)
        if self._stopping and stream.writer.full:
            stream.writer.drop_pending()  # workers that have to save and end do not wait for a reader
        stream.writer.put(b"".join(b"[%s] %s\n" % (str(child.task).encode(), line) for line in lines))

    def _write(self, writer: NonblockingWriter) -> None:
        writer.write()
        if writer.error:
            self._signals.stop_requested = True

    def _register_with_guard(self) -> None:
        """Runs in a new process: writes the number of its group."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # the guard may have been killed; begin all the same
        with contextlib.suppress(BrokenPipeError):
            os.write(self._guard_pipe, b"%d\n" % os.getpid())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
