"""A task has one definition: one file more, and fine-tuning, folders, exports, `check` and the command line know the task."""

from __future__ import annotations

import ast
import csv
import dataclasses
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import emotion_task
import numpy as np
import pytest
import tensorflow as tf
from emotion_model import EmotionRegressor, read_emotions

import tfllm
from tfllm import finetuning, tasks
from tfllm.commands.renamed import with_new_names
from tfllm.exporting.contract import contract_names
from tfllm.tokenizers import ByteTokenizer

ROOT = Path(tfllm.__file__).parent
SIZES = dict(vocab_size=259, num_layers=1, hidden_size=16, num_heads=2, max_length=32)
TEXTS = ["a good film", "a bad film", "good, good!", "bad, bad!"]
ROWS = [dict(text=text, valence=1.0 if "good" in text else -1.0, strength=float("!" in text)) for text in TEXTS * 4]
REFERENCES = [
    pytest.param(spec, part, field.name, id=f"{spec.name} {field.name}")
    for spec in tasks.BUILT_IN
    for part in (spec, spec.finetuning, spec.prediction, spec.export)
    if part is not None
    for field in dataclasses.fields(part)
    if "Reference" in field.type and isinstance(getattr(part, field.name), str)
]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[tasks.TaskSpec]:
    """The toy task, for one test."""
    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
    yield tasks.register(emotion_task.SPEC)


def test_a_new_task_is_learnt_kept_exported_and_checked(registered: tasks.TaskSpec, tmp_path: Path) -> None:
    table = tmp_path / "emotions.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    rows = finetuning.read("emotion_regressor", table, ByteTokenizer(), arousal_column="strength", max_length=16)
    pretrained = tfllm.MaskedLM(tfllm.preset("bert-tiny", pooler=False, **SIZES))
    model = finetuning.build_model("emotion_regressor", pretrained, rows, seed=1)
    settings = tfllm.Finetuning(epochs=30, batch_size=16, learning_rate=2e-2)
    run = tfllm.finetune(model, rows, rows, folder=tmp_path / "run", settings=settings, verbose=0)
    assert run.best == "val_loss" and run.history[-1]["val_largest_error"] < 0.5 < run.history[0]["val_largest_error"]

    best, tokenizer = tfllm.load(tmp_path / "run" / "best")
    assert isinstance(best, EmotionRegressor) and best.max_length == 16
    answers = tfllm.predict(best, tokenizer, TEXTS)
    assert [answer["valence"] > 0 for answer in answers] == [True, False, True, False]
    assert [answer["arousal"] > 0.5 for answer in answers] == [False, False, True, True]

    folder = tfllm.export(best, tokenizer, tmp_path / "export")
    report = tfllm.check(folder)
    assert report.ok, str(report)
    assert report.signatures == ("serving_default",)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"](text=tf.constant(TEXTS))
    for name, values in served.items():
        np.testing.assert_allclose(values, [answer[name] for answer in answers], rtol=1e-4, atol=1e-5)


def test_another_way_to_fine_tune_a_model_is_a_task_too(registered: tasks.TaskSpec) -> None:
    """Other rows and metrics for the same class, whose folders and exports stay the first task's."""
    assert registered.finetuning is not None
    metrics = tasks.Metrics(("largest_error",), best="val_largest_error")
    learnt = dataclasses.replace(registered.finetuning, reader=_read_strict_emotions, metrics=metrics)
    tasks.register(dataclasses.replace(registered, name="strict_emotions", finetuning=learnt, prediction=None))
    table = [row | {"arousal": 0.0} for row in ROWS]
    rows = finetuning.read("strict_emotions", table, ByteTokenizer(), max_length=16)
    model = finetuning.build_model("strict_emotions", tfllm.preset("bert-tiny", pooler=False, **SIZES), rows)
    assert (model.task, rows.task) == ("emotion_regressor", "strict_emotions")
    finetuning.check_data(model, rows)
    assert finetuning.components.spec_of(model, rows).metrics_of(model) is metrics
    assert "strict_emotions" not in contract_names() and "emotion_regressor" in contract_names()
    wrong = tfllm.data.text_pairs([{"text": "a", "text_pair": "b"}], ByteTokenizer(), max_length=16)
    with pytest.raises(ValueError, match="rows of a emotion_regressor or a strict_emotions, got rows of a text_embedder"):
        finetuning.check_data(model, wrong)


def _read_strict_emotions(*given: Any, **options: Any) -> tfllm.data.Labelled:
    return dataclasses.replace(read_emotions(*given, **options), task="strict_emotions")


def test_a_folder_of_a_task_that_is_not_registered_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = EmotionRegressor(tfllm.preset("bert-tiny", pooler=False, **SIZES))
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    with pytest.raises(ValueError, match=r"task='emotion_regressor' is invalid: .*first: tfllm\.tasks\.register\(spec\)$"):
        tfllm.load(tmp_path / "model")
    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
    tfllm.tasks.register(emotion_task.SPEC)  # as advised
    assert type(tfllm.load(tmp_path / "model")[0]) is EmotionRegressor


def test_the_command_line_finds_the_task_of_an_installed_package(tmp_path: Path) -> None:
    """And imports no TensorFlow for its help."""
    installed = tmp_path / "emotions-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: emotions\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[tfllm.tasks]\nemotion_regressor = emotion_task:SPEC\n")
    paths = [str(tmp_path), str(Path(__file__).parent), str(ROOT.parent)]
    asks = (
        "import sys; from tfllm.__main__ import main; sys.argv = ['tfllm', 'finetune', '--help']\n"
        "try: main()\nfinally: assert 'tensorflow' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, env=environment)
    assert said.returncode == 0, said.stderr
    words = " ".join(said.stdout.replace("│", " ").split())
    assert ",emotion_regressor}" in words.replace(", ", ",")
    assert "--arousal-column STR Column of how strong the emotion is. For emotion_regressor. (default: arousal)" in words


def test_a_package_whose_task_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="emotions", value="nowhere:SPEC", group="tfllm.tasks")
    monkeypatch.setattr(tasks, "entry_points", lambda group: [point])
    with pytest.raises(
        ImportError, match=r"the task 'emotions' \(nowhere:SPEC\).*No module named 'nowhere'\. Mend or uninstall"
    ):
        tasks._load_entry_points.__wrapped__()


def test_what_is_no_new_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
    with pytest.raises(TypeError, match=r"spec='emotions' is invalid: expected a tfllm\.tasks\.TaskSpec, got str"):
        tasks.register("emotions")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name='masked_lm' is invalid: expected one that no built-in task has"):
        tasks.register(dataclasses.replace(emotion_task.SPEC, name="masked_lm"))
    assert emotion_task.SPEC.finetuning is not None
    option = tasks.Option("label", int, 0, "Something else.")
    changed = dataclasses.replace(emotion_task.SPEC.finetuning, reader_options=(option,))
    with pytest.raises(ValueError, match=r"option=Option\(name='label', type=<class 'int'>.* as another task has it"):
        tasks.register(dataclasses.replace(emotion_task.SPEC, finetuning=changed))
    with pytest.raises(ValueError, match=r"EmotionRegressor\.task='emotion_regressor' is invalid: expected 'feelings'"):
        dataclasses.replace(emotion_task.SPEC, name="feelings").model_class  # noqa: B018
    renamed = dataclasses.replace(emotion_task.SPEC, generates=True)
    tasks.register(emotion_task.SPEC)
    tasks.register(renamed)  # a notebook's cell, run again
    assert tasks.get("emotion_regressor") is renamed


@pytest.mark.parametrize(("spec", "part", "name"), REFERENCES)
def test_what_a_task_names_is_there(spec: tasks.TaskSpec, part: Any, name: str) -> None:
    assert callable(tasks.resolve(getattr(part, name)))


@pytest.mark.parametrize("spec", tasks.BUILT_IN, ids=lambda spec: spec.name)
def test_functions_take_what_the_task_says(spec: tasks.TaskSpec) -> None:
    def takes(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    model_class = spec.model_class
    if (learnt := spec.finetuning) is not None:
        options = {option.name: "x" for option in learnt.reader_options} | {"max_length": 8}
        assert learnt.reader_arguments(options).keys() <= takes(tasks.resolve(learnt.reader))
        assert {*learnt.settings_from_rows, *(each.name for each in learnt.model_options)} <= takes(model_class)
        assert {*learnt.compile_settings} <= takes(model_class.compile) & {*vars(tfllm.Finetuning)}
    if spec.prediction is not None:
        assert {*spec.input_names(spec.prediction.takes_pairs)} <= takes(tasks.resolve(spec.prediction.predictor))
        assert spec.prediction.takes_pairs == ("pairs" in takes(model_class))


def test_old_names_of_tasks_warn() -> None:
    table = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    with pytest.warns(DeprecationWarning, match="task='classification' is deprecated .* Use task='text_classifier'") as said:
        rows = finetuning.read("classification", table, ByteTokenizer(), max_length=16)
    assert said[0].filename == __file__
    assert rows.fingerprint == finetuning.read("text_classifier", table, ByteTokenizer(), max_length=16).fingerprint
    with pytest.warns(DeprecationWarning, match=r"--task tagging is deprecated .* Use --task token_classifier\."):
        assert with_new_names(["finetune", "--task", "tagging"]) == ["finetune", "--task", "token_classifier"]
    config = tfllm.preset("bert-tiny", **SIZES)
    with pytest.warns(DeprecationWarning, match=r"finetuning\.learner is deprecated .* Use tfllm\.finetuning\.build_model"):
        assert finetuning.learner("text_classifier", config, rows).labels == ("x", "y")
    with pytest.warns(DeprecationWarning, match=r"Use tfllm\.prediction\.inputs_of"):
        assert tfllm.prediction.INPUTS["question_answerer"] == ("question", "context")


def test_an_option_of_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match="multi_label=True is invalid: expected no multi_label with task='text_regressor'"):
        finetuning.read("text_regressor", [], ByteTokenizer(), multi_label=True)
    rows = tfllm.data.tagging([{"tokens": ["a"], "tags": ["X"]}, {"tokens": ["b"], "tags": ["Y"]}], ByteTokenizer())
    with pytest.raises(ValueError, match="pooling='mean' is invalid: expected no pooling with task='token_classifier', which"):
        finetuning.build_model("token_classifier", tfllm.preset("bert-tiny", **SIZES), rows, pooling="mean")
    with pytest.raises(ValueError, match="task='causal_lm' is invalid: expected a task that is fine-tuned: text_classifier,"):
        finetuning.read("causal_lm", [], ByteTokenizer())


CONSUMERS = [
    *(ROOT / "models" / name for name in ("folder.py", "base.py")),
    *(path for name in ("prediction", "finetuning", "exporting", "commands") for path in (ROOT / name).glob("*.py")),
    *(path for path in (ROOT / "interop").glob("*.py") if path.name != "keras_hub.py"),  # a table of KerasHub's classes
]


@pytest.mark.parametrize("path", CONSUMERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_task_is_spelled_out_where_tasks_are_used(path: Path) -> None:
    names = {spec.name for spec in tasks.BUILT_IN}
    classes = {spec.model_class.__name__ for spec in tasks.BUILT_IN}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names), node.value
        found = {ast.alias: "name", ast.Name: "id", ast.Attribute: "attr"}.get(type(node))
        assert found is None or getattr(node, found) not in classes, f"line {node.lineno}"
