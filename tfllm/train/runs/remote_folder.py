"""Run folders on an object store (gs://, s3://, any that `tf.io.gfile` knows): a copy of what stands in a folder here.

Object stores rename nothing in one step, so a checkpoint is written here, whole, and copied with its `state.json` last: one
without it is none. Enters: a folder here, an address there. Leaves: the same there, or here.
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
    """Does a run's folder stand behind a scheme?

    Raises:
        ValueError: a `Path` made of an address, which has lost one of its slashes.
    """
    if isinstance(folder, Path) and len(folder.parts) > 1 and folder.parts[0].endswith(":"):
        raise ValueError(f"{folder} was an address before it became a Path: give it as a string")
    return is_remote(str(folder))


class Remote:
    """A run's folder there.

    Args:
        address: of the folder; made if it is not there.
    """

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self._kept = tempfile.TemporaryDirectory(prefix="tfllm-")
        self.here = Path(self._kept.name)
        """The folder here, as long as this object lives."""

    def fetch(self) -> Path:
        """The newest complete checkpoint there, if there is one, in the folder here."""
        if found := self._checkpoints():
            self._copy_here(f"checkpoints/{found[-1]}")
        return self.here

    def fetch_model(self) -> Path:
        """The model folder there, or the newest checkpoint of the run there.

        Raises:
            FileNotFoundError: there is neither.
        """
        if tf.io.gfile.exists(f"{self.address}/model.safetensors"):
            self._copy_here("")
            return self.here
        found = checkpoints(self.fetch())
        if not found:
            raise FileNotFoundError(f"{self.address} holds no model.safetensors, and no complete checkpoint")
        return found[-1]

    def send(self, *names: str) -> None:
        """Copies folders or files of the folder here; what says that a folder is complete comes last.

        Raises:
            OSError: it could not be copied; EIO where the store says that this may pass.
        """
        with _as_os_errors():
            self._send(names)

    def _send(self, names: tuple[str, ...]) -> None:
        for name in names:
            files = [path for path in (self.here / name).rglob("*") if path.is_file()] or [self.here / name]
            for path in sorted(files, key=lambda path: path.name == STATE):
                there = f"{self.address}/{path.relative_to(self.here).as_posix()}"
                tf.io.gfile.makedirs(there.rpartition("/")[0])
                tf.io.gfile.copy(str(path), there, overwrite=True)

    def remove_all_but(self, keep: int, *, every: int | None = None) -> None:
        """As `checkpoints.remove_all_but`, there; `state.json` goes first. What was half removed, or half sent, goes, too.

        Raises:
            OSError: as `send`.
        """
        with _as_os_errors():
            complete = self._checkpoints()
            for name in complete[:-keep]:
                if every is None or step_of(Path(name)) % every:
                    tf.io.gfile.remove(f"{self.address}/checkpoints/{name}/{STATE}")
                    tf.io.gfile.rmtree(f"{self.address}/checkpoints/{name}")
            there = {path.split("/")[-2] for path in tf.io.gfile.glob(f"{self.address}/checkpoints/step-*/*")}
            for name in there.difference(complete):
                if complete and step_of(Path(name)) < step_of(Path(complete[-1])):
                    tf.io.gfile.rmtree(f"{self.address}/checkpoints/{name}")

    def _checkpoints(self) -> list[str]:
        """Names of the complete ones there, oldest first."""
        found = tf.io.gfile.glob(f"{self.address}/checkpoints/step-*/{STATE}")
        return sorted((path.split("/")[-2] for path in found), key=lambda name: step_of(Path(name)))

    def _copy_here(self, name: str) -> None:
        top = f"{self.address}/{name}".rstrip("/")
        for place, _, files in tf.io.gfile.walk(top):
            below = place.rstrip("/").removeprefix(self.address).strip("/")
            (self.here / below).mkdir(parents=True, exist_ok=True)
            for file in files:
                tf.io.gfile.copy(f"{place.rstrip('/')}/{file}", str(self.here / below / file), overwrite=True)


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """What an object store says may pass, as the system says it of a disk."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
        raise OSError(errno.EIO, error.message) from error
