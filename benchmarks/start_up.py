"""How long one waits: for the command line, for the first training step, for the first token, for an export and its loading.

    python benchmarks/start_up.py --rounds 5

Enters: nothing. Leaves: `results/start_up.json`, `start_up.md`, `start_up.png`.

Each is a process started anew, tfllm's and KerasHub's in turn: gpt-mini until its first training step is done, GPT-2 small
until the first token of one prompt, the export of the same weights and its loading in a process without Keras.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tyro
from decoding_models import folder_of, make
from harness import Contender, Measured, start
from report import RESULTS, bars, publish, quartiles, record, rows, spread, write

PEERS = ("tfllm", "keras_hub")
COMMANDS = ("tokenizer", "prepare", "pretrain", "finetune", "evaluate", "launch", "generate", "predict", "export", "convert")
TEXT = """\
Written by `start_up.py`. Medians over rounds, quartiles in brackets; files are in the system's cache. A first training step:
the process's start, imports, the model, tracing, one step of gpt-mini. A first token: the same up to one token of GPT-2 small,
its weights on the disk. Loading an export: a process that imports TensorFlow and TensorFlow Text, and loads it."""


def main(rounds: int = 5, *, out: Path = RESULTS) -> None:
    """Times starts.

    Args:
        rounds: starts of each kind.
        out: folder of the results.
    """
    folder, measured = make("gpt2-small"), Measured()
    with tempfile.TemporaryDirectory() as place:
        size, exporting = export(folder_of("gpt2-small") / "huggingface", Path(place))
        kinds: list[tuple[str, str, Callable[[], float]]] = [("tfllm --help", "tfllm", lambda: command("tfllm", "--help"))]
        kinds += [("the slowest tfllm COMMAND --help", "tfllm", slowest_help)]
        kinds += [("first training step", name, lambda name=name: first_step(name, measured)) for name in PEERS]  # type: ignore[misc]
        kinds += [("first token", name, lambda name=name: first_token(name, measured)) for name in PEERS]  # type: ignore[misc]
        kinds += [("loading an export", "tfllm", lambda: command(sys.executable, "-c", LOAD, str(Path(place, "1"))))]
        for number in range(rounds):
            for kind, name, wait in kinds[:: 1 if number % 2 == 0 else -1]:
                sample = {"kind": kind, "contender": name, "round": number, "wall_seconds": wait()}
                measured.samples.append(sample)
                print(f"round {number + 1}/{rounds} {kind} {name} {sample['wall_seconds']:.2f} s", file=sys.stderr)
    measured.ready = {name: {key: ready[key] for key in ("versions",)} for name, ready in measured.ready.items()}
    result = record(measured, export={"megabytes": size, "seconds": exporting, "weights": folder.name})
    found = {(kind, name): seconds(measured, kind, name) for kind, name, _ in kinds}
    result["seconds"] = {f"{kind}, {name}": values for (kind, name), values in found.items()}
    write(out, "start_up", result)
    table = rows(("until", "contender", "seconds"), [[kind, name, spread(each)] for (kind, name), each in found.items()])
    table += ["", f"An export of GPT-2 small takes {exporting:.1f} s, process included, and {size:.0f} MB."]
    groups: dict[str, dict[str, list[float]]] = {}
    for (kind, name), each in found.items():
        groups.setdefault(kind, {})[name] = each
    bars(out / "start_up.png", "Starting up", "seconds", groups)
    publish(out, "start_up", "Starting up", [result], text=TEXT.splitlines(), table=table)


EXPORT = "import sys, tfllm; tfllm.export(*tfllm.from_huggingface(sys.argv[1]), sys.argv[2])"
LOAD = "import sys, tensorflow as tf, tensorflow_text; tf.saved_model.load(sys.argv[1])"


def export(weights: Path, folder: Path) -> tuple[float, float]:
    """Megabytes on the disk, seconds of the process."""
    taken = command(sys.executable, "-c", EXPORT, str(weights), str(folder))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, taken


def command(*line: str) -> float:
    """Seconds of a command, of this environment."""
    name = Path(sys.executable).with_name(line[0]) if not line[0].startswith("/") else Path(line[0])
    began = time.perf_counter()
    subprocess.run([str(name), *line[1:]], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def slowest_help() -> float:
    return max(command("tfllm", name, "--help") for name in COMMANDS)


def first_step(name: str, measured: Measured) -> float:
    job = {"shape": "gpt-mini", "precision": "float32", "steps": 1}
    with start(Contender(name, "training_worker.py", job)) as team:
        measured.ready[name] = team.ready
        return team.ready["first_step_at"] - team.started


def first_token(name: str, measured: Measured) -> float:
    with start(Contender(name, "decoding_worker.py", {"model": "gpt2-small"})) as team:
        team.turn({"batch": 1, "new": 1})
        return time.time() - team.started


def seconds(measured: Measured, kind: str, name: str) -> list[float]:
    return quartiles(
        [sample["wall_seconds"] for sample in measured.samples if (sample["kind"], sample["contender"]) == (kind, name)]
    )


if __name__ == "__main__":
    tyro.cli(main)
