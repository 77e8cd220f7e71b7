"""Files and folders that appear complete or not at all, and locks on folders.

Input: a path, and bytes or a function that writes. Output: the file or folder at that path. It is made at a temporary path in
the same folder, `.NAME.PID.partial`, and renamed when it is complete. A process that is killed leaves the temporary path only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

Result = TypeVar("Result")

TRANSIENT_ERRORS = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENETDOWN}
    | {errno.ENETUNREACH, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
"""Error numbers of network file systems. The same call may succeed a moment later."""


class WriteError(OSError):
    """A file could not be written: the disk is full, a quota is reached, a permission is missing. `errno` is the system's."""


def is_remote(path: str) -> bool:
    """Returns whether a path has a scheme, so that it is not on a local file system.

    gs://bucket/a.txt  ->  True
    """
    return "://" in path


@contextlib.contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """A path for a file or folder that becomes `path` later. Whatever is left there is removed at the end of the block.

    runs/a.json, process 7  ->  runs/.a.json.7.partial
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(partial)  # a killed process of another container may have had the same number
    try:
        yield partial
    finally:
        _remove(partial)


@contextlib.contextmanager
def publish(path: Path, *, durable: bool = False, replace: bool = False) -> Iterator[Path]:
    """A temporary path, to write a file or folder at. It is renamed to `path` when the block ends without an error.

    Args:
        path: a file that is there is replaced; so is an empty folder.
        durable: write the contents and the new name to the disk before returning (fsync).
        replace: also replace a folder that is not empty.

    Raises:
        OSError: the rename failed, for example because `path` is a folder that is not empty.
    """
    with temporary_path(path) as partial:
        yield partial
        move_into_place(partial, path, durable=durable, replace=replace)


def move_into_place(source: Path, path: Path, *, durable: bool = False, replace: bool = False) -> None:
    """Renames `source` to `path`, both on one file system. The arguments are those of `publish`.

    With `replace`, neither the old nor the new folder is at `path` for the moment between two renames.
    """
    if durable:
        for entry in (*source.rglob("*"), source):
            sync(entry)
    if replace and path.is_dir():
        with temporary_path(path.with_name(f"{path.name}.old")) as old:
            path.rename(old)
            try:
                source.rename(path)
            except OSError:
                old.rename(path)
                raise
    else:
        source.replace(path)
    if durable:
        sync(path.parent)


@contextlib.contextmanager
def publish_folder(path: Path, *, durable: bool = False, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill. It becomes `path` when the block ends without an error.

    Args:
        path: missing folders above it are made. A symbolic link to an empty folder stays, and the folder is replaced.
        durable, replace: as in `publish`.

    Raises:
        FileExistsError: `path` is the current folder. After the rename, the current folder would be a removed one.
        OSError: as `publish`.
    """
    path = path.resolve()
    if path.exists() and path.samefile("."):
        raise FileExistsError(f"{path} is the current folder, in whose place no other can be put: name a folder in it")
    with publish(path, durable=durable, replace=replace) as partial:
        partial.mkdir(parents=True)
        yield partial


def write_atomically(path: Path, parts: Sequence[Any], *, durable: bool = False) -> None:
    """Writes the buffers one after another to the file `path`, or leaves `path` as it was.

    Args:
        path: its folder exists.
        parts: bytes-like objects, NumPy arrays included.
        durable: write the contents to the disk before returning. To make the name durable too, call `sync` on the folder;
            once is enough for many files.

    Raises:
        WriteError: the system refused (ENOSPC, EFBIG, EACCES …). The message names the file.
    """
    try:
        # File.write, not numpy.tofile: the latter hides errno, and with it the words "no space left".
        with publish(path) as partial, partial.open("wb") as file:
            for part in parts:
                file.write(memoryview(part).cast("B") if memoryview(part).nbytes else b"")
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(
            error.errno,
            f"Could not write {path}: {error.strerror or error}. Nothing that looks finished is left; make "
            "room (or choose another place) and call again",
        ) from error


def sync(path: Path) -> None:
    """Waits until a file's contents, or a folder's list of names, are on the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Removes a file or a folder, as far as it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def retry_transient(call: Callable[[], Result], *, tries: int = 4, wait: float = 1.0) -> Result:
    """Returns what `call` returns; calls it again after errors in `TRANSIENT_ERRORS` (EIO, ESTALE, ETIMEDOUT …).

    Args:
        call: takes no arguments.
        tries: calls at most.
        wait: seconds before the second call; it doubles with each further one.

    Raises:
        OSError: of the last call, or an error that does not pass by itself (a full disk, a missing permission).
    """
    for attempt in range(tries - 1):
        try:
            return call()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRORS:
                raise
            delay = wait * 2**attempt
            warnings.warn(f"{error}: tried again in {delay:g} s ({attempt + 1} of {tries - 1})", stacklevel=2)
            time.sleep(delay)
    return call()


def lock_folder(folder: Path) -> bool:
    """Takes the exclusive lock of a folder for this process, which keeps it until `unlock_folder` or its end.

    The lock is on the file `lock` in the folder. It is a POSIX record lock, which child processes do not inherit.

    Returns:
        False where this process has the lock already.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file system has no locks.
    """
    path = (folder / "lock").resolve()
    with _LOCKING:
        held = _HELD.get((os.getpid(), path))
        if held is not None and path.exists() and os.path.samestat(os.fstat(held.fileno()), path.stat()):
            return False
        file = path.open("w")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise OSError(error.errno, f"{path} cannot be locked: {error.strerror}") from error
            raise BlockingIOError(error.errno, f"another process has locked {folder}") from error
        _HELD[os.getpid(), path] = file
        return True


def unlock_folder(folder: Path) -> None:
    """Gives back the lock that `lock_folder` took."""
    with _LOCKING:
        _HELD.pop((os.getpid(), (folder / "lock").resolve())).close()


_HELD: dict[tuple[int, Path], TextIO] = {}
"""Locked files by process and path. Closing any descriptor of a file gives its lock back (POSIX), so none is opened twice."""
_LOCKING = threading.Lock()
