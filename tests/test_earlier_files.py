"""What an earlier version wrote is read today, and answers as it did; its public names and options are still there.

`earlier.py` wrote the folders in `fixtures/`; each has the name of the commit whose code wrote it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import earlier
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of exports

import tfllm
from tfllm import tokenizers
from tfllm.commands import renamed
from tfllm.prediction.answers import inputs_of

EARLIER = Path(__file__).parent / "fixtures" / "99bc188"
RECORDED = json.loads((EARLIER / "recorded.json").read_text())
TEXTS = RECORDED["texts"]
MEASURED = ("tokens_per_second", "rows_per_second", "flops_utilisation", "checkpoint_pause")
"""Of an epoch's record, what depends on the time."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that was packed."""
    folder = tmp_path_factory.mktemp("earlier")
    for archive in EARLIER.glob("*.tar.xz"):
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    return folder


def assert_same(found: Any, recorded: Any, *, rel: float = 1e-4) -> None:
    """Strings and whole numbers the same; other numbers to a few last digits, for processors differ."""
    if isinstance(recorded, dict):
        assert set(found) == set(recorded)
        for name, value in recorded.items():
            assert_same(found[name], value, rel=rel)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            assert_same(one, other, rel=rel)
    else:
        assert found == (pytest.approx(recorded, rel=rel, abs=rel / 10) if isinstance(recorded, float) else recorded)


@pytest.mark.parametrize("kind", RECORDED["tokenizers"])
def test_a_tokenizer_gives_the_same_ids(written: Path, kind: str) -> None:
    tokenizer, recorded = tokenizers.load(written / "tokenizers" / kind), RECORDED["tokenizers"][kind]
    ids = [[int(id) for id in tokenizer.encode(text)] for text in TEXTS]
    assert ids == recorded["ids"]
    assert [tokenizer.decode(row) for row in ids] == recorded["texts"]
    assert tokenizer.fingerprint() == recorded["fingerprint"]


@pytest.mark.parametrize("name", RECORDED["store"]["batches"])
def test_a_store_gives_the_same_batches(written: Path, name: str) -> None:
    store = tfllm.data.Store.open(written / "store")
    assert store.fingerprint == RECORDED["store"]["fingerprint"]
    tokenizer = tokenizers.load(written / "tokenizers/wordpiece")
    assert earlier.digests(store, tokenizer, *earlier.BATCHES[name]) == RECORDED["store"]["batches"][name]


@pytest.mark.parametrize("name", RECORDED["models"])
def test_a_model_folder_gives_the_same_answers(written: Path, name: str) -> None:
    model, tokenizer = tfllm.load(written / "models" / name.replace(" ", "_"))
    recorded = RECORDED["models"][name]
    assert type(model).__name__ == recorded["class"]
    with np.load(EARLIER / "logits.npz") as logits:
        np.testing.assert_allclose(earlier.outputs(model), logits[name], rtol=1e-4, atol=1e-5)
    assert_same(earlier.says(model, tokenizer, name), recorded["says"])


@pytest.mark.parametrize("name", [name for name, each in RECORDED["models"].items() if each["task.json"]])
def test_a_model_folder_says_the_same_of_its_task(written: Path, tmp_path: Path, name: str) -> None:
    tfllm.save(*tfllm.load(written / "models" / name.replace(" ", "_")), tmp_path / "again")
    assert json.loads((tmp_path / "again/task.json").read_text()) == RECORDED["models"][name]["task.json"]


@pytest.mark.parametrize("name", RECORDED["runs"])
def test_a_run_goes_on_inside_its_epoch_to_the_same_losses(written: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(written / "runs" / name, tmp_path / name)
    run = earlier.go_on(name, tmp_path / name, written)
    assert (run.step, run.steps_since_record) == (RECORDED["runs"][name][-1]["step"], 0)
    for record, recorded in zip(run.history, RECORDED["runs"][name], strict=True):
        assert_same(*({key: each[key] for key in recorded if key not in MEASURED} for each in (record, recorded)), rel=1e-5)


@pytest.mark.parametrize("name", RECORDED["exports"])
def test_an_export_is_accepted_and_answers_the_same(written: Path, name: str) -> None:
    folder, recorded = written / "exports" / name / "1", RECORDED["models"][name]["says"]
    report = tfllm.check(folder)
    assert report.ok, report
    assert list(report.signatures) == RECORDED["exports"][name]["signatures"]
    signatures = tf.saved_model.load(str(folder)).signatures
    if name == "llama":
        given = {"max_new_tokens": 12, "repetition_penalty": 1.2, "seed": 5, "top_p": 1.0}
        specs = signatures["generate"].structured_input_signature[1]
        settings = {
            field: tf.fill([len(TEXTS)], tf.constant(given.get(field, 0), spec.dtype))
            for field, spec in specs.items()
            if field != "prompt"
        }
        said = signatures["generate"](prompt=tf.constant(TEXTS), **settings)
        counts = said["num_tokens"].numpy()
        assert [row[:count].tolist() for row, count in zip(said["token_ids"].numpy(), counts, strict=True)] == recorded[
            "greedy"
        ]
        assert_same(signatures["score"](text=tf.constant(TEXTS))["log_prob"].numpy().tolist(), recorded["log_probs"])
        return
    model, _ = tfllm.load(written / "models" / name)
    asked = RECORDED["asked"].get(name, [TEXTS])
    said = signatures["serving_default"](**dict(zip(inputs_of(model), map(tf.constant, asked), strict=True)))
    for row, expected in enumerate(recorded):
        for field, value in expected.items():
            found = plain(said[field][row])
            assert_same(found[: len(value)] if isinstance(value, list) else found, value)


def plain(value: tf.Tensor) -> Any:
    found = value.numpy()
    if value.dtype != tf.string:
        return found.tolist()
    return found.decode() if isinstance(found, bytes) else [each.decode() for each in found]


@pytest.mark.parametrize("package", RECORDED["names"])
def test_public_names_are_still_there_and_take_what_they_took(package: str) -> None:
    module = importlib.import_module(package)
    for name, taken in RECORDED["names"][package].items():
        today = getattr(module, name)
        if not taken:
            continue
        gone = set(taken) - set(earlier.parameters(today) or ())
        kinds = {each.kind for each in inspect.signature(today, follow_wrapped=False).parameters.values()} if gone else set()
        assert not gone or inspect.Parameter.VAR_KEYWORD in kinds, f"{package}.{name} does not take {sorted(gone)}"


@pytest.mark.parametrize("command", RECORDED["options"])
def test_options_of_the_command_line_are_still_there(command: str) -> None:
    today = earlier.options_of(command)
    assert {renamed.OPTIONS.get(option, option) for option in RECORDED["options"][command]} <= set(today)
