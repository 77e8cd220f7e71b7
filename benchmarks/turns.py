"""The contender's side of a benchmark: says when it is ready, works when it is told to, reports what a turn took.

Enters: the job as JSON in argv[1], then one JSON line a turn on standard input. Leaves: one JSON line on standard output when
ready (or why it cannot be), and one a turn. Whatever else the process prints goes to standard error.
Imports nothing beyond psutil, for it runs in environments without TensorFlow, too.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

Told = dict[str, Any]
Run = Callable[[Told], dict[str, Any]]

_ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
_PEAK = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class UnavailableError(Exception):
    """What the contender needs cannot be had here; the message says what and why."""


def serve(prepare: Callable[[dict[str, Any]], tuple[Run, dict[str, Any]]]) -> None:
    """Runs turns until there are no more.

    Args:
        prepare: makes of the job what does a turn, and facts to report when ready (`versions`, `parameters`).
    """
    began = time.perf_counter()
    try:
        run, facts = prepare(json.loads(sys.argv[1]))
    except Exception as error:
        decline(error)
        return
    say(facts | {"ready_seconds": time.perf_counter() - began})
    for told in turns():
        meter = Meter()
        found = run(told)
        say(meter.report() | found)


def decline(error: Exception) -> None:
    """Tells the harness that this contender does not run, and why; the whole story goes to standard error."""
    if not isinstance(error, UnavailableError):
        traceback.print_exc()
    say({"skipped": f"{type(error).__name__}: {error}".removeprefix("UnavailableError: ")[:500]})


def turns() -> Iterator[Told]:
    """What each turn is told; ends when the harness has closed the pipe."""
    for line in sys.stdin:
        yield json.loads(line)


def say(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), file=_ANSWERS, flush=True)


def versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


class Meter:
    """What the process uses from here on."""

    def __init__(self) -> None:
        if os.access(_PEAK[0], os.W_OK):
            _PEAK[0].write_text("5")  # the peak begins anew: Linux, proc(5)
        self._others = _busy_machine() - _busy_self()
        self._cpu, self._wall = _busy_self(), time.perf_counter()

    def report(self) -> dict[str, float]:
        """Seconds by the clock, of this process on all cores, and of other processes; and the most memory held, in MB."""
        wall, cpu = time.perf_counter() - self._wall, _busy_self() - self._cpu
        others = _busy_machine() - _busy_self() - self._others
        return {"wall_seconds": wall, "cpu_seconds": cpu, "others_cpu_seconds": others, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory this process has held, in MB. Not `ru_maxrss`, which counts what the parent held when it forked."""
    for line in _PEAK[1].read_text().splitlines() if _PEAK[1].exists() else []:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _busy_self() -> float:
    """Processor seconds of this process, and of those it started that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _busy_machine() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
