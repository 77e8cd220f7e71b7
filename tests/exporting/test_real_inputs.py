"""MiniLM behind every kind of head, asked 100 real texts: the export, `predict` and the C program say the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import tensorflow as tf
from answers import assert_c_says_the_same, assert_python_says_the_same
from minilm import minilm

import tfllm

pytestmark = pytest.mark.slow
COUNT = 100
TOPICS = ("business", "entertainment", "politics", "sport", "tech")
CLASSES = {
    "classifier": (tfllm.TextClassifier, {"labels": TOPICS}),
    "classifier of pairs": (tfllm.TextClassifier, {"labels": ("no", "yes"), "pairs": True}),
    "several labels": (tfllm.TextClassifier, {"labels": TOPICS, "multi_label": True}),
    "tagger": (tfllm.TokenClassifier, {"labels": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")}),
    "parts of speech": (tfllm.TokenClassifier, {"labels": ("NOUN", "VERB", "ADJ", "ADV")}),
    "questions": (tfllm.QuestionAnswerer, {}),
    "embedder": (tfllm.TextEmbedder, {"pooling": "mean"}),
    "regressor": (tfllm.TextRegressor, {}),
    "hidden words": (tfllm.MaskedLM, {}),
}


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_same_answers(name: str, program: Path, tmp_path: Path) -> None:
    pretrained, tokenizer = tfllm.from_huggingface(minilm())
    model = with_loud_head(name, pretrained)
    asked = questions(name)
    assert len(asked[0]) == COUNT
    folder = tfllm.export(model, tokenizer, tmp_path / "model")
    assert tfllm.check(folder).ok
    assert_python_says_the_same(model, tokenizer, folder, asked)
    assert_c_says_the_same(program, model, folder, asked)


def with_loud_head(name: str, pretrained: Any) -> Any:
    """A head whose answers differ from text to text, as a trained one's do."""
    kind, settings = CLASSES[name]
    model = kind.from_pretrained(pretrained, **settings)
    if getattr(model, "head", None) is not None and name != "hidden words":
        kernel = model.head.kernel
        kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2], stddev=1.0))
    return model


def questions(name: str) -> list[list[str]]:
    if name == "questions":
        rows = [row for split in ("train", "validation", "test") for row in read(datasets.disflqa(), split)][:COUNT]
        return [[row["question"] for row in rows], [row["context"] for row in rows]]
    rows = read(datasets.boolq(), "test")[:COUNT]
    pair = next(key for key in rows[0] if "pair" in key)
    texts = [row["text"] for row in rows]
    if name == "classifier of pairs":
        return [texts, [row[pair] for row in rows]]
    if name == "hidden words":
        return [[" ".join([*text.split()[:2], "[MASK]", *text.split()[3:]]) for text in texts]]
    return [[row[pair] for row in rows]]


def read(folder: Path, split: str) -> list[dict]:
    path = next(folder.glob(f"{split}.*"))
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines] if path.suffix == ".jsonl" else list(csv.DictReader(lines))
