"""Several replicas and several workers, as real processes, take the steps that one device takes."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CASES = Path(__file__).parent / "cases.py"
TASKS = ("causal", "masked", "classification")
QUICK = [{"task": "causal", "gradient_accumulation": 2, "steps_per_execution": 2, "dropout": 0.1}]
"""`test_the_matrix` has the rest."""
OPTIONS = (
    {},
    {"dropout": 0.1},
    {"gradient_accumulation": 2},
    {"steps_per_execution": 4},
    {"jit_compile": True},
    {"dtype": "mixed_bfloat16"},
    {"dtype": "mixed_bfloat16", "gradient_accumulation": 2, "steps_per_execution": 2, "dropout": 0.1},
)
FULL = [{"task": task} | options for task, options in itertools.product(TASKS, OPTIONS)]
FULL += [{"task": task, "own_pipeline": True, "dropout": 0.1} for task in ("classification", "causal")]
FULL += [{"task": "classification", "own_pipeline": True, "tuples": True, "dropout": 0.1}]
FULL += [{"task": "embedding", "dropout": 0.1}]
FULL += [{"task": task, "dropout": 0.1, "compiled": True} for task in TASKS]
LONG = [{"task": task, "steps": 200} for task in TASKS]


def run(layout: str, store: Path, folder: Path, cases: list[dict]) -> list[list[dict]]:
    """What each worker says of each case, under "one", "mirrored 2" or "workers 2x1" (processes x devices)."""
    kind, _, sizes = layout.partition(" ")
    workers, _, devices = sizes.partition("x") if kind == "workers" else ("1", "", sizes or "1")
    told = [CASES, "multi_worker" if kind == "workers" else kind, devices, store, folder, *map(json.dumps, cases)]
    launch = ["-m", "tfllm", "launch", "--workers", workers, "--"] if kind == "workers" else []
    finished = subprocess.run([sys.executable, *launch, *told], capture_output=True, text=True, timeout=4000)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    return [
        [json.loads((folder / f"{number}-{worker}.json").read_text()) for worker in range(int(workers))]
        for number in range(len(cases))
    ]


def test_the_same_run(store: Path, tmp_path: Path) -> None:
    """Two replicas in each of two processes."""
    found = []
    for layout in ("one", "workers 2x2"):
        (tmp_path / layout).mkdir()
        found.append(run(layout, store, tmp_path / layout, QUICK))
    for case, (alone,), together in zip(QUICK, *found, strict=True):
        compare(case, alone, together)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mirrored 2", "mirrored 4", "workers 2x1", "workers 2x2", "workers 3x1", "workers 3x2"])
def test_the_matrix(layout: str, store: Path, tmp_path: Path, matrix_on_one_device: list[list[dict]]) -> None:
    for case, (alone,), together in zip(
        FULL + LONG, matrix_on_one_device, run(layout, store, tmp_path, FULL + LONG), strict=True
    ):
        compare(case, alone, together)


@pytest.fixture(scope="module")
def matrix_on_one_device(store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict]]:
    return run("one", store, tmp_path_factory.mktemp("matrix"), FULL + LONG)


def compare(case: dict, alone: dict, together: list[dict]) -> None:
    """Every step's loss, the scores and the size of all weights; workers agree to the last bit."""
    assert len({worker["digest"] for worker in together}) == 1, case
    assert all(worker["losses"] == together[0]["losses"] for worker in together), case
    rounded, long = case.get("dtype") == "mixed_bfloat16", case.get("steps", 20) > 20
    # An embedder divides its cosines by 0.05, and with them their rounding.
    exact = 1e-2 if rounded else 2e-5 if case["task"] == "embedding" else 1e-6
    within = max(exact, 1e-4) if long else exact
    count = len(alone["losses"])
    assert count == 2 * math.ceil(case.get("steps", 20) / 2 / case.get("steps_per_execution", 1))  # two epochs
    first = np.array(together[0]["losses"])[:20], np.array(alone["losses"])[:20]
    np.testing.assert_allclose(*first, rtol=exact, err_msg=str(case))
    np.testing.assert_allclose(together[0]["losses"], alone["losses"], rtol=within, err_msg=str(case))
    near = dict(rel=max(within, 1e-4), abs=5e-3 if rounded else 1e-6)
    assert together[0]["norms"] == pytest.approx(alone["norms"], **near), case
    assert together[0]["predicted"] == pytest.approx(alone["predicted"], **near), case
    for name, score in alone["scores"].items():
        # In bfloat16 an answer or two of a few dozen may tip over.
        tips = 0.1 if rounded and "accuracy" in name else near["abs"]
        assert together[0]["scores"][name] == pytest.approx(score, rel=near["rel"], abs=tips), (case, name)
