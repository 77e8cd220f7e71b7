"""Writes the fixtures of `test_earlier_files.py` with an earlier version of tfllm, by its public functions only.

    git worktree add ../earlier 99bc188
    PYTHONPATH=../earlier python tests/earlier.py tests/fixtures/99bc188

Input: the tfllm that is imported, and the source files of Python's own `json` package. Output, in the folder:

    tokenizers.tar.xz    a trained tokenizer of each kind
    store.tar.xz         a prepared corpus
    models.tar.xz        a model folder of each task
    runs.tar.xz          runs that SIGTERM ended inside an epoch, and the rows that one of them learns from
    exports.tar.xz       SavedModels
    recorded.json        what this version says of all of them: ids, digests, losses, answers; its public names and options
    logits.npz           the output of each model on `token_ids`

Models are tiny, and their weights are multiples of 1/16, so that the archives stay small.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib
import inspect
import io
import json
import os
import re
import shutil
import signal
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfllm
from tfllm import tokenizers, train
from tfllm.__main__ import COMMANDS
from tfllm.__main__ import main as command_line

PACKAGES = ("tfllm", "tfllm.data", "tfllm.exporting", "tfllm.generation", "tfllm.interop", "tfllm.tokenizers", "tfllm.train")
TEXTS = ["", "def loads(s, *, cls=None):\n    return cls(s)", "naïve 中文 — ½ 🙂", "  two  spaces\tand a tab "]
LABELS = ["decoder", "encoder", "tool"]
SIZES = dict(max_length=48, num_layers=1, hidden_size=8, num_heads=2, ffn_size=16)
ENCODER = dict(causal=False, num_types=2, norm_place="post", embedding_norm=True, activation="gelu", pooler=True)
BATCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("causal_lm", dict(sequence_length=32, batch_size=4, seed=3)),
    "causal, later": ("causal_lm", dict(sequence_length=32, batch_size=4, seed=3, start_step=1000)),
    "causal, document masks": ("causal_lm", dict(sequence_length=32, batch_size=4, seed=3, document_masks=True)),
    "causal, validation": ("causal_lm", dict(sequence_length=32, batch_size=4, split="validation", repeat=False, stride=16)),
    "masked": ("masked_lm", dict(sequence_length=32, batch_size=4, seed=3, mask_share=0.2)),
    "masked words, pairs of texts": ("masked_lm", dict(sequence_length=32, batch_size=4, seed=3, unit="word", pairs="next")),
    "masked spans, pairs in order": ("masked_lm", dict(sequence_length=32, batch_size=4, seed=3, unit="span", pairs="order")),
}
ASKED = {
    "text_classifier": [TEXTS],
    "text_classifier of pairs": [TEXTS, TEXTS[::-1]],
    "text_regressor": [TEXTS],
    "text_embedder": [TEXTS],
    "masked_lm": [["", "def [MASK](s):", "[MASK] and [MASK]"]],
    "token_classifier": [TEXTS],
    "question_answerer": [["Who?", "What is returned?"], ["It was Ada.", TEXTS[1]]],
}
"""What each task that predicts is asked: one list an input."""


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    recorded: dict[str, Any] = {"texts": TEXTS, "asked": ASKED}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        recorded["tokenizers"] = write_tokenizers(work / "tokenizers")
        recorded["store"] = write_store(work / "store", work / "tokenizers")
        recorded["models"], logits = write_models(work / "models", work / "tokenizers")
        recorded["exports"] = write_exports(work / "exports", work / "models")
        recorded["runs"] = write_runs(work / "runs", work)
        recorded["names"] = {package: names_of(package) for package in PACKAGES}
        recorded["options"] = {command.__name__: options_of(command.__name__) for command in COMMANDS}
        for part in ("tokenizers", "store", "models", "runs", "exports"):
            pack(work / part, out / f"{part}.tar.xz")
    np.savez_compressed(out / "logits.npz", **logits)
    (out / "recorded.json").write_text(
        "{\n"
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in recorded.items())
        + "\n}\n"
    )


def sources() -> list[Path]:
    return sorted(Path(sysconfig.get_path("stdlib"), "json").glob("*.py"))


def write_tokenizers(folder: Path) -> dict[str, Any]:
    sizes = {"unigram": 400, "bpe": 400, "byte_bpe": 320, "wordpiece": 200, "bytes": None}
    recorded = {}
    for kind, size in sizes.items():
        tokenizer = tokenizers.train(sources(), kind=kind, vocab_size=size, progress=False)
        tokenizer.save(folder / kind)
        ids = [[int(id) for id in tokenizer.encode(text)] for text in TEXTS]
        recorded[kind] = {
            "fingerprint": tokenizer.fingerprint(),
            "ids": ids,
            "texts": [tokenizer.decode(row) for row in ids],
        }
    return recorded


def write_store(folder: Path, words: Path) -> dict[str, Any]:
    tokenizer = tokenizers.load(words / "wordpiece")
    documents = [each for path in sources() for each in path.read_text().split("\n\n")]
    store = tfllm.data.prepare(texts=documents, tokenizer=tokenizer, out=folder, validation=0.2, shards=2, progress=False)
    return {
        "fingerprint": store.fingerprint,
        "batches": {name: digests(store, tokenizer, *what) for name, what in BATCHES.items()},
    }


def digests(store: Any, tokenizer: Any, kind: str, settings: dict[str, Any]) -> list[dict[str, str]]:
    """Of the first batches: by feature, dtype and sha256 of its values."""
    given = (store,) if kind == "causal_lm" else (store, tokenizer)
    found = getattr(tfllm.data, kind)(*given, **settings).take(3)
    return [{name: digest(value.numpy()) for name, value in sorted(batch.items())} for batch in found]


def digest(values: np.ndarray) -> str:
    return f"{values.dtype} {hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]}"


def write_models(folder: Path, words: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    recorded, logits = {}, {}
    for name, (kind, model) in models(words).items():
        tokenizer = tokenizers.load(words / kind)
        fill(model)
        place = folder / name.replace(" ", "_")
        tfllm.save(model, tokenizer, place)
        logits[name] = outputs(model)
        task = json.loads(file.read_text()) if (file := place / "task.json").exists() else None
        recorded[name] = {"class": type(model).__name__, "task.json": task, "says": says(model, tokenizer, name)}
    return recorded, logits


def models(words: Path) -> dict[str, tuple[str, Any]]:
    """By name: the kind of tokenizer, and the model."""
    size = {kind: tokenizers.load(words / kind).vocab_size for kind in ("unigram", "byte_bpe", "wordpiece")}
    decoder = {
        name: tfllm.preset(f"{name}-tiny", vocab_size=size[kind], **SIZES)
        for name, kind in (("llama", "unigram"), ("gpt2", "byte_bpe"))
    }
    encoder = tfllm.ModelConfig(vocab_size=size["wordpiece"], **SIZES, **ENCODER)
    tags = ["O", "B-NAME", "I-NAME", "B-SIGN", "I-SIGN"]
    return {
        "llama": ("unigram", tfllm.CausalLM(decoder["llama"])),
        "gpt2": ("byte_bpe", tfllm.CausalLM(decoder["gpt2"])),
        "masked_lm": ("wordpiece", tfllm.MaskedLM(encoder, next_sentence=True)),
        "text_classifier": ("wordpiece", tfllm.TextClassifier(encoder, labels=LABELS)),
        "text_classifier of pairs": ("wordpiece", tfllm.TextClassifier(encoder, labels=["no", "yes"], pairs=True)),
        "several labels": ("wordpiece", tfllm.TextClassifier(encoder, labels=LABELS, multi_label=True)),
        "text_regressor": ("wordpiece", tfllm.TextRegressor(encoder)),
        "text_embedder": ("wordpiece", tfllm.TextEmbedder(encoder)),
        "token_classifier": ("wordpiece", tfllm.TokenClassifier(encoder, labels=tags)),
        "question_answerer": ("wordpiece", tfllm.QuestionAnswerer(encoder)),
    }


def fill(model: Any) -> None:
    """Weights strong enough for answers to differ, in a few values, which compress."""
    random = np.random.default_rng(7)
    for variable in model.trainable_variables:
        mean, spread = (1.0, 0.2) if variable.path.endswith("scale") else (0.0, 0.5)
        variable.assign(np.round(random.normal(mean, spread, variable.shape) * 16) / 16)


def outputs(model: Any) -> np.ndarray:
    """Of ids that are drawn, in float32."""
    found = model({"token_ids": token_ids(model.config.vocab_size)})
    return np.asarray(keras.tree.flatten(found)[0], np.float32)


def token_ids(vocab_size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(3, vocab_size, (1, 6), np.int32)


def says(model: Any, tokenizer: Any, name: str) -> Any:
    if model.causal:
        settings = dict(max_new_tokens=12, repetition_penalty=1.2, seed=5)
        greedy = tfllm.generate(model, tokenizer, TEXTS, **settings)
        drawn = tfllm.generate(model, tokenizer, TEXTS, temperature=0.9, top_p=0.9, **settings)
        scores = tfllm.score(model, tokenizer, TEXTS)
        return {
            "greedy": [each.token_ids for each in greedy],
            "drawn": [each.token_ids for each in drawn],
            "log_probs": [each.log_prob for each in scores],
        }
    return tfllm.predict(model, tokenizer, *ASKED.get(name, [TEXTS]))


def write_exports(folder: Path, saved: Path) -> dict[str, Any]:
    recorded = {}
    for name in ("llama", "text_classifier", "token_classifier", "question_answerer"):
        model, tokenizer = tfllm.load(saved / name)
        settings = {"max_new_tokens": 12} if model.causal else {}
        path = tfllm.export(model, tokenizer, folder / name, **settings)
        report = tfllm.check(path)
        assert report.ok, report
        recorded[name] = {"signatures": list(report.signatures)}
    return recorded


def write_runs(folder: Path, work: Path) -> dict[str, Any]:
    """Of each run the history of one left alone; the folder of one that was ended inside its second epoch."""
    folder.mkdir()
    write_rows(folder / "rows.csv")
    recorded = {}
    for name in ("causal", "masked", "finetuned"):
        alone = go_on(name, work / "alone" / name, work)
        with ended_at(step=6), contextlib.suppress(SystemExit):
            go_on(name, folder / name, work)
        (older, newest) = sorted((folder / name / "checkpoints").iterdir())
        assert newest.name.endswith("6"), newest
        shutil.rmtree(older)
        (folder / name / ".lock").unlink(missing_ok=True)
        recorded[name] = [
            {key: value for key, value in each.items() if isinstance(value, int | float)} for each in alone.history
        ]
    return recorded


def go_on(name: str, folder: Path, work: Path) -> train.Run:
    """Begins the run in the folder, or goes on with the one that is there, to its end."""
    if name == "finetuned":
        tokenizer = tokenizers.load(work / "tokenizers/wordpiece")
        rows = tfllm.data.text_classification(work / "runs/rows.csv", tokenizer, labels=LABELS, max_length=24)
        model, _ = tfllm.load(work / "models/text_classifier")
        settings = tfllm.Finetuning(epochs=3, batch_size=8, learning_rate=1e-2, layer_decay=0.9)
        return tfllm.finetune(model, rows, rows, folder=folder, settings=settings, verbose=0)
    tokenizer = tokenizers.load(work / "tokenizers/wordpiece")
    settings = dict(epochs=3, steps_per_epoch=4, batch_size=4, sequence_length=24, learning_rate=1e-2, validation_steps=1)
    sizes = dict(vocab_size=tokenizer.vocab_size, dropout=0.1, attention_dropout=0.1, **SIZES)
    if name == "masked":
        settings |= dict(pairs="next", mask_share=0.2, mask_unit="word")
    config = tfllm.preset("bert-tiny" if name == "masked" else "llama-tiny", **sizes)
    where: dict[str, Any] = dict(config=config, folder=folder, settings=tfllm.Pretraining(**settings))
    return tfllm.pretrain(work / "store", tokenizer, **where, verbose=0)


def write_rows(path: Path) -> None:
    """Lines of code, and the module that each is from."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for source in sources():
            if source.stem in LABELS:
                lines = [line.strip() for line in source.read_text().splitlines() if len(line) > 40]
                rows.writerows([line, source.stem] for line in lines[:12])


@contextlib.contextmanager
def ended_at(step: int) -> Iterator[None]:
    """Within: a run gets SIGTERM as this step begins. It saves that step, and ends."""
    callbacks = train.Run.callbacks

    class End(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if int(self.model.optimizer.iterations) == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)

    def with_end(self: train.Run, **settings: Any) -> list[Any]:
        return [End(), *callbacks(self, **settings)]

    train.Run.callbacks = with_end
    try:
        yield
    finally:
        train.Run.callbacks = callbacks


def names_of(package: str) -> dict[str, list[str] | None]:
    """Public names, and the parameters of those that are called."""
    module = importlib.import_module(package)
    return {name: parameters(getattr(module, name)) for name in module.__all__}


def parameters(what: Any) -> list[str] | None:
    if not callable(what):
        return None
    try:
        return [name for name in inspect.signature(what).parameters if not name.startswith("_")]
    except ValueError:
        return None


def options_of(command: str) -> list[str]:
    """What `tfllm COMMAND --help` lists."""
    said, words = io.StringIO(), sys.argv
    sys.argv = ["tfllm", command, "--help"]
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        command_line()
    sys.argv = words
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", said.getvalue())))


def pack(folder: Path, archive: Path) -> None:
    """The same files give the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:xz", preset=9) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.add(path, path.relative_to(folder.parent), filter=plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
