"""Training steps of tfllm and KerasHub, side by side: one process a contender, timed in turn, by each library's own `fit`.

    python benchmarks/training_step.py --shape gpt-mini --precision float32 --rounds 8

Enters: a shape, a precision, contenders. Leaves: `results/training_step-SHAPE-PRECISION.json` with every sample, machine,
versions and command, and `results/training_step.md`, a table of all such files.

A round gives each contender a turn of a few steps, in an order that turns around every round; a round's ratio compares
neighbours in time, so that a machine that slows down for a minute slows down both. The last contender is the one compared with.
`tfllm@FOLDER` is tfllm from another checkout, to compare two states of the code.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import psutil
import tyro

from tfllm import ModelConfig, preset

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is trained: sizes of the model, tokens a row (S), rows a batch (B), masked places a row (0: a causal model)."""

    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_size: int
    vocab_size: int
    sequence_length: int
    batch_size: int
    masked: int = 0

    def config(self) -> ModelConfig:
        names = ("num_layers", "hidden_size", "num_heads", "ffn_size", "vocab_size")
        return preset(
            "bert-mini" if self.masked else "gpt2",
            max_length=self.sequence_length,
            **{name: getattr(self, name) for name in names},
        )


SHAPES = {
    "gpt-mini": Shape(6, 384, 6, 1536, 8192, sequence_length=256, batch_size=16),
    "gpt2-small": Shape(12, 768, 12, 3072, 50_257, sequence_length=512, batch_size=2),
    "bert-mini": Shape(4, 256, 4, 1024, 30_522, sequence_length=128, batch_size=32, masked=20),
    "bert-base": Shape(12, 768, 12, 3072, 30_522, sequence_length=128, batch_size=8, masked=20),
}


def main(
    shape: Literal["gpt-mini", "gpt2-small", "bert-mini", "bert-base"] = "gpt-mini",
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    *,
    rounds: int = 8,
    steps: int = 2,
    contenders: tuple[str, ...] = ("tfllm", "keras_hub"),
    out: Path = HERE / "results",
) -> None:
    """Times the training steps of several libraries in turn.

    Args:
        shape: sizes of the model and its batch.
        precision: Keras dtype policy.
        rounds: turns of each contender.
        steps: training steps a turn.
        contenders: any of tfllm, keras_hub, keras_hub_xla, keras_hub_no_flash, tfllm@FOLDER; the last is compared with.
        out: folder of the results.
    """
    job = dataclasses.asdict(SHAPES[shape]) | {"precision": precision, "steps": steps}
    workers = [Worker(name, job) for name in contenders]
    try:
        samples = _take_turns(workers, rounds)
    finally:
        for worker in workers:
            worker.stop()
    result = {
        "shape": shape,
        "precision": precision,
        "sizes": job,
        "command": "python " + shlex.join(["benchmarks/training_step.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "keras-hub")},
        "contenders": {name: summary(samples[name], samples[contenders[-1]], SHAPES[shape], steps) for name in contenders},
        "samples": samples,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"training_step-{shape}-{precision}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table([json.loads(path.read_text()) for path in sorted(out.glob("training_step-*.json"))])
    (out / "training_step.md").write_text(text)
    print(text)


class Worker:
    """A contender's process, alive from the first round to the last."""

    def __init__(self, name: str, job: dict[str, Any]):
        contender, _, folder = name.partition("@")
        path = [folder] if folder else [str(HERE.parent)]
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "training_worker.py"), json.dumps(job | {"contender": contender})],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self._answer()

    def turn(self) -> dict[str, float]:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name} ended with code {self._process.wait()}: see its messages above")
        return json.loads(line)


def _take_turns(workers: list[Worker], rounds: int) -> dict[str, list[dict[str, float]]]:
    samples: dict[str, list[dict[str, float]]] = {worker.name: [] for worker in workers}
    counts = {worker.name: worker.ready["parameters"] for worker in workers}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"the contenders' models differ: {counts} parameters")
    for number in range(rounds):
        for worker in workers if number % 2 == 0 else workers[::-1]:
            samples[worker.name].append(worker.turn())
            print(
                f"round {number + 1}/{rounds} {worker.name} {samples[worker.name][-1]['wall_seconds']:.2f} s", file=sys.stderr
            )
    return samples


def summary(
    mine: list[dict[str, float]], others: list[dict[str, float]], shape: Shape, steps: int
) -> dict[str, float | list[float]]:
    """Medians and quartiles of one contender, and its speed over the other's, round by round."""
    tokens = shape.batch_size * shape.sequence_length * steps
    targets = shape.masked / shape.sequence_length or 1.0
    flops = 3 * shape.config().forward_flops_per_token(shape.sequence_length, targets=targets)
    speeds = [tokens / sample["wall_seconds"] for sample in mine]
    ratios = [other["wall_seconds"] / sample["wall_seconds"] for sample, other in zip(mine, others, strict=True)]
    cpu_ratios = [other["cpu_seconds"] / sample["cpu_seconds"] for sample, other in zip(mine, others, strict=True)]
    return {
        "tokens_per_second": quartiles(speeds),
        "best_tokens_per_second": max(speeds),
        "gflop_per_second": statistics.median(speeds) * flops / 1e9,
        "ratio": quartiles(ratios),
        "ratio_of_bests": min(sample["wall_seconds"] for sample in others) / min(sample["wall_seconds"] for sample in mine),
        "cpu_ratio": quartiles(cpu_ratios),
        "cpu_seconds_a_step": statistics.median(sample["cpu_seconds"] for sample in mine) / steps,
        "others_cpu": statistics.median(sample["others_cpu_seconds"] / sample["wall_seconds"] for sample in mine),
        "peak_mb": max(sample["peak_mb"] for sample in mine),
        "loss": mine[-1]["loss"],
    }


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile.

    >>> quartiles([5.0, 1.0, 3.0, 2.0, 4.0])
    [2.0, 3.0, 4.0]
    """
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    names = [line.split(":")[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "# Training steps side by side",
        "",
        "Written by `training_step.py`. Medians over rounds, quartiles in brackets; ratio: speed over the last contender's of",
        "the same run, round by round. GFLOP/s counts matrix products only. CPU: ratio of CPU time, which a busy machine",
        "disturbs less. Others: cores that other processes took meanwhile.",
        "",
        "| shape | precision | contender | tokens/s | GFLOP/s | ratio | CPU | peak MB | loss | rounds | others |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for name, each in result["contenders"].items():
            low, middle, high = each["tokens_per_second"]
            below, ratio, above = each["ratio"]
            lines.append(
                f"| {result['shape']} | {result['precision']} | {name} | {middle:.0f} ({low:.0f} to {high:.0f}) "
                f"| {each['gflop_per_second']:.0f} | {ratio:.2f} ({below:.2f} to {above:.2f}) | {each['cpu_ratio'][1]:.2f} "
                f"| {each['peak_mb']:.0f} | {each['loss']:.3f} | {len(result['samples'][name])} | {each['others_cpu']:.1f} |"
            )
    machines = sorted({json.dumps(result["machine"] | result["versions"]) for result in results})
    commands = [f"- `{result['command']}`" for result in results]
    return "\n".join([*lines, "", *(f"Machine: `{each}`" for each in machines), "", *commands, ""])


if __name__ == "__main__":
    tyro.cli(main)
