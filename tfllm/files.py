"""Bytes in, a whole file or folder out: written beside its place and renamed, so none is ever half there.

What is beside is named `.NAME.PID.partial`; a process that was killed leaves it, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

Result = TypeVar("Result")

PASSING = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENETDOWN}
    | {errno.ENETUNREACH, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
"""Errors that may be gone a moment later."""


class WriteError(OSError):
    """A file could not be written: full disk, quota, permission. Names the file; `errno` is the system's."""


def is_remote(path: str) -> bool:
    """Whether a path names its file system.

    gs://bucket/a.txt  ->  yes
    """
    return "://" in path


def beside(path: Path) -> Path:
    """Where `path` is written until it is whole.

    runs/a.json, process 7  ->  runs/.a.json.7.partial
    """
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def write_atomically(path: Path, parts: Sequence[Any], *, durable: bool = False) -> None:
    """Write the buffers one after another to `path`, or leave `path` as it was.

    Args:
        path: the file; its folder is there.
        parts: bytes-like objects (NumPy arrays too).
        durable: wait until the disk has it.

    Raises:
        WriteError: naming the file, when the system refuses (ENOSPC, EFBIG, EACCES …).
    """
    partial = beside(path)
    try:
        # File.write, not numpy.tofile: the latter hides errno, and with it the words "no space left".
        with partial.open("wb") as file:
            for part in parts:
                file.write(memoryview(part).cast("B") if memoryview(part).nbytes else b"")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise WriteError(
            error.errno,
            f"Could not write {path}: {error.strerror or error}. Nothing that looks finished is left; make "
            "room (or choose another place) and call again",
        ) from error


@contextlib.contextmanager
def whole_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and is removed when it does not.

    Args:
        path: a link to an empty folder stays, and its folder is filled.
        durable: wait until the disk has all of it.

    Raises:
        FileExistsError: `path` is the current folder, which would be another one afterwards.
        OSError: from the renaming, where `path` is there already and not an empty folder.
    """
    path = path.resolve()
    if path.exists() and path.samefile("."):
        raise FileExistsError(f"{path} is the current folder, in whose place no other can be put: name a folder in it")
    partial = beside(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if durable:
            for entry in partial.rglob("*"):
                sync(entry)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def patiently(call: Callable[[], Result], *, tries: int = 4, wait: float = 1.0) -> Result:
    """What `call` returns; called again after 1, 2, 4 … times `wait` seconds where the system says an error may pass by itself.

    Such are those of network file systems (EIO, ESTALE, ETIMEDOUT …). A full disk or a missing permission is not.

    Raises:
        OSError: the last one.
    """
    for attempt in range(tries - 1):
        try:
            return call()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            delay = wait * 2**attempt
            warnings.warn(f"{error}: tried again in {delay:g} s ({attempt + 1} of {tries - 1})", stacklevel=2)
            time.sleep(delay)
    return call()


def sync_folder(folder: Path) -> None:
    """Wait until the renames in `folder` are on the disk."""
    sync(folder)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(folder: Path) -> None:
    """Held as long as this process lives: two that train in one folder would remove each other's checkpoints.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file system gives no locks.
    """
    path = (folder / "lock").resolve()
    held = _HELD.get((os.getpid(), path))
    if held is not None and path.exists() and os.path.samestat(os.fstat(held.fileno()), path.stat()):
        return
    file = path.open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise OSError(error.errno, f"{path} cannot be locked: {error.strerror}") from error
        raise BlockingIOError(f"another process trains in {folder}: wait for it, or choose another folder") from error
    _HELD[os.getpid(), path] = file


_HELD: dict[tuple[int, Path], TextIO] = {}
"""Locks of this process: to close any descriptor of such a file would give its lock back (POSIX)."""
