"""How far long work is: a bar on a terminal or in a notebook, lines at intervals in a file or a pipe."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

INTERVAL = 30.0
"""Seconds between two lines: an hour has 120."""


def shows_bars(stream: TextIO) -> bool:
    """Does a stream show a line that overwrites itself?"""
    return "ipykernel" in sys.modules or (stream is not None and stream.isatty())


def progress_bar(*, total: float | None, title: str, unit: str, shown: bool = True, **options: Any) -> tqdm:
    """A progress bar on standard error, to be used as tqdm's.

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
    """Takes what tqdm writes over its last state, and writes it as a line."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()
