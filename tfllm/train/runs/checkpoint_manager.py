"""What is kept of a run: checkpoints, the best model and the history, in a local folder and in its remote copy if it has one.

Input: snapshots and states, from the thread that writes. Output: files. Errors that may pass are retried
(`files.retry_transient`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfllm.files import retry_transient
from tfllm.train.runs.checkpoints import (
    STATE,
    Snapshot,
    checkpoint_name,
    prune_checkpoints,
    replace_model,
    write_checkpoint,
    write_history,
)
from tfllm.train.runs.remote_folder import RemoteFolder


@dataclass(frozen=True)
class CheckpointManager:
    """Writes checkpoints, and removes old ones.

    Args:
        folder: the run's local folder.
        remote: the run's folder on an object store, or None.
        keep: how many of the newest checkpoints stay.
        keep_every_steps: checkpoints at multiples of this many steps stay, too; None for no others.
    """

    folder: Path
    remote: RemoteFolder | None
    keep: int
    keep_every_steps: int | None

    def save_checkpoint(self, snapshot: Snapshot, state: dict[str, Any]) -> None:
        retry_transient(lambda: write_checkpoint(snapshot, folder=self.folder, state=state))
        prune_checkpoints(self.folder, self.keep, keep_every_steps=self.keep_every_steps)
        self._upload(f"checkpoints/{checkpoint_name(state['step'])}", "config.json")
        remote = self.remote
        if remote is not None:
            retry_transient(lambda: remote.prune_checkpoints(self.keep, keep_every_steps=self.keep_every_steps))

    def save_best(self, snapshot: Snapshot) -> None:
        retry_transient(lambda: replace_model(snapshot, self.folder / "best"))
        self._upload("best")

    def save_history(self, history: list[dict[str, Any]], checkpoint: Path) -> None:
        retry_transient(lambda: write_history(history, checkpoint))
        self._upload(f"checkpoints/{checkpoint.name}/{STATE}")

    def _upload(self, *names: str) -> None:
        remote = self.remote
        if remote is not None:
            retry_transient(lambda: remote.upload(*names))
