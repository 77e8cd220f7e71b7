"""What pretraining gives: one shape fine-tuned from pretrain_masked_mini.py's weights and from random ones, three seeds each.

Command:   python training/pretrain_masked_mini.py && python training/compare_pretraining.py
Needs:     apt-get of Debian 12 and npm, which fetch the texts
Hardware:  2 CPU cores, 3 GB of memory
Minutes:   15 on 2 cores, behind the pretraining

Task: parts of speech in the Brown Corpus, learnt from every tenth sentence of the training file: few enough that most words
of the test file are rare or new, so what helps is to know how English sentences go, and documentation is written in such.
Both sides have the same tokenizer, shape, sentences, order, steps and settings; a seed is that of the head and the order,
and of all weights of the random side. The best epoch is chosen by every fifth validation sentence; the test file is scored
once a run.
Leaves runs/compare-pretraining/: a run a side and seed, `table.md` and `summary.json`. Killed, it goes on when started again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import datasets
import pretrain_masked_mini
import tyro

import tfllm
from tfllm import finetuning
from tfllm.data import tagging
from tfllm.data.labelled import Tagged
from tfllm.data.labelled.conll_files import read_sentences

FOLDER = Path("runs/compare-pretraining")
SIDES = ("random", "pretrained")
SEEDS = (0, 1, 2)
EVERY = {"train": 10, "validation": 5, "test": 1}
SETTINGS = tfllm.Finetuning(epochs=8, batch_size=32, learning_rate=1e-3)


def main(pretrained: Path = pretrain_masked_mini.FOLDER, folder: Path = FOLDER, settings: tfllm.Finetuning = SETTINGS) -> None:
    if not (pretrained / "summary.json").is_file():
        raise SystemExit(f"{pretrained} holds no finished pretraining: run training/pretrain_masked_mini.py first")
    stack, tokenizer = tfllm.load(pretrained)
    sentences = {path.stem: read_sentences(path) for path in datasets.brown().iterdir()}
    labels = sorted({label for sentence in sentences["train"] for label in sentence.labels})
    rows = {
        name: tagging(sentences[name][::every], tokenizer, labels=labels, max_length=stack.config.max_length)
        for name, every in EVERY.items()
    }
    print(", ".join(f"{len(each.records):,} sentences to {name}" for name, each in rows.items()))
    accuracies = {
        side: [_accuracy(side, stack, rows, folder / f"{side}-{seed}", replace(settings, seed=seed)) for seed in SEEDS]
        for side in SIDES
    }
    summary = compared(accuracies["random"], accuracies["pretrained"])
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (folder / "table.md").write_text(table(summary))
    print("\n" + table(summary))


def _accuracy(side: str, stack: Any, rows: Mapping[str, Tagged], folder: Path, settings: tfllm.Finetuning) -> float:
    """The share of the test file's words that the best epoch's model tags as the corpus does; scored once, then kept."""
    scored = folder / "test.json"
    if not scored.is_file():
        # The pretraining saw its text but twice and dropped nothing; these few sentences are seen often.
        config = stack.config.replace(dropout=0.1, attention_dropout=0.1)
        options: dict[str, Any] = dict(labels=rows["train"].labels, seed=settings.seed, dtype="auto")
        if side == "pretrained":
            model = tfllm.TokenClassifier.from_pretrained(stack, config=config, **options)
        else:
            model = tfllm.TokenClassifier(config, **options)
        print(f"\n{side} weights, seed {settings.seed}")
        finetuning.finetune(model, rows["train"], rows["validation"], folder=folder, settings=settings, verbose=2)
        best, _ = tfllm.load(folder / "best")
        scored.write_text(json.dumps(finetuning.evaluator(best, rows["test"])().scores) + "\n")
    return float(json.loads(scored.read_text())["accuracy"])


def compared(random: Sequence[float], pretrained: Sequence[float]) -> dict[str, Any]:
    """Two sides, an accuracy a seed; and their difference beside what seeds alone make of it.

    random 0.80 0.82, pretrained 0.88 0.90 (each deviates by 0.0141)
    -> difference 0.08, standard_error 0.0141, gap 0.06 (0.88 - 0.82)
    """
    sides = {
        name: {"mean": mean(values), "deviation": stdev(values), "seeds": list(values)}
        for name, values in (("random", random), ("pretrained", pretrained))
    }
    return sides | {
        "difference": mean(pretrained) - mean(random),
        "standard_error": math.sqrt(stdev(random) ** 2 / len(random) + stdev(pretrained) ** 2 / len(pretrained)),
        "gap": min(pretrained) - max(random),
    }


def table(summary: Mapping[str, Any]) -> str:
    """The summary for people, in per cent and points."""
    seeds = range(len(summary["random"]["seeds"]))
    lines = [
        "| first weights | mean | deviation |" + "".join(f" seed {seed} |" for seed in seeds),
        "|---|" + "---|" * (2 + len(seeds)),
    ]
    for side in SIDES:
        values = [summary[side]["mean"], summary[side]["deviation"], *summary[side]["seeds"]]
        lines.append(f"| {side} |" + "".join(f" {100 * value:.2f} |" for value in values))
    difference, error, gap = (100 * summary[name] for name in ("difference", "standard_error", "gap"))
    lines.append(
        f"\nPretraining gives {difference:+.2f} points (standard error {error:.2f}); "
        f"from the best random seed to the worst pretrained one it is {gap:+.2f}."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
