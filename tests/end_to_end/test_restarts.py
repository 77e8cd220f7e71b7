"""Killed ten times at random moments, while saving too: the same weights, bit for bit, and the same loss curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm
from tfllm.tokenizers import ByteTokenizer

LIVES = Path(__file__).parent / "lives.py"


def run_lives(folder: Path, kills: int) -> dict:
    texts = folder / "texts.txt"
    folder.mkdir()
    texts.write_text("\n\n".join(f"The {i}th sheep went over the {i * 7 % 13}th fence." for i in range(400)))
    tfllm.data.prepare([texts], ByteTokenizer(), folder / "store", separator="\n\n", progress=False, processes=1)
    finished = subprocess.run([sys.executable, LIVES, folder, str(kills)], capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return run_lives(tmp_path_factory.mktemp("undisturbed") / "run", 0)


def test_ten_kills_change_nothing(tmp_path: Path, undisturbed: dict) -> None:
    killed = run_lives(tmp_path / "run", 10)
    assert killed["ends"][-1] == "left alone, exit code 0"
    assert killed["ends"].count("killed") >= 4, killed["ends"]
    assert killed["ends"].count("killed while saving") >= 4, killed["ends"]
    assert killed["digest"] == undisturbed["digest"]
    assert killed["curve"] == undisturbed["curve"]
    assert not list((tmp_path / "run/run/checkpoints").glob(".*")), "half-written checkpoints were left"


def test_the_curve_falls(undisturbed: dict) -> None:
    first, last = undisturbed["curve"][0][1], undisturbed["curve"][-1][1]
    assert last < first / 3
