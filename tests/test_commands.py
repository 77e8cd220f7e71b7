"""Addresses on the command line: they reach what reads them with both slashes, or are refused. And the settings of generate."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

import tfllm
from tfllm.__main__ import main
from tfllm.commands import generating, training
from tfllm.commands.arguments import below
from tfllm.tokenizers import ByteTokenizer


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tfllm", *words])
    monkeypatch.setenv("TFLLM_TRACEBACK", "1")
    main()


def test_below_as_in_the_docstring() -> None:
    assert below("runs/first", "logs") == "runs/first/logs"
    assert below("gs://bucket/first/", "logs") == "gs://bucket/first/logs"


def test_a_run_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo")
    ByteTokenizer().save(tmp_path / "words")
    settings = dict(separator="\n", validation=0, processes=1, progress=False)
    tfllm.data.prepare(tmp_path / "a.txt", ByteTokenizer(), tmp_path / "store", **settings)
    given = {}
    monkeypatch.setattr(tfllm, "pretrain", lambda *args, **options: given.update(options))
    words = ["pretrain", str(tmp_path / "store"), "--tokenizer", str(tmp_path / "words"), "--run", "gs://bucket/first/"]
    command(monkeypatch, *words)
    assert given["folder"] == "gs://bucket/first/"
    assert "tensorboard --logdir gs://bucket/first/logs" in capsys.readouterr().out


def test_columns_and_labels_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that begin with a minus, too; what another task would not use is refused."""
    anything = SimpleNamespace(config=SimpleNamespace(max_length=8), best_record={}, scores={})
    read = []

    def reads(task: str, data: Path, words: None, **options: object) -> SimpleNamespace:
        read.append(options)
        return SimpleNamespace(labels=options["labels"] or ("B-X", "I-X", "O"))

    monkeypatch.setattr(training, "load_model", lambda folder: (anything, None))
    monkeypatch.setattr(tfllm.finetuning, "read", reads)
    monkeypatch.setattr(tfllm.finetuning, "build_model", lambda *args, **options: anything)
    monkeypatch.setattr(tfllm, "finetune", lambda *args, **options: anything)
    files = ["--data", "a.txt", "--validation", "b.txt", "--run", str(tmp_path)]
    command(monkeypatch, "finetune", "m", "--task", "token_classifier", *files, "--word-column", "1", "--label", "-1")
    assert [each["word_column"] for each in read] == ["1", "1"] and [each["label"] for each in read] == ["-1", "-1"]
    assert [each["labels"] for each in read] == [None, ("B-X", "I-X", "O")]
    read.clear()
    command(monkeypatch, "finetune", "m", "--task", "text_classifier", *files, "--labels", "-1", "0", "1", "2")
    assert [each["labels"] for each in read] == [("-1", "0", "1", "2")] * 2
    for task, option in (("text_classifier", "--word-column"), ("text_regressor", "--labels")):
        with pytest.raises(ValueError, match=f"{option} is invalid: expected no {option} with --task {task}"):
            command(monkeypatch, "finetune", "m", "--task", task, *files, option, "1")


def test_a_fine_tuning_at_an_address(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = {}
    asked = []
    anything = SimpleNamespace(config=SimpleNamespace(max_length=8), labels=[], best_record={}, scores={})
    monkeypatch.setattr(training, "load_model", lambda folder: asked.append(folder) or (anything, None))
    monkeypatch.setattr(tfllm, "load", lambda folder: asked.append(folder) or (anything, None))
    monkeypatch.setattr(tfllm, "finetune", lambda *args, **options: given.update(options) or anything)
    for name in ("read", "build_model"):
        monkeypatch.setattr(tfllm.finetuning, name, lambda *args, **options: anything)
    monkeypatch.setattr(tfllm.finetuning, "evaluator", lambda *args: lambda: anything)
    files = ["--data", "a.csv", "--validation", "b.csv", "--test", "c.csv"]
    command(monkeypatch, "finetune", "gs://bucket/first", "--task", "text_classifier", "--run", "gs://bucket/topics", *files)
    assert given["folder"] == "gs://bucket/topics"
    assert asked == ["gs://bucket/first", "gs://bucket/topics/best"]
    assert "done: tfllm predict gs://bucket/topics/best …" in capsys.readouterr().out


def test_a_model_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=ByteTokenizer.vocab_size))
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    (tmp_path / "model" / "generation.json").write_text(json.dumps({"top_k": 7}))
    address = f"ram://{tmp_path.name}/model"
    for path in (tmp_path / "model").rglob("*.*"):
        there = f"{address}/{path.relative_to(tmp_path / 'model')}"
        tf.io.gfile.makedirs(there.rpartition("/")[0])
        tf.io.gfile.copy(str(path), there)
    monkeypatch.setattr(
        tfllm, "stream", lambda model, words, prompt, settings, draft_model: [f"{settings.top_k} {settings.seed}"]
    )
    command(monkeypatch, "generate", address, "--prompt", "Once: ", "--seed", "3")
    assert capsys.readouterr().out == "Once: 7 3\n"


def test_generate_takes_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not given is generation.json's; alternatives are printed with their pieces."""
    given = {field.name for field in dataclasses.fields(generating.Settings)}
    assert given == {field.name for field in dataclasses.fields(tfllm.GenerationConfig)}
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=ByteTokenizer.vocab_size))
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    (tmp_path / "model" / "generation.json").write_text(json.dumps({"max_new_tokens": 2}))
    words = ["--logit-bias", "100", "50", "101", "49.5", "--top-log-probs", "1", "--bad-words", "x", "yz"]
    command(monkeypatch, "generate", str(tmp_path / "model"), "--prompt", "Once: ", *words)
    line = json.loads(capsys.readouterr().out)
    assert (line["prompt"], line["text"]) == ("Once: ", "aa")
    assert [set(step[0]) for step in line["top_log_probs"]] == [{"token", "token_id", "log_prob"}] * 2
    beams = ["--num-beams", "2", "--early-stopping", "never", "--num-sequences", "2"]
    command(monkeypatch, "generate", str(tmp_path / "model"), "--prompt", "Once: ", *beams)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["score"] >= second["score"]
    beams += ["--choices", "a", "--length-penalty", "0"]
    command(monkeypatch, "generate", str(tmp_path / "model"), "--prompt", "Once: ", *beams)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["text"], second["text"], second["score"]) == ("a", "", None)


@pytest.mark.slow
def test_generate_with_a_draft_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two prompts, so that the lines tell what was accepted: a model accepts all that it drafts itself."""
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=ByteTokenizer.vocab_size, num_layers=1))
    folder = str(tmp_path / "model")
    tfllm.save(model, ByteTokenizer(), folder)
    words = ["--prompt", "a", "b", "--max-new-tokens", "5", "--draft-model", folder, "--num-draft-tokens", "4"]
    command(monkeypatch, "generate", folder, *words)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["num_draft_tokens"], line["num_accepted_tokens"]) for line in lines] == [(3, 3)] * 2


def test_a_tokenizer_of_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"body": "to learn words from"})] * 9
    (tmp_path / "web.jsonl").write_text("\n".join(lines))
    out = tmp_path / "words"
    given = ["--field", "body", "--kind", "byte_bpe", "--vocab-size", "270"]
    command(monkeypatch, "tokenizer", str(tmp_path), "--out", str(out), *given)
    texts = ["to learn words from"] * 9
    expected = tfllm.tokenizers.train(texts=texts, kind="byte_bpe", vocab_size=270, progress=False)
    assert tfllm.tokenizers.load(out).fingerprint() == expected.fingerprint()
    command(monkeypatch, "tokenizer", "--kind", "bytes", "--out", str(tmp_path / "bytes"))
    assert tfllm.tokenizers.load(tmp_path / "bytes").kind == "bytes"


@pytest.mark.parametrize("words", [["gs://corpus", "--out", "store"], ["texts", "--out", "gs://bucket/store"]])
def test_prepare_needs_a_runner_for_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"gs://\S+ is not on this machine: .* Give --runner, such as --runner DirectRunner"):
        command(monkeypatch, "prepare", *words, "--tokenizer", "words")
    assert not list(tmp_path.iterdir())


ROWS = [{"text": f"{'good' if i % 2 else 'bad'} number {i // 2}", "label": "ab"[i % 2]} for i in range(40)]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A file of 40 labelled texts beside a tokenizer."""
    ByteTokenizer().save(tmp_path / "words")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    return tmp_path


def test_fine_tuning_from_a_preset_by_a_share(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second command goes on where the first ended, so the split is the same."""
    given: list[tuple] = []
    real = tfllm.finetune
    monkeypatch.setattr(tfllm, "finetune", lambda *args, **options: given.append(args) or real(*args, **options))
    words = ["finetune", "--preset", "bert-tiny", "--tokenizer", str(labelled / "words"), "--task", "text_classifier"]
    words += [
        "--data",
        str(labelled / "rows.jsonl"),
        "--validation",
        "0.1",
        "--run",
        str(labelled / "run"),
        "--max-length",
        "24",
    ]
    for _ in range(2):
        command(monkeypatch, *words, "--epochs", "1", "--batch-size", "36")
        said = capsys.readouterr().out
        assert f"{labelled / 'rows.jsonl'}: 4 of 40 records held out to choose the best epoch by (validation 0.1)" in said
    assert json.loads(said[said.index("{") : said.rindex("}") + 1])["best epoch"]["step"] == 1
    (model, training, held_out), (_, again, held_out_again) = given
    assert (len(training), len(held_out)) == (36, 4)
    assert (training.fingerprint, held_out.fingerprint) == (again.fingerprint, held_out_again.fingerprint)
    assert model.config == tfllm.preset("bert-tiny", vocab_size=259)
    # One text an answer, as many as there are.
    command(monkeypatch, "predict", str(labelled / "run" / "best"), "good number 3", "bad number 5", "good one")
    assert [set(json.loads(line)["labels"]) for line in capsys.readouterr().out.splitlines()] == [{"a", "b"}] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one of a model, --preset, --config, got none"),
        (["model", "--preset", "bert-tiny"], "expected one of a model, --preset, --config, got a model and --preset"),
        (["model", "--tokenizer", "words"], "--tokenizer words is invalid: expected no --tokenizer with a model"),
        (
            ["--preset", "bert-tiny"],
            "--tokenizer is missing: expected one with --preset. Give the folder that tfllm tokenizer --out wrote",
        ),
        (
            ["--preset", "gpt2-tiny", "--tokenizer", "words"],
            "--preset gpt2-tiny is invalid: expected an encoder. Give one, such as --preset bert-tiny or",
        ),
        (
            ["--preset", "bert-tiny", "--tokenizer", "words", "--validation", "1.5"],
            "validation=1.5 is invalid: expected a fraction",
        ),
    ],
)
def test_fine_tuning_needs_a_beginning(labelled: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(labelled)
    always = ["--task", "text_classifier", "--data", "rows.jsonl", "--run", "run"]
    always += [] if "--validation" in words else ["--validation", "0.1"]
    with pytest.raises(ValueError, match=message):
        command(monkeypatch, "finetune", *words, *always)
    assert not (labelled / "run").exists()


def test_answers_of_texts_in_twos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = tfllm.preset("bert-tiny", vocab_size=259, num_layers=1, hidden_size=16, num_heads=2, max_length=64)
    model, folder = tfllm.QuestionAnswerer(config), str(tmp_path / "model")
    tfllm.save(model, ByteTokenizer(), folder)
    asked = ["Who?", "It was Ada.", "When?", "In May."]
    command(monkeypatch, "predict", folder, *asked)
    expected = tfllm.predict(model, ByteTokenizer(), asked[::2], asked[1::2])
    assert list(map(json.loads, capsys.readouterr().out.splitlines())) == json.loads(json.dumps(expected))
    command(monkeypatch, "predict", folder, *asked[:2])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected[0]))
    with pytest.raises(
        ValueError, match=r"expected pairs of question and context, got 3 texts\. Give both of each pair, in this order"
    ):
        command(monkeypatch, "predict", folder, *asked[:3])


def test_evaluating_the_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: the mean over the targets of the first rows."""
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=259, num_layers=1, initializer_range=0.3))
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    (tmp_path / "a.txt").write_text("\n".join(f"the number {i}" for i in range(40)))
    store = tfllm.data.prepare(
        tmp_path / "a.txt", ByteTokenizer(), tmp_path / "store", separator="\n", validation=0, processes=1, progress=False
    )
    words = ["evaluate", str(tmp_path / "model"), "--store", str(tmp_path / "store"), "--split", "train"]
    words += ["--sequence-length", "16", "--batch-size", "4", "--stride", "16"]
    found = {}
    for limit in (4, 6, None):
        command(monkeypatch, *words, *([] if limit is None else ["--limit", str(limit)]))
        said = capsys.readouterr().out
        found[limit] = json.loads(said[said.index("{") :])
        assert found[limit].get("limit") == limit
    losses = []
    for batch in tfllm.data.causal_lm(store, sequence_length=16, batch_size=1, shuffle=False, repeat=False).take(6):
        scores = tf.nn.log_softmax(model({"token_ids": batch["token_ids"]}))
        losses.append(-tf.gather(scores, batch["target_ids"], batch_dims=2).numpy())
    for rows in (4, 6):
        assert found[rows]["loss"] == pytest.approx(sum(each.sum() for each in losses[:rows]) / (16 * rows), rel=1e-5)
    assert found[None]["loss"] != found[6]["loss"]
    with pytest.raises(ValueError, match="limit=0 is invalid: expected 1 row or more"):
        command(monkeypatch, *words, "--limit", "0")
