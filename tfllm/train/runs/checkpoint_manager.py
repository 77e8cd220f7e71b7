"""What a run keeps: checkpoints, the best model, the history; in a folder here, and at its address where it has one.

Enters: what is to be kept, from the thread that writes. Errors that may pass are waited for (`files.patiently`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfllm.files import patiently
from tfllm.train.runs.checkpoints import (
    STATE,
    Snapshot,
    checkpoint_name,
    remove_all_but,
    replace_model,
    write_checkpoint,
    write_history,
)
from tfllm.train.runs.remote_folder import Remote


@dataclass(frozen=True)
class Keeper:
    """Writes into a run's folder.

    Args:
        folder: here.
        remote: the run's folder behind an address.
        keep: checkpoints kept, the newest.
        every: keep those of each multiple of so many steps, too.
    """

    folder: Path
    remote: Remote | None
    keep: int
    every: int | None

    def checkpoint(self, snapshot: Snapshot, state: dict[str, Any]) -> None:
        patiently(lambda: write_checkpoint(snapshot, folder=self.folder, state=state))
        remove_all_but(self.folder, self.keep, every=self.every)
        self._send(f"checkpoints/{checkpoint_name(state['step'])}", "config.json")
        remote = self.remote
        if remote is not None:
            patiently(lambda: remote.remove_all_but(self.keep, every=self.every))

    def best(self, snapshot: Snapshot) -> None:
        patiently(lambda: replace_model(snapshot, self.folder / "best"))
        self._send("best")

    def history(self, history: list[dict[str, Any]], checkpoint: Path) -> None:
        patiently(lambda: write_history(history, checkpoint))
        self._send(f"checkpoints/{checkpoint.name}/{STATE}")

    def _send(self, *names: str) -> None:
        remote = self.remote
        if remote is not None:
            patiently(lambda: remote.send(*names))
