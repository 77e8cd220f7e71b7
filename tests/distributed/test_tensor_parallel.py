"""Models split over meshes of virtual devices train, save and generate as they do on one device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfllm.train.distribution.sharding import split_axis

MESHES = Path(__file__).parent / "meshes.py"
QUICK = {"task": "causal", "dropout": 0.1, "generate": True}
FULL = [
    QUICK | {"stream": True},
    {"task": "masked", "dropout": 0.1},
    {"task": "classification", "dropout": 0.1},
    {"task": "causal", "dropout": 0.1, "sizes": {"num_kv_heads": 1}, "generate": True},
    {"task": "causal", "gradient_accumulation": 2},
    {"task": "causal", "dtype": "mixed_bfloat16"},
    {"task": "causal", "settings": {"ema": 0.5, "clip_norm": 0.1, "layer_decay": 0.8}},
    {"task": "causal", "optimizer": "muon"},
    {"task": "masked", "optimizer": "lion", "gradient_accumulation": 3, "dropout": 0.1},
    {"task": "classification", "own_pipeline": True},
    {"task": "causal", "steps": 200},
]


Outcome = tuple[dict, dict[str, np.ndarray]]
"""What was said of a case, and all variables at its end."""


def run(store: Path, folder: Path, cases: list[dict]) -> list[Outcome]:
    command = [sys.executable, MESHES, store, folder, *map(json.dumps, cases)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    return [
        (json.loads((folder / f"{number}.json").read_text()), dict(np.load(folder / f"{number}.npz")))
        for number in range(len(cases))
    ]


def on(layout: str, cases: list[dict]) -> list[dict]:
    return [case | {"layout": layout} for case in cases]


def test_the_same_run(store: Path, tmp_path: Path) -> None:
    cases = [QUICK | {"layout": "one"}, QUICK | {"layout": "2x2"}, {"do": "break", "layout": "1x2"}]
    alone, together, (broken, _) = run(store, tmp_path, cases)
    assert "step 0: the loss or the gradient is not finite" in broken["said"]
    assert "step 0: y is token_ids itself" in broken["copied"]
    compare(QUICK, alone, together)
    print(f"{alone[0]['bytes']} bytes of weights and slots on one device, {together[0]['bytes']} each here")
    assert together[0]["bytes"] < 0.65 * alone[0]["bytes"]  # positions and norms stand whole on each


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["1x2", "2x1", "2x2", "1x4"])
def test_the_matrix(layout: str, store: Path, tmp_path: Path) -> None:
    outcomes = run(store, tmp_path, on("one", FULL) + on(layout, FULL))
    for case, alone, together in zip(FULL, outcomes[: len(FULL)], outcomes[len(FULL) :], strict=True):
        compare(case, alone, together)


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh(store: Path, tmp_path: Path) -> None:
    layouts = ("1x2", "2x2", "1x1", "one", "1x4")
    pretrain = {"do": "pretrain", "folder": str(tmp_path / "moved")}
    moved = [pretrain | {"layout": layout, "epochs": i + 1} for i, layout in enumerate(layouts)]
    undisturbed = pretrain | {"layout": "one", "folder": str(tmp_path / "one"), "epochs": len(layouts)}
    *_, (said, variables), (expected, whole) = run(store, tmp_path, [*moved, undisturbed])
    np.testing.assert_allclose(said["curve"], expected["curve"], rtol=1e-5)
    assert len(said["curve"]) == len(layouts)
    close(variables, whole)


@pytest.mark.slow
def test_fine_tuning_scores_on_a_mesh(store: Path, tmp_path: Path) -> None:
    tunes = [{"do": "finetune", "layout": layout, "folder": str(tmp_path / layout)} for layout in ("one", "2x2")]
    (expected, whole), (said, variables) = run(store, tmp_path, tunes)
    np.testing.assert_allclose(said["curve"], expected["curve"], rtol=1e-5)
    close(variables, whole)
    assert not expected["predicts"] and "this one stands on a mesh" in said["predicts"]


def compare(case: dict, alone: tuple[dict, dict], together: tuple[dict, dict]) -> None:
    """Every loss, score, id, weight and slot."""
    (said, variables), (expected, whole) = together, alone
    rounded = case.get("dtype") == "mixed_bfloat16"
    within = 2e-2 if rounded else 1e-4 if case.get("steps", 20) > 20 else 1e-5
    np.testing.assert_allclose(said["losses"], expected["losses"], rtol=within, err_msg=str(case))
    assert said["predicted"] == pytest.approx(expected["predicted"], rel=10 * within), case
    for name, score in expected["scores"].items():
        assert said["scores"][name] == pytest.approx(score, rel=max(within, 1e-5), abs=1e-6), (case, name)
    for name in ("texts", "stopped", "streamed"):
        assert said.get(name) == expected.get(name), case
    if not rounded:
        close(variables, whole)


def close(variables: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert variables.keys() == expected.keys()
    for name, value in expected.items():
        found = variables[name]
        if "attention/qkv/bias" in name or "attention_qkv_bias" in name:
            # A key's bias has no slope but rounding, which Adam and Lion make steps of: queries and values only.
            found, value = (np.delete(each.reshape(3, -1), 1, axis=0) for each in (found, value))
        far = np.linalg.norm(found - value) / (np.linalg.norm(value) + 1e-12)
        assert far < 1e-3, (name, far)


@pytest.mark.parametrize(
    ("path", "shape", "devices", "axis"),
    [
        ("causal_lm/decoder/block_0/attention/qkv/kernel", (32, 96), 2, 1),
        ("causal_lm/decoder/block_0/attention/output/kernel", (32, 32), 2, 0),
        ("causal_lm/decoder/block_0/feedforward/up/bias", (64,), 4, 0),
        ("causal_lm/decoder/token_embedding/embeddings", (50257, 768), 2, 1),
        ("causal_lm/decoder/block_0/attention_norm/scale", (32,), 2, None),
        ("text_classifier/head/kernel", (32, 3), 2, None),
        ("causal_lm/decoder/block_0/feedforward/up/kernel", (32, 64), 1, None),
    ],
)
def test_the_table(path: str, shape: tuple[int, ...], devices: int, axis: int | None) -> None:
    assert split_axis(path, shape, devices) == axis


def test_sizes_that_a_mesh_does_not_divide_are_named() -> None:
    with pytest.raises(ValueError, match=r"up/kernel is \[32, 64\]: ffn_size cannot be split over the 3 devices"):
        split_axis("causal_lm/decoder/block_0/feedforward/up/kernel", (32, 64), 3)
