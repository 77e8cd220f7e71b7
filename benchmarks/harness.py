"""Contenders side by side: each in processes of its own, alive from the first round to the last, in turn A B, B A, A B.

Enters: contenders, rounds, cases (what a turn is told). Leaves: one record a turn, as `turns.py` takes it.

A machine that slows down for a minute slows down everyone, so a round's ratio of two contenders holds where their seconds do
not. A contender that cannot run is left out, and the result says so and why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("TFLLM_BENCHMARKS", Path.home() / ".cache" / "tfllm-benchmarks"))


@dataclasses.dataclass(frozen=True)
class Contender:
    """What runs, and where."""

    name: str
    script: str
    """The file in `benchmarks/` that its processes run."""
    job: dict[str, Any]
    requirements: tuple[str, ...] = ()
    """What an environment of its own holds; none: it shares this one."""
    checkout: str = ""
    """Folder of a checkout, whose tfllm and whose scripts it runs; this one, unless given."""
    installing: tuple[tuple[str, str], ...] = ()
    """Environment variables of pip, names and values, when it makes that environment."""
    environs: tuple[dict[str, str], ...] = ({},)
    """Environment variables, a set a process."""


def variant(name: str) -> dict[str, Any]:
    """What `NAME@…` is beside NAME, as a contender: another checkout, or, `NAME@without_onednn`, TensorFlow without oneDNN."""
    which = name.partition("@")[2]
    return {"environs": ({"TF_ENABLE_ONEDNN_OPTS": "0"},)} if which == "without_onednn" else {"checkout": which}


@dataclasses.dataclass
class Measured:
    """What came of it."""

    samples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """A record a turn: contender, round, what it was told, what it took (`turns.Meter`)."""
    ready: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """What each contender said when it was ready."""
    first: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The turns before the first round, which compile and fill caches."""
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    """Who did not run, and why."""

    def of(self, **where: Any) -> list[dict[str, Any]]:
        """The samples with these values, in the order of rounds."""
        return [sample for sample in self.samples if all(sample[key] == value for key, value in where.items())]

    def versions(self) -> dict[str, str]:
        return {name: version for ready in self.ready.values() for name, version in ready.get("versions", {}).items()}


class Skipped(Exception):
    """A contender that does not run; the message says why."""


def measure(
    contenders: Sequence[Contender], *, rounds: int, cases: Sequence[dict[str, Any]] = ({},), warm_up: bool = True
) -> Measured:
    """Gives every contender a turn of each case in each round.

    Args:
        cases: what a turn is told, beside the round's number; each is a turn of its own.
        warm_up: one more turn of each case before the first round, kept apart; its round is -1.
    """
    found = Measured()
    with contextlib.ExitStack() as stack:
        teams: list[Team] = []
        for contender in contenders:
            try:
                team = stack.enter_context(start(contender))
                found.first += [
                    {"contender": team.name, **case, **team.turn({**case, "round": -1})} for case in cases if warm_up
                ]
            except Skipped as reason:
                found.skipped[contender.name] = str(reason)
                print(f"\n*** {contender.name} IS LEFT OUT: {reason}\n", file=sys.stderr)
                continue
            teams.append(team)
            found.ready[team.name] = team.ready
        for number in range(rounds):
            for case in cases:
                for team in teams if number % 2 == 0 else teams[::-1]:
                    told = {**case, "round": number}
                    sample = {"contender": team.name, **told, **team.turn(told)}
                    found.samples.append(sample)
                    said = " ".join(f"{key} {value}" for key, value in case.items())
                    print(f"round {number + 1}/{rounds} {team.name} {said} {sample['wall_seconds']:.2f} s", file=sys.stderr)
    return found


@contextlib.contextmanager
def start(contender: Contender) -> Iterator[Team]:
    """The contender's processes, ready; they end with the block.

    Raises:
        Skipped: it cannot run here.
    """
    team = Team(contender)
    try:
        team.ready = team.answer()
        yield team
    finally:
        team.stop()


class Team:
    """The processes of a contender: one, or the workers of a cluster."""

    def __init__(self, contender: Contender):
        self.name = contender.name
        self.ready: dict[str, Any] = {}
        python = environment(contender.requirements, contender.installing)
        scripts = Path(contender.checkout, "benchmarks") if contender.checkout else HERE
        paths = os.pathsep.join([str(scripts.parent), str(scripts)])
        self.started = time.time()
        self._processes = [
            subprocess.Popen(
                [str(python), "-P", str(scripts / contender.script), json.dumps(contender.job | {"contender": contender.name})],
                env=os.environ | {"PYTHONPATH": paths} | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for environ in contender.environs
        ]

    def turn(self, told: dict[str, Any]) -> dict[str, Any]:
        for process in self._processes:
            assert process.stdin
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """What the first process says, with the processor time, memory and ids of all, and the time of the last."""
        lines = [process.stdout.readline() if process.stdout else "" for process in self._processes]
        if not all(lines):
            raise Skipped(f"its process ended with code {self._processes[lines.index('')].wait()}: see its messages above")
        first, *more = [json.loads(line) for line in lines]
        if "skipped" in first:
            raise Skipped(first["skipped"])
        for other in more:
            for key in first.keys() & {"cpu_seconds", "peak_mb", "ids", "checksum", "megabytes"}:
                first[key] += other[key]
            if "wall_seconds" in first:
                first["wall_seconds"] = max(first["wall_seconds"], other["wall_seconds"])
            if "others_cpu_seconds" in first:
                first["others_cpu_seconds"] -= other["cpu_seconds"]
        return first

    def stop(self) -> None:
        for process in self._processes:
            assert process.stdin and process.stdout
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment(requirements: Sequence[str], installing: Sequence[tuple[str, str]] = ()) -> Path:
    """The Python of an environment that holds the requirements: this one, or one made once and kept in `CACHE`.

    Raises:
        Skipped: they cannot be installed.
    """
    if not requirements:
        return Path(sys.executable)
    name = hashlib.sha256(repr((sys.version, requirements, installing)).encode()).hexdigest()[:12]
    folder = CACHE / "environments" / name
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"making an environment with {', '.join(requirements)} in {folder}: minutes, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        if installing:
            install.append("--no-cache-dir")  # pip would take a wheel that was built with other settings
        said = subprocess.run(install, env=os.environ | dict(installing), stderr=subprocess.PIPE, text=True)
        if said.returncode:
            print(said.stderr, file=sys.stderr)
            last = [line for line in said.stderr.splitlines() if "ERROR" in line or "error" in line] or ["see above"]
            raise Skipped(f"pip, installing {', '.join(requirements)}, ended with code {said.returncode}: {last[-1]}")
        complete.write_text("\n".join(requirements) + "\n")
    return python
