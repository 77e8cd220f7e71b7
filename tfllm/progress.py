"""Progress of long work: a bar on a terminal or in a notebook, lines at intervals in a file or a pipe.

Input: counts. Output: text on standard error.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

INTERVAL = 30.0
"""Seconds between two lines: an hour has 120."""


def shows_bars(stream: TextIO) -> bool:
    """Whether a stream shows a bar that overwrites itself."""
    return "ipykernel" in sys.modules or (stream is not None and stream.isatty())


def progress_bar(*, total: float | None, title: str, unit: str, shown: bool = True, **options: Any) -> tqdm:
    """A progress bar on standard error, with tqdm's interface.

    sharding: 100%|██████████| 8/8 [00:02<00:00, 3.9shard/s]     where it is a terminal
    sharding: 100%, 8/8 shard, 00:02                             where it is not

    Args:
        shown: False for none.
        options: more of tqdm's.
    """
    if not shows_bars(sys.stderr):
        line = "{desc}: {percentage:.0f}%, {n_fmt}/{total_fmt} " + unit + ", {elapsed}"
        options |= dict(file=_Lines(sys.stderr), mininterval=INTERVAL, bar_format=line)
    return tqdm(total=total, desc=title, unit=unit, disable=not shown, **options)


class _Lines:
    """A stream for tqdm that writes each state of the bar as a line of its own."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()
