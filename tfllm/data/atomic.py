"""Bytes in, a whole file out: written beside its place and renamed, so none is ever half there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class WriteError(OSError):
    """A file could not be written: full disk, quota, permission. Names the file; `errno` is the system's."""


def write_atomically(path: Path, parts: Sequence[Any], *, durable: bool = False) -> None:
    """Write the buffers one after another to `path`, or leave `path` as it was.

    Args:
        path: the file; its folder is there.
        parts: bytes-like objects (NumPy arrays too).
        durable: wait until the disk has it.

    Raises:
        WriteError: naming the file, when the system refuses (ENOSPC, EFBIG, EACCES …).
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        # File.write, not numpy.tofile: the latter hides errno, and with it the words "no space left".
        with beside.open("wb") as file:
            for part in parts:
                file.write(memoryview(part).cast("B") if memoryview(part).nbytes else b"")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise WriteError(
            error.errno,
            f"Could not write {path}: {error.strerror or error}. Nothing that looks finished is left; make "
            "room (or choose another place) and call again: finished pieces are kept",
        ) from error


def sync_folder(folder: Path) -> None:
    """Wait until the renames in `folder` are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
