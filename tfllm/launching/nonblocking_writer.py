"""Bytes in, written to a file descriptor when it takes them: a reader that is slow or gone holds nobody up."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO

_AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe which `poll` calls writable takes without blocking (POSIX)."""


class Outlet:
    """What is still to be written to a descriptor.

    Args:
        number: of the descriptor.
        most: bytes kept until its reader takes them.
    """

    def __init__(self, number: int, *, most: int = 1 << 20):
        self.number, self._most = number, most
        self._waiting = bytearray()
        self.lost = ""
        """What is wrong with it, in the system's words: its reader is gone, the disk is full. What comes now goes nowhere."""

    def __bool__(self) -> bool:
        """Is there something to write?"""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._most

    def put(self, data: bytes) -> None:
        """Takes whole lines that are to be written, however many wait."""
        if not self.lost:
            self._waiting += data

    def drop(self) -> None:
        """Forgets what nobody took, but for the line that may have begun."""
        self._waiting[self._waiting.find(b"\n") + 1 :] = b"tfllm launch: here is missing what nobody took\n"

    def write(self) -> None:
        """Writes as much as goes without waiting."""
        ready = select.poll()  # which takes files on a disk, too
        ready.register(self.number, select.POLLOUT)
        try:
            while self._waiting and ready.poll(0):
                del self._waiting[: os.write(self.number, self._waiting[:_AT_ONCE])]
        except BlockingIOError:
            return
        except OSError as error:  # its reader is gone (`| head`), the terminal closed, the disk full
            self.lost = error.strerror or str(error)
            self._waiting.clear()


@contextlib.contextmanager
def standard_outlets() -> Iterator[tuple[Outlet, Outlet]]:
    """Those of standard output and standard error: one, where both are the same stream."""
    with contextlib.ExitStack() as open_file:
        out, error = _descriptor(sys.stdout, 1, open_file), _descriptor(sys.stderr, 2, open_file)
        first = Outlet(_that_never_waits(out, open_file))
        yield first, (first if error == out else Outlet(_that_never_waits(error, open_file)))


def _descriptor(stream: TextIO | None, otherwise: int, open_file: contextlib.ExitStack) -> int:
    """The descriptor behind a standard stream, which a notebook or a test may have replaced by something without one."""
    if stream is None:  # closed before Python began (`>&-`): its number may be another file's by now
        return _open(os.devnull, os.O_WRONLY, open_file)
    try:
        stream.flush()
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return otherwise


def _that_never_waits(number: int, open_file: contextlib.ExitStack) -> int:
    """The same descriptor, but of a terminal one of its own, for there `poll` promises room for one byte only.

    Not the given one made non-blocking: a shell or an editor shares it.
    """
    try:
        return _open(os.ttyname(number), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY, open_file)
    except OSError:  # no terminal, or another user's
        return number


def _open(path: str, flags: int, open_file: contextlib.ExitStack) -> int:
    number = os.open(path, flags)
    open_file.callback(os.close, number)
    return number
