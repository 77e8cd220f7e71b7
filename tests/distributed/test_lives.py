"""Workers that die, are asked to end, or come in another number: the run is the one it would have been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from chaos import launch, names, process_of
from events import points

CHAOS = Path(__file__).parent / "chaos.py"


@pytest.fixture
def folder(store: Path, tmp_path: Path) -> Path:
    shutil.copytree(store, tmp_path / "store")
    return tmp_path


def result(folder: Path, workers: int = 2) -> dict:
    """What all workers said at their end."""
    said = [json.loads((folder / f"result-{worker}.json").read_text()) for worker in range(workers)]
    assert all(each == said[0] for each in said)
    return said[0] | {"points": points(folder / "run/logs")}


def wait_for_checkpoints(folder: Path, team: subprocess.Popen, count: int) -> None:
    while len(names(folder / "run/checkpoints")) < count:
        assert team.poll() is None, (folder / "log.txt").read_text()[-3000:]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(store, folder / "store")
    assert launch(2, folder, epochs=6).wait(300) == 0, (folder / "log.txt").read_text()[-3000:]
    return result(folder)


def test_a_killed_worker_changes_nothing(folder: Path, undisturbed: dict) -> None:
    """Worker 1 is killed, worker 0 says so, and both start again by themselves."""
    team = launch(2, folder, epochs=6, restarts=1)
    wait_for_checkpoints(folder, team, 2)
    os.kill(process_of(team, 1), signal.SIGKILL)
    assert team.wait(300) == 0
    assert result(folder) == undisturbed
    log = (folder / "log.txt").read_text()
    assert "WorkerLostError: another worker of this run ended" in log or "Asked to end: the run is saved" in log


@pytest.mark.slow
def test_one_worker_asked_to_end_takes_the_others_along(folder: Path, undisturbed: dict) -> None:
    team = launch(2, folder, epochs=6)
    wait_for_checkpoints(folder, team, 1)
    os.kill(process_of(team, 1), signal.SIGTERM)
    assert team.wait(60) == 143
    assert (folder / "log.txt").read_text().count("Asked to end: the run is saved") == 2
    assert launch(2, folder, epochs=6).wait(300) == 0
    assert result(folder) == undisturbed


@pytest.mark.slow
def test_parameter_servers_learn_though_a_worker_dies(folder: Path) -> None:
    """Not in step, so no digest; but the steps of the dead worker are done by the other, and the loss falls."""
    team = launch(2, folder, epochs=12, restarts=2, servers=1)
    wait_for_checkpoints(folder, team, 2)
    os.kill(process_of(team, 1), signal.SIGKILL)
    assert team.wait(300) == 0, (folder / "log.txt").read_text()[-3000:]
    curve = result(folder, 1)["curve"]
    assert [record[0] for record in curve] == list(range(4, 52, 4))
    assert curve[0][-1] > 4.5 and curve[-1][-1] < 2.5, "validation"


@pytest.mark.slow
def test_the_number_of_workers_may_change(folder: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = tmp_path_factory.mktemp("alone")
    shutil.copytree(store, alone / "store")
    assert launch(1, alone, epochs=12).wait(300) == 0
    for workers, epochs in ((1, 3), (2, 6), (3, 9), (1, 12)):
        assert launch(workers, folder, epochs=epochs).wait(300) == 0, (folder / "log.txt").read_text()[-3000:]
    np.testing.assert_allclose(result(folder, 1)["curve"], result(alone, 1)["curve"], rtol=1e-5)
    together, expected = batches(folder), batches(alone)
    assert {step: len(parts) for step, parts in together.items()} == {step: (1, 2, 3, 1)[step // 12] for step in range(48)}
    for step, (ids,) in expected.items():
        np.testing.assert_array_equal(np.concatenate(together[step]), ids)


def batches(folder: Path) -> dict[int, list[np.ndarray]]:
    """The token ids of every step, replica after replica."""
    found: dict[int, list[np.ndarray]] = {}
    for path in sorted((folder / "batches").iterdir()):
        found.setdefault(int(path.name.partition("-")[0]), []).append(tf.io.parse_tensor(path.read_bytes(), tf.int32).numpy())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(2, 30), (1, 50)])
def test_many_kills_change_nothing(
    workers: int, kills: int, folder: Path, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(store, alone / "store")
    found = []
    for place, count in ((alone, 0), (folder, kills)):
        command = [sys.executable, CHAOS, str(workers), str(count), str(4 * kills), place]
        finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=7200)
        found.append(json.loads(finished.stdout))
    left_alone, killed = found
    print(json.dumps(killed["ends"], indent=1))
    assert len(killed["ends"]) == kills
    assert {end["end"] for end in killed["ends"]} == {"killed", "killed while saving"}
    assert (killed["digest"], killed["curve"]) == (left_alone["digest"], left_alone["curve"])
    assert points(folder / "run/logs") == points(alone / "run/logs")
