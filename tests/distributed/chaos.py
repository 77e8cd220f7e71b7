"""A run of several workers (or of one) that is killed again and again, at random, and started again: nothing may change.

Command: python chaos.py WORKERS KILLS EPOCHS FOLDER [SEED]

FOLDER/store holds the tokens. Each life is one launch of lives.py; a random worker of it gets SIGKILL or SIGTERM at a random
moment, in every other life while a checkpoint is being written. The last life is left alone. Prints JSON: how each life ended,
how long its workers took to end; the digest and the curve of the run. A life lasts up to four epochs: give enough for all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

LIVES = Path(__file__).parent / "lives.py"
PATIENCE = 60
"""Seconds in which all workers have to end once one was killed."""


def main(workers: int, kills: int, epochs: int, folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    ends = [live(workers, epochs, folder, chance, number) for number in range(kills)]
    finished = launch(workers, folder, epochs=epochs)
    code = finished.wait(600)
    results = [json.loads((folder / f"result-{worker}.json").read_text()) for worker in range(workers)]
    assert all(result == results[0] for result in results), "the workers differ"
    print(json.dumps({"ends": ends, "code": code} | results[0]))


def live(workers: int, epochs: int, folder: Path, chance: random.Random, number: int) -> dict[str, object]:
    """One life, to its violent end."""
    saved, before = folder / "run/checkpoints", names(folder / "run/checkpoints")
    team = launch(workers, folder, epochs=epochs)
    # So that lives get on: a checkpoint of its own, and sometimes another.
    goal = chance.randint(1, 2)
    while len(names(saved) - before) < goal and team.poll() is None:
        time.sleep(0.002)
    while_saving = number % 2 == 1
    if while_saving:
        while not list(saved.glob(".step-*.partial/model.safetensors")) and team.poll() is None:
            time.sleep(0.0005)
    else:
        time.sleep(chance.uniform(0, 0.3))
    victim, blow = chance.randrange(workers), chance.choice([signal.SIGKILL, signal.SIGTERM])
    if team.poll() is not None:
        return {"end": "finished before the kill"}
    os.kill(process_of(team, victim), blow)
    started = time.monotonic()
    try:
        code = team.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        team.terminate()
        team.wait()
        return {"end": "hung", "worker": victim, "signal": blow.name}
    return {
        "end": "killed while saving" if while_saving else "killed",
        "worker": victim,
        "signal": blow.name,
        "code": code,
        "seconds": round(time.monotonic() - started, 1),
    }


def launch(workers: int, folder: Path, *, epochs: int, restarts: int = 0, servers: int = 0) -> subprocess.Popen[bytes]:
    """The team; its log is FOLDER/log.txt."""
    team = ["--workers", str(workers), "--parameter-servers", str(servers), "--restarts", str(restarts), "--grace", "60"]
    log = (folder / "log.txt").open("ab")
    command = [sys.executable, "-m", "tfllm", "launch", *team, "--", LIVES, folder, str(epochs)]
    return subprocess.Popen(command, stdout=log, stderr=log)


def process_of(team: subprocess.Popen[bytes], worker: int) -> int:
    """The process of a worker: the launcher's child whose TF_CONFIG has its number."""
    for child in Path(f"/proc/{team.pid}/task/{team.pid}/children").read_text().split():
        for pair in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            if pair.startswith(b"TF_CONFIG=") and json.loads(pair[10:])["task"] == {"type": "worker", "index": worker}:
                return int(child)
    raise ProcessLookupError(f"no worker {worker}")


def names(saved: Path) -> set[str]:
    return {path.name for path in saved.glob("step-*")}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]), int(sys.argv[5]) if len(sys.argv) > 5 else 0)
