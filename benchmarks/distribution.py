"""What several workers, checkpoints and restarts cost: the same global batch by one process and by two, timed in turn.

    python benchmarks/distribution.py

Enters: nothing; the model is gpt-mini (`shapes.py`). Leaves: `results/distribution.json` with every sample, and
`results/distribution.md`, its tables.

All contenders are tfllm on the same two cores, so two workers cannot be faster than one process; how near they come is what
distribution costs. Starts are timed one by one: from the start of the processes to the end of the first step, from nothing and
from a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import tyro
from harness import Contender, Team, measure, start
from report import RESULTS, publish, quartiles, record, rows, spread, usage, write

from tfllm.launching.cluster import cluster_tasks, reserve_port, tf_config


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a contender trains."""

    strategy: str = "one"
    devices: int | None = None
    workers: int = 1
    threads: int | None = None
    """Threads of an op, in each worker; as many as there are cores unless given."""
    checkpoints: bool = False


LAYOUTS = {
    "one process": Layout(),
    "one process, checkpoints": Layout(checkpoints=True),
    "mirrored, 2 parts of the processor": Layout("mirrored", devices=2),
    "2 workers": Layout("multi_worker", workers=2),
    "2 workers, 1 thread each": Layout("multi_worker", workers=2, threads=1),
}
BASE = "one process"


def main(
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    *,
    rounds: int = 6,
    steps: int = 4,
    epochs: int = 2,
    starts: int = 3,
    out: Path = RESULTS,
) -> None:
    """Times training steps, checkpoints and starts.

    Args:
        precision: Keras dtype policy.
        rounds: turns of each contender.
        steps: training steps an epoch, which ends with a checkpoint where there are checkpoints.
        epochs: epochs a turn.
        starts: starts from nothing, and as many from a checkpoint.
        out: folder of the results.
    """
    job = {"shape": "gpt-mini", "precision": precision, "steps": steps, "epochs": epochs}
    begun = {name: times_of_starts(name, job, starts) for name in (BASE, "2 workers")}
    with contextlib.ExitStack() as stack:
        contenders = []
        for name, layout in LAYOUTS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory()) if layout.checkpoints else ""
            contenders.append(contender(name, job | {"folder": folder}, stack))
        measured = measure(contenders, rounds=rounds, warm_up=False)
    result = record(measured, precision=precision, steps=steps, epochs=epochs, starts=begun)
    base = measured.of(contender=BASE)
    result["contenders"] = {name: usage(measured.of(contender=name), base) for name in measured.ready}
    result["checkpoints"] = checkpoints(measured.of(contender="one process, checkpoints"), base, epochs)
    write(out, "distribution", result)
    show(out, result)


def contender(name: str, job: dict[str, Any], stack: contextlib.ExitStack) -> Contender:
    """The layout's processes; ports of a cluster are held until `stack` is left."""
    layout = LAYOUTS[name]
    own = {} if layout.threads is None else {"TF_NUM_INTRAOP_THREADS": str(layout.threads)}
    configs: list[dict[str, str]] = [{}]
    if layout.workers > 1:
        tasks = cluster_tasks(layout.workers)
        ports = [stack.enter_context(reserve_port()).getsockname()[1] for _ in tasks]
        configs = [{"TF_CONFIG": tf_config(tasks, ports, task)} for task in tasks]
    told = job | {"strategy": layout.strategy, "devices": layout.devices}
    return Contender(name, "distribution_worker.py", told, environs=tuple(own | config for config in configs))


def times_of_starts(name: str, job: dict[str, Any], count: int) -> dict[str, list[float]]:
    """Seconds to the first step's end: from nothing, and from the checkpoint that the first of these runs left."""
    times: dict[str, list[float]] = {"nothing": [], "checkpoint": []}
    with tempfile.TemporaryDirectory() as place:
        saved = Path(place) / "saved"
        for number in range(count):
            for origin, folder in (("nothing", Path(place) / f"new-{number}"), ("checkpoint", saved)):
                with contextlib.ExitStack() as stack:
                    team: Team = stack.enter_context(start(contender(name, job | {"folder": str(folder)}, stack)))
                    times[origin].append(team.ready["first_step_at"] - team.started)
                    if not saved.exists():  # it is ready after a turn, whose checkpoints are on the disk now
                        shutil.copytree(folder, saved, ignore=shutil.ignore_patterns("lock"))
                print(f"{name}: start from {origin}: {times[origin][-1]:.1f} s", file=sys.stderr)
    return times


def checkpoints(saving: list[dict[str, Any]], base: list[dict[str, Any]], epochs: int) -> dict[str, float]:
    """Seconds that a checkpoint costs, and seconds that training stands still for it."""
    lost = [(mine["wall_seconds"] - other["wall_seconds"]) / epochs for mine, other in zip(saving, base, strict=True)]
    return {"costs": statistics.median(lost), "pause": statistics.median(pause for each in saving for pause in each["pauses"])}


def show(out: Path, result: dict[str, Any]) -> None:
    count = result["steps"] * result["epochs"]
    body = []
    for name, each in result["contenders"].items():
        slower = [1 / ratio for ratio in reversed(each["ratio"])]
        seconds = [wall / count for wall in each["wall_seconds"]]
        cells = [name, spread(seconds), spread(slower), f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}"]
        body.append([*cells, each["rounds"], f"{each['others']:.1f}"])
    table = rows(("contender", "seconds a step", "ratio", "cores", "peak MB", "rounds", "others"), body)
    found = result["checkpoints"]
    table += [
        "",
        f"A checkpoint (weights and AdamW's state, {result['steps']} steps apart, the last of a turn waited for) costs "
        f"{found['costs']:.2f} s; training stands still for {found['pause']:.3f} s of it, the rest is written meanwhile.",
        "",
    ]
    body = []
    for name, times in result["starts"].items():
        ratios = [later / first for first, later in zip(times["nothing"], times["checkpoint"], strict=True)]
        body.append([name, *(spread(quartiles(each)) for each in (times["nothing"], times["checkpoint"], ratios))])
    table += rows(("start to the end of the first step", "from nothing, s", "from a checkpoint, s", "ratio"), body)
    text = [
        "Written by `distribution.py`: gpt-mini (14 million parameters), 16 x 256 tokens a step over all workers, AdamW,",
        f"{result['precision']}; all on the same cores. Medians, quartiles in brackets; ratio: time beside one process, round",
        "by round. Cores and peak MB: of all processes.",
    ]
    publish(out, "distribution", "Distribution, checkpoints, restarts", [result], text=text, table=table)


if __name__ == "__main__":
    tyro.cli(main)
