"""Run folders on an object store (gs://, s3://, whatever `tf.io.gfile` knows): copies of a local folder.

Input: an address, a local folder. Output: the same files at the address, or in the local folder. Object stores have no atomic
rename, so a checkpoint is written completely in the local folder, and copied with its `state.json` last: a remote checkpoint
without `state.json` is incomplete and ignored.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfllm.files import is_remote
from tfllm.train.runs.checkpoints import STATE, checkpoints, step_of


def is_address(folder: str | Path) -> bool:
    """Returns whether a run's folder has a scheme.

    Raises:
        ValueError: a `Path` made from an address; it has lost one of the address's slashes.
    """
    if isinstance(folder, Path) and len(folder.parts) > 1 and folder.parts[0].endswith(":"):
        raise ValueError(f"{folder} was an address before it became a Path: give it as a string")
    return is_remote(str(folder))


class RemoteFolder:
    """A run's folder on an object store.

    Args:
        address: of the folder; it is made if needed.
    """

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self._temporary = tempfile.TemporaryDirectory(prefix="tfllm-")
        self.local = Path(self._temporary.name)
        """The local copy. It is removed with this object."""

    def download(self) -> Path:
        """Copies the newest complete checkpoint, if there is one; returns the local folder."""
        if found := self._checkpoints():
            self._download(f"checkpoints/{found[-1]}")
        return self.local

    def download_model(self) -> Path:
        """Copies the model folder, or the newest checkpoint of the run; returns its local path.

        Raises:
            FileNotFoundError: there is neither.
        """
        if tf.io.gfile.exists(f"{self.address}/model.safetensors"):
            self._download("")
            return self.local
        found = checkpoints(self.download())
        if not found:
            raise FileNotFoundError(f"{self.address} holds no model.safetensors, and no complete checkpoint")
        return found[-1]

    def upload(self, *names: str) -> None:
        """Copies folders or files of the local folder to the address, `state.json` last.

        Raises:
            OSError: it could not be copied; its number is EIO where the store says that a later try may succeed.
        """
        with _store_errors_as_os_errors():
            for name in names:
                files = [path for path in (self.local / name).rglob("*") if path.is_file()] or [self.local / name]
                for path in sorted(files, key=lambda path: path.name == STATE):
                    target = f"{self.address}/{path.relative_to(self.local).as_posix()}"
                    tf.io.gfile.makedirs(target.rpartition("/")[0])
                    tf.io.gfile.copy(str(path), target, overwrite=True)

    def prune_checkpoints(self, keep: int, *, keep_every_steps: int | None = None) -> None:
        """Removes old remote checkpoints, as `checkpoints.prune_checkpoints` does; `state.json` is removed first.

        Older checkpoints that were partly removed or partly copied are removed, too.

        Raises:
            OSError: as `upload`.
        """
        with _store_errors_as_os_errors():
            complete = self._checkpoints()
            for name in complete[:-keep]:
                if keep_every_steps is None or step_of(Path(name)) % keep_every_steps:
                    tf.io.gfile.remove(f"{self.address}/checkpoints/{name}/{STATE}")
                    tf.io.gfile.rmtree(f"{self.address}/checkpoints/{name}")
            present = {path.split("/")[-2] for path in tf.io.gfile.glob(f"{self.address}/checkpoints/step-*/*")}
            for name in present.difference(complete):
                if complete and step_of(Path(name)) < step_of(Path(complete[-1])):
                    tf.io.gfile.rmtree(f"{self.address}/checkpoints/{name}")

    def _checkpoints(self) -> list[str]:
        """Names of the complete remote checkpoints, oldest first."""
        found = tf.io.gfile.glob(f"{self.address}/checkpoints/step-*/{STATE}")
        return sorted((path.split("/")[-2] for path in found), key=lambda name: step_of(Path(name)))

    def _download(self, name: str) -> None:
        """Copies a folder below the address, "" for all of it."""
        for folder, _, files in tf.io.gfile.walk(f"{self.address}/{name}".rstrip("/")):
            relative = folder.rstrip("/").removeprefix(self.address).strip("/")
            (self.local / relative).mkdir(parents=True, exist_ok=True)
            for file in files:
                tf.io.gfile.copy(f"{folder.rstrip('/')}/{file}", str(self.local / relative / file), overwrite=True)


@contextlib.contextmanager
def _store_errors_as_os_errors() -> Iterator[None]:
    """Turns an object store's errors that may pass into the EIO of a local disk, which `files.retry_transient` retries."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
        raise OSError(errno.EIO, error.message) from error
