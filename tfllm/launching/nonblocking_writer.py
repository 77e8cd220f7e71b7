"""Writes bytes to a file descriptor without ever blocking, so that a slow or missing reader delays nobody.

Input: bytes. Output: the same bytes at the descriptor, as soon as it accepts them.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO

_WRITE_SIZE = select.PIPE_BUF
"""Bytes that a pipe accepts without blocking when `poll` calls it writable (POSIX)."""


class NonblockingWriter:
    """A buffer of bytes that are still to be written to a descriptor.

    Args:
        descriptor: of the file, pipe or terminal.
        max_bytes: size from which the buffer counts as full.
    """

    def __init__(self, descriptor: int, *, max_bytes: int = 1 << 20):
        self.descriptor, self._max_bytes = descriptor, max_bytes
        self._buffer = bytearray()
        self.error = ""
        """The system's message, when writing has failed: the reader is gone, the disk is full. Further bytes are dropped."""

    def __bool__(self) -> bool:
        """Returns whether bytes are still to be written."""
        return bool(self._buffer)

    @property
    def full(self) -> bool:
        return len(self._buffer) >= self._max_bytes

    def put(self, data: bytes) -> None:
        """Adds complete lines to the buffer, however full it is."""
        if not self.error:
            self._buffer += data

    def drop_pending(self) -> None:
        """Drops the bytes that are not written, except the rest of a line that may have begun."""
        self._buffer[self._buffer.find(b"\n") + 1 :] = b"tfllm launch: here is missing what nobody took\n"

    def write(self) -> None:
        """Writes as much as the descriptor accepts now."""
        ready = select.poll()  # which takes files on a disk, too
        ready.register(self.descriptor, select.POLLOUT)
        try:
            while self._buffer and ready.poll(0):
                del self._buffer[: os.write(self.descriptor, self._buffer[:_WRITE_SIZE])]
        except BlockingIOError:
            return
        except OSError as error:  # the reader is gone (`| head`), the terminal is closed, the disk is full
            self.error = error.strerror or str(error)
            self._buffer.clear()


@contextlib.contextmanager
def standard_writers() -> Iterator[tuple[NonblockingWriter, NonblockingWriter]]:
    """Writers for standard output and standard error; the same one twice where both are the same stream."""
    with contextlib.ExitStack() as opened:
        out, error = _descriptor(sys.stdout, 1, opened), _descriptor(sys.stderr, 2, opened)
        first = NonblockingWriter(_nonblocking(out, opened))
        yield first, (first if error == out else NonblockingWriter(_nonblocking(error, opened)))


def _descriptor(stream: TextIO | None, otherwise: int, opened: contextlib.ExitStack) -> int:
    """The descriptor behind a standard stream, which a notebook or a test may have replaced by something without one."""
    if stream is None:  # closed before Python began (`>&-`): its number may be another file's by now
        return _open_descriptor(os.devnull, os.O_WRONLY, opened)
    try:
        stream.flush()
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return otherwise


def _nonblocking(descriptor: int, opened: contextlib.ExitStack) -> int:
    """Returns a descriptor that never blocks: the given one, or, of a terminal, a new one.

    Of a terminal, `poll` promises room for one byte only. The given descriptor cannot be made non-blocking, because a shell
    or an editor shares it.
    """
    try:
        return _open_descriptor(os.ttyname(descriptor), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY, opened)
    except OSError:  # no terminal, or another user's
        return descriptor


def _open_descriptor(path: str, flags: int, opened: contextlib.ExitStack) -> int:
    descriptor = os.open(path, flags)
    opened.callback(os.close, descriptor)
    return descriptor
