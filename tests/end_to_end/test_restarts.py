"""Killed at random moments, while saving too: the same weights, bit for bit, and the same loss curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from events import points

import tfllm
from tfllm.tokenizers import ByteTokenizer

LIVES = Path(__file__).parent / "lives.py"


def run_lives(kind: str, folder: Path, kills: int) -> dict:
    texts = folder / "texts.txt"
    folder.mkdir()
    texts.write_text("\n\n".join(f"The {i}th sheep went over the {i * 7 % 13}th fence." for i in range(400)))
    tfllm.data.prepare(
        [texts], ByteTokenizer(), folder / "store", separator="\n\n", validation=0.05, progress=False, processes=1
    )
    finished = subprocess.run([sys.executable, LIVES, kind, folder, str(kills)], capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1]) | {"points": points(folder / "run/logs")}


@pytest.fixture(scope="module", params=["causal", pytest.param("masked", marks=pytest.mark.slow)])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    return request.param, run_lives(request.param, tmp_path_factory.mktemp("undisturbed") / "run", 0)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_change_nothing(tmp_path: Path, undisturbed: tuple[str, dict], kills: int) -> None:
    kind, left_alone = undisturbed
    killed = run_lives(kind, tmp_path / "run", kills)
    assert killed["ends"][-1] == "left alone, exit code 0"
    least = max(1, kills // 2 - 1)
    assert killed["ends"].count("killed") >= least, killed["ends"]
    assert killed["ends"].count("killed while saving") >= least, killed["ends"]
    assert killed["digest"] == left_alone["digest"]
    assert killed["curve"] == left_alone["curve"]
    assert killed["points"] == left_alone["points"], "what TensorBoard shows"
    assert not list((tmp_path / "run/run/checkpoints").glob(".*")), "half-written checkpoints were left"


def test_every_point_is_shown(undisturbed: tuple[str, dict]) -> None:
    _, left_alone = undisturbed
    epochs, steps = list(range(4, 164, 4)), {step for step in range(1, 161) if step % 10 == 0 or step % 4 == 0}
    assert list(left_alone["points"]["validation/loss"]) == list(left_alone["points"]["train/tokens_per_second"]) == epochs
    assert list(left_alone["points"]["train/loss"]) == sorted(steps)
    assert list(left_alone["points"]["train/sample_0"]) == [80, 160]


def test_the_curve_falls(undisturbed: tuple[str, dict]) -> None:
    kind, left_alone = undisturbed
    first, last = left_alone["curve"][0][1], left_alone["curve"][-1][1]
    assert last < first * (0.4 if kind == "causal" else 0.8)
