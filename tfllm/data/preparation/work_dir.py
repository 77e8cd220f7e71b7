"""The work folder in which a store is made.

In: the store's folder and a fingerprint of inputs and settings. Out: a folder that one process owns at a time (by a lock), and
that becomes the store by a rename when all files are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfllm.data.preparation.chunk_files import CHUNK_FILE_FORMAT
from tfllm.data.preparation.inputs import Inputs
from tfllm.data.store import FORMAT, Store, StoreError, work_dir_of
from tfllm.files import WriteError, is_remote, lock_folder, move_into_place, unlock_folder, write_atomically


def fingerprint_of(inputs: Inputs, settings: dict[str, Any], identity: dict[str, Any]) -> str:
    """Of everything the store follows from."""
    text = json.dumps([FORMAT, inputs.identity(), settings, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_out(out: str | os.PathLike[str]) -> Path:
    """Where `out` is, links followed: a work folder can be renamed to it. Else a StoreError, before any work is done."""
    if is_remote(os.fspath(out)):
        raise StoreError(
            f"out={os.fspath(out)!r} is invalid: expected a folder on a local disk. Give one, or call prepare_with_beam."
        )
    folder = Path(out).resolve()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise StoreError(f"{place} is a file; `out` is the folder a store is made in. Give another `out`.")
    if place == folder and not any(folder.iterdir()):
        for kind, here in (("the current folder", folder == Path.cwd()), ("a mount point", folder.is_mount())):
            if here:
                raise StoreError(f"{folder} is {kind}, which a store cannot replace. Give a folder in it as `out`.")
    return folder


def open_finished_store(folder: Path, tokenizer: Any, settings: dict[str, Any], fingerprint: str) -> Store:
    """The finished store in `folder`, if it was made of the same; else a StoreError that says what differs."""
    store = Store.open(folder, tokenizer)
    if store.manifest["fingerprint"] == fingerprint:
        shutil.rmtree(work_dir_of(folder), ignore_errors=True)  # left if killed right after the last rename
        return store
    old = store.manifest["settings"]
    names = dict.fromkeys([*old, *settings])
    changed = [
        f"{name} was {old.get(name)!r}, now {settings.get(name)!r}" for name in names if old.get(name) != settings.get(name)
    ]
    raise StoreError(
        f"{folder} is a finished store made from other {'settings: ' + '; '.join(changed) if changed else 'files or texts'}. "
        "Give another `out`, or delete it first."
    )


@contextlib.contextmanager
def open_work_dir(out: Path, fingerprint: str) -> Iterator[Path]:
    """The work folder of this very preparation, ours alone; what one of other inputs or settings left is removed."""
    work = work_dir_of(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
        locked = lock_folder(work)  # False where another thread of this process has it
    except BlockingIOError:
        locked = False
    except OSError as error:
        raise WriteError(error.errno, f"Could not write in {work}: {error.strerror}. Give another `out`") from error
    if not locked:
        raise StoreError(f"Another preparation of {out} is running. Wait for it, or give another `out`.")
    try:
        ours = work / f"{fingerprint[:16]}-{CHUNK_FILE_FORMAT}"
        for entry in work.iterdir():
            if entry.is_dir() and entry != ours:
                shutil.rmtree(entry, ignore_errors=True)
        for name in ("pieces", "links", "store", "results"):
            (ours / name).mkdir(parents=True, exist_ok=True)
            for leftover in (ours / name).glob("*.partial"):
                leftover.unlink()
        yield ours
    finally:
        unlock_folder(work)


def publish_store(work: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Add the manifest and turn the work into the store, in one rename."""
    text = json.dumps(manifest, indent=1) + "\n"
    write_atomically(work / "store" / "manifest.json", [text.encode()], durable=True)
    move_into_place(work / "store", folder, durable=True)
    shutil.rmtree(work_dir_of(folder), ignore_errors=True)  # the store stands; `open_finished_store` sweeps what is left
