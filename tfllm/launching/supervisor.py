"""Processes that live and die together: a command and their tasks in, their output and one exit code out.

One thread waits for output, ended processes and signals alike. Each process leads a group of its own, so that its children
end with it.
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

from tfllm.launching.cluster import Task, tf_config
from tfllm.launching.line_buffer import Lines
from tfllm.launching.nonblocking_writer import Outlet

ASKED_TO_END = 128 + signal.SIGTERM
"""143: the exit code of what SIGTERM has ended, and of a run that saved because of it."""

WRONG_COMMAND = 2
"""The exit code of a process that does not understand its arguments: it would not the next time either."""

_READ = 1 << 20  # bytes, the most a pipe holds
_PATIENCE = 1.0  # seconds that a launcher that is asked to end, and whose workers have, waits for its reader

# Kills the groups of living processes once the launcher is gone, even by SIGKILL. The kernel's PR_SET_PDEATHSIG would reach a
# worker, not its children. A group's number is written when it begins and again when it has ended.
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
    """The file descriptor on which a guard process hears of groups."""
    silent = subprocess.DEVNULL
    # A session of its own: what the launcher's group or terminal is sent, spares the guard.
    command = [sys.executable, "-ISc", _GUARD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True) as process:
        assert process.stdin is not None
        yield process.stdin.fileno()


class Signals:
    """Signals as bytes on a socket, for `select`. Only those that ask it to end do more than wake it."""

    _ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> Signals:
        self.asked = False
        with contextlib.ExitStack() as undo:
            self.socket, there = (undo.enter_context(end) for end in socket.socketpair())
            self.socket.setblocking(False)
            there.setblocking(False)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False))
            for number in (signal.SIGCHLD, *self._ASKING):
                if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's `&`
                    undo.callback(signal.signal, number, signal.signal(number, lambda *_: None))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def read(self) -> None:
        if any(number in self._ASKING for number in self.socket.recv(4096)):
            self.asked = True

    def wait(self, seconds: float) -> bool:
        """Whether within so many seconds the launcher is asked to end."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while not self.asked and (left := end - time.monotonic()) > 0:
                if selector.select(left):
                    self.read()
        return self.asked


@dataclass(eq=False)
class _Stream:
    source: IO[bytes]
    outlet: Outlet
    lines: Lines


@dataclass(eq=False)
class _Member:
    task: Task
    process: subprocess.Popen[bytes]
    streams: list[_Stream]

    def has_ended(self) -> bool:
        """Leaves the process unreaped, so that its number stays its own."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Team:
    """The processes of one cluster.

    Args:
        command: what each runs.
        tasks: one a process.
        outlets: for their standard output and standard error.
        signals: what the launcher is sent.
        grace: seconds between SIGTERM and SIGKILL.
        restarts: how many are left. One is used up here when a worker of a parameter-server cluster fails: it alone is
            started again, and the chief goes on meanwhile with the others.
    """

    def __init__(
        self,
        command: Sequence[str],
        tasks: Sequence[Task],
        outlets: tuple[Outlet, Outlet],
        *,
        signals: Signals,
        grace: float,
        restarts: int,
    ):
        self.restarts = restarts
        self._out, self._error = outlets
        self._command, self._tasks, self._signals, self._grace = command, tasks, signals, grace

    def run(self, ports: Sequence[int]) -> int:
        """Start all, wait for all; the exit code as `launch` returns it."""
        self._ports = ports
        self._living: list[_Member] = []
        self._ending: Literal["", "asked", "failed", "done"] = ""
        self._deadline: float | None = None
        self._failure, self._codes = 0, set[int]()
        with _guard() as self._wards:
            try:
                for task in self._tasks:
                    self._start(task)
                while self._living:
                    self._turn()
            finally:
                for member in self._living:  # something was raised
                    member.kill()
                self.drain()
        return self._failure or (ASKED_TO_END if self._ending == "asked" and ASKED_TO_END in self._codes else 0)

    def drain(self) -> None:
        """Waits until all output is taken, but not for long once this process is asked to end."""
        end: float | None = None
        while self._out or self._error:
            if self._signals.asked and end is None:
                end = time.monotonic() + _PATIENCE
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            self._wait(left)

    def say(self, text: str) -> None:
        self._error.put(f"tfllm launch: {text}\n".encode())

    def _start(self, task: Task) -> None:
        process = subprocess.Popen(
            self._command,
            # Unbuffered: a worker's last words are not lost with it.
            env={"PYTHONUNBUFFERED": "1", **os.environ, "TF_CONFIG": tf_config(self._tasks, self._ports, task)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            # By the process itself: until it has, it holds the guard's pipe open, however soon the launcher is killed.
            preexec_fn=self._tell_guard,
        )
        assert process.stdout is not None and process.stderr is not None
        outlets = ((process.stdout, self._out), (process.stderr, self._error))
        for source, _ in outlets:
            os.set_blocking(source.fileno(), False)
        self._living.append(_Member(task, process, [_Stream(source, outlet, Lines()) for source, outlet in outlets]))

    def _turn(self) -> None:
        """Wait for something to happen, and see to it."""
        self._wait(None if self._deadline is None else max(0.0, self._deadline - time.monotonic()))
        if self._signals.asked and not self._ending:
            lost = self._out.lost or self._error.lost
            self.say("asked to end" + f", as output is lost ({lost})" * bool(lost) + f": the workers have {self._grace:g} s to")
            self._end("asked")
        for member in [member for member in self._living if member.has_ended()]:
            self._bury(member)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            for member in self._living:
                self.say(f"{member.task} did not end within {self._grace:g} s: killed")
                member.kill()

    def _wait(self, seconds: float | None) -> None:
        """Wait until there is something to read, to write or to be told, and do it."""
        with selectors.PollSelector() as selector:
            selector.register(self._signals.socket, selectors.EVENT_READ)
            for outlet in {self._out, self._error}:
                if outlet:
                    selector.register(outlet.number, selectors.EVENT_WRITE, outlet)
            for member in self._living:
                for stream in member.streams:
                    # A slow reader makes the workers wait, but not those that are to save and end.
                    if self._ending or not stream.outlet.full:
                        selector.register(stream.source, selectors.EVENT_READ, (member, stream))
            for key, _ in selector.select(seconds):
                if key.data is None:
                    self._signals.read()
                elif isinstance(key.data, Outlet):
                    self._write(key.data)
                else:
                    self._forward(*key.data)

    def _end(self, reason: Literal["asked", "failed", "done"]) -> None:
        self._ending, self._deadline = reason, time.monotonic() + self._grace
        for member in self._living:
            os.kill(member.process.pid, signal.SIGTERM)  # not its children: it may need them for saving

    def _bury(self, member: _Member) -> None:
        member.kill()  # children it left behind
        for stream in list(member.streams):
            self._forward(member, stream, last=True)
        with contextlib.suppress(BrokenPipeError):  # the guard was killed: no reason to end a run that goes well
            os.write(self._wards, b"%d\n" % member.process.pid)
        status = member.process.wait()
        self._living.remove(member)
        self._judge(member.task, status)

    def _judge(self, task: Task, status: int) -> None:
        """What follows from the end of a process, `status` as subprocess has it: -n for signal n."""
        code = status if status >= 0 else 128 - status
        self._codes.add(code)
        if code == 0:
            if task.kind == "chief" and not self._ending:
                self._end("done")  # workers and servers would wait for ever for what to do
            return
        if self._failure or self._ending == "done" or (self._ending == "asked" and code == ASKED_TO_END):
            return
        how = f"exit code {code}" + (f" (signal {-status}, {signal.strsignal(-status)})" if status < 0 else "")
        alone = task.kind == "worker" and self._tasks[0].kind == "chief" and code != WRONG_COMMAND
        if alone and not self._ending and self.restarts:
            self.restarts -= 1
            self.say(f"{task} ended with {how}: starting it again, {self.restarts} restarts left")
            self._start(task)
            return
        self._failure = code
        goes_on = self._living and not self._ending
        self.say(f"{task} ended with {how}" + f"; the others have {self._grace:g} s to end" * bool(goes_on))
        if goes_on:
            self._end("failed")

    def _forward(self, member: _Member, stream: _Stream, *, last: bool = False) -> None:
        try:
            data = os.read(stream.source.fileno(), _READ)
        except BlockingIOError:  # nothing more, though a child of the worker's holds the pipe
            data = b""
        lines = stream.lines.feed(data, time.monotonic())
        if last or not data:
            lines += stream.lines.rest()
            stream.source.close()
            member.streams.remove(stream)
        if self._ending and stream.outlet.full:
            stream.outlet.drop()  # workers that are to save and end wait for no reader
        stream.outlet.put(b"".join(b"[%s] %s\n" % (str(member.task).encode(), line) for line in lines))

    def _write(self, outlet: Outlet) -> None:
        outlet.write()
        if outlet.lost:
            self._signals.asked = True

    def _tell_guard(self) -> None:
        """In a process that begins: its group has begun."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # the guard may have been killed: no reason not to begin
        with contextlib.suppress(BrokenPipeError):
            os.write(self._wards, b"%d\n" % os.getpid())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
