"""What several workers, checkpoints and restarts cost: the same global batch by one process and by two, timed in turn.

    python benchmarks/distribution.py

Enters: nothing; the model is training_step.py's gpt-mini. Leaves: `results/distribution.json` with every sample, and
`results/distribution.md`, its tables.

All contenders are tfllm on the same two cores, so two workers cannot be faster than one process; how near they come is what
distribution costs. Starts are timed one by one: from the start of the processes to the end of the first step, from nothing and
from a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import tyro
from training_step import HERE, SHAPES, machine, quartiles

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
    out: Path = HERE / "results",
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
    job = dataclasses.asdict(SHAPES["gpt-mini"]) | {"precision": precision, "steps": steps, "epochs": epochs}
    result = {
        "precision": precision,
        "steps": steps,
        "epochs": epochs,
        "command": "python " + shlex.join(["benchmarks/distribution.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")},
        "starts": {name: times_of_starts(LAYOUTS[name], job, starts) for name in (BASE, "2 workers")},
        "samples": take_turns(job, rounds),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "distribution.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "distribution.md").write_text(text := table(result))
    print(text)


@contextlib.contextmanager
def team(layout: Layout, job: dict[str, Any], folder: str) -> Iterator[list[subprocess.Popen[str]]]:
    """The contender's processes, which end with the block."""
    told = json.dumps(job | {"strategy": layout.strategy, "devices": layout.devices, "folder": folder})
    own = {} if layout.threads is None else {"TF_NUM_INTRAOP_THREADS": str(layout.threads)}
    with contextlib.ExitStack() as stack:
        configs: list[dict[str, str]] = [{}]
        if layout.workers > 1:
            tasks = cluster_tasks(layout.workers)
            ports = [stack.enter_context(reserve_port()).getsockname()[1] for _ in tasks]
            configs = [{"TF_CONFIG": tf_config(tasks, ports, task)} for task in tasks]
        processes = [
            subprocess.Popen(
                [sys.executable, str(HERE / "distribution_worker.py"), told],
                env=os.environ | own | config,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for config in configs
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()


def answer(processes: list[subprocess.Popen[str]]) -> dict[str, Any]:
    """The first worker's next line, when all have said theirs."""
    lines = [process.stdout.readline() if process.stdout else "" for process in processes]
    if not all(lines):
        raise RuntimeError("a worker ended before its turn; what it said stands above")
    return json.loads(lines[0])


def take_turns(job: dict[str, Any], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Samples of every contender, one a round; the order turns around every round."""
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in LAYOUTS}
    with contextlib.ExitStack() as stack:
        teams = {}
        for name, layout in LAYOUTS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory()) if layout.checkpoints else ""
            teams[name] = stack.enter_context(team(layout, job, folder))
            answer(teams[name])  # the first step
            answer(teams[name])  # the first turn, in which buffers are made
        for number in range(rounds):
            for name in list(LAYOUTS)[:: 1 if number % 2 == 0 else -1]:
                for process in teams[name]:
                    assert process.stdin
                    process.stdin.write("go\n")
                    process.stdin.flush()
                samples[name].append(answer(teams[name]))
                print(f"round {number + 1}/{rounds} {name} {samples[name][-1]['seconds']:.2f} s", file=sys.stderr)
    return samples


def times_of_starts(layout: Layout, job: dict[str, Any], count: int) -> dict[str, list[float]]:
    """Seconds to the first step's end: from nothing, and from the checkpoint that the first of these runs left."""
    times: dict[str, list[float]] = {"nothing": [], "checkpoint": []}
    with tempfile.TemporaryDirectory() as place:
        saved = Path(place) / "saved"
        for number in range(count):
            for name, folder in (("nothing", Path(place) / f"new-{number}"), ("checkpoint", saved)):
                started = time.time()
                with team(layout, job, str(folder)) as processes:
                    times[name].append(answer(processes)["first_step_at"] - started)
                    if not saved.exists():
                        answer(processes)  # a turn, whose checkpoints are on the disk now
                        shutil.copytree(folder, saved, ignore=shutil.ignore_patterns("lock"))
                print(f"start from {name}: {times[name][-1]:.1f} s", file=sys.stderr)
    return times


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    samples, base = result["samples"], [sample["seconds"] for sample in result["samples"][BASE]]
    count = result["steps"] * result["epochs"]
    lines = [
        "# Distribution, checkpoints, restarts",
        "",
        "Written by `distribution.py`: gpt-mini (14 million parameters), 16 x 256 tokens a step over all workers, AdamW,",
        f"{result['precision']}; all on the same 2 cores. Medians, quartiles in brackets; ratio: time beside one process,",
        "round by round.",
        "",
        "| contender | seconds a step | ratio |",
        "|---|---|---|",
    ]
    for name, mine in samples.items():
        seconds = [sample["seconds"] for sample in mine]
        ratios = quartiles([here / there for here, there in zip(seconds, base, strict=True)])
        lines.append(f"| {name} | {_spread(quartiles([each / count for each in seconds]))} | {_spread(ratios)} |")
    saving = samples["one process, checkpoints"]
    lost = [(mine["seconds"] - other) / result["epochs"] for mine, other in zip(saving, base, strict=True)]
    pause = statistics.median(pause for sample in saving for pause in sample["pauses"])
    lines += [
        "",
        f"A checkpoint (weights and AdamW's state, {result['steps']} steps apart, the last of a turn waited for) costs "
        f"{statistics.median(lost):.2f} s; training stands still for {pause:.3f} s of it, the rest is written meanwhile.",
        "",
        "| start to the end of the first step | from nothing, s | from a checkpoint, s | ratio |",
        "|---|---|---|---|",
    ]
    for name, times in result["starts"].items():
        ratios = [later / first for first, later in zip(times["nothing"], times["checkpoint"], strict=True)]
        cells = [_spread(quartiles(each)) for each in (times["nothing"], times["checkpoint"], ratios)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    machine_and_versions = json.dumps(result["machine"] | result["versions"])
    return "\n".join([*lines, "", f"Machine: `{machine_and_versions}`", "", f"`{result['command']}`", ""])


def _spread(values: list[float]) -> str:
    low, middle, high = values
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    tyro.cli(main)
