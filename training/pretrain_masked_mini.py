"""A BERT-mini on the documentation of Linux and Python, from nothing: 4 layers, 256 wide, hidden words to be guessed.

Its size is BERT-mini's; its positions are rotary and its norms come first, as in encoders of today (Warner et al. 2024). With
BERT's own, half an hour is too short: after 960 steps it knew little more than which words are frequent (held-out loss 5.3),
which this one passes within 150.

Command:   python training/pretrain_masked_mini.py
Needs:     apt-get of Debian 12, which fetches the documentation
Hardware:  2 CPU cores, 3 GB of memory
Minutes:   40 on 2 cores

2% of the documents are held out by the hash of their text: neither the tokenizer nor the model sees them. Leaves, in
runs/pretrain-masked-mini/: tokenizer, token store, run (checkpoints and TensorBoard logs), `loss.png` and `summary.json`; and
an exported SavedModel, which is asked five blanks of held-out sentences. What the pretraining is good for:
compare_pretraining.py. Killed at any moment, it goes on when started again.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import datasets
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops an exported tokenizer is made of
import tyro

import tfllm
from tfllm.data import Store, prepare
from tfllm.tokenizers import ByteTokenizer, Tokenizer

FOLDER = Path("runs/pretrain-masked-mini")
VOCAB_SIZE = 8192
HELD_OUT = 0.02
SETTINGS = tfllm.Pretraining(
    epochs=20,
    steps_per_epoch=120,
    batch_size=64,
    sequence_length=128,
    optimizer="muon",
    learning_rate=3e-3,
    schedule="cosine",
    mask_unit="word",
    dtype="auto",
)
SENTENCE = re.compile(r"(?<![^ ])[A-Z][a-z]+(?:,? [a-z]+){9,15}\.(?![^ ])")


@dataclass(frozen=True)
class Blank:
    """A sentence with "[MASK]" for one of its words, and the word."""

    text: str
    word: str


def main(folder: Path = FOLDER, settings: tfllm.Pretraining = SETTINGS) -> None:
    started = time.perf_counter()
    documents = datasets.documentation()
    raw = _prepare(documents, ByteTokenizer(), folder / "bytes")
    tokenizer = _tokenizer(raw, folder / "tokenizer")
    store = _prepare(documents, tokenizer, folder / "store")
    asked = list(islice(blanks(raw.texts("validation", ByteTokenizer()), tokenizer), 5))

    # Much text, seen about twice: nothing to hold back from, so no dropout.
    shape = dict(positions="rotary", norm_place="pre", embedding_norm=False, dropout=0.0, attention_dropout=0.0)
    config = tfllm.preset("bert-mini", vocab_size=VOCAB_SIZE, max_length=settings.sequence_length, **shape)
    prompts = [blank.text for blank in asked]
    run = tfllm.pretrain(store, tokenizer, config=config, folder=folder, settings=settings, prompts=prompts)
    version = tfllm.export(run.model, tokenizer, Path("saved_models") / folder.name)
    summary = {
        "held_out": {name: run.history[-1][f"val_{name}"] for name in ("loss", "perplexity", "accuracy")},
        "blanks": [asdict(blank) | {"guesses": guesses} for blank, guesses in zip(asked, ask(version, prompts), strict=True)],
        "parameters": run.model.config.num_parameters(),
        "training_tokens": settings.epochs * settings.steps_per_epoch * settings.batch_size * settings.sequence_length,
        "corpus_tokens": store.manifest["splits"]["train"]["tokens"],
        "tokens_per_second": median(record.get("tokens_per_second", 0.0) for record in run.history),
        "minutes": (time.perf_counter() - started) / 60,
        "saved_model": str(version),
        "logs": str(folder / "logs"),
    }
    draw_loss(run.history, folder / "loss.png")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    _report(summary)


def _prepare(documents: Path, tokenizer: Tokenizer, out: Path) -> Store:
    # The split goes by the text's hash, so every tokenizer gets the same one.
    return prepare([documents], tokenizer, out, validation=HELD_OUT)


def _tokenizer(raw: Store, folder: Path) -> Tokenizer:
    if not folder.exists():
        texts = raw.texts("train", ByteTokenizer())
        tfllm.tokenizers.train(texts=texts, kind="wordpiece", vocab_size=VOCAB_SIZE, max_bytes=16 << 20).save(folder)
    return tfllm.tokenizers.load(folder)


def blanks(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Blank]:
    """The first plain sentence of each text whose middle word has four letters or more and is one piece; that word hidden.

    "Sizes\\n===\\nThe first number of every line\\ngives blocks that the new device can hold. It is …"
    -> "The first number of every line gives [MASK] that the new device can hold.", "blocks"
    """
    for text in texts:
        for sentence in SENTENCE.findall(" ".join(text.split())):
            words = sentence.split(" ")
            middle = len(words) // 2
            word = words[middle].strip(",.")
            if len(word) >= 4 and len(tokenizer.encode(word)) == 1:
                words[middle] = words[middle].replace(word, "[MASK]")
                yield Blank(" ".join(words), word)
                break


def ask(version: Path, texts: list[str]) -> list[list[str]]:
    """What the exported model puts into the first blank of each text, best first."""
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    return [[guess.decode() for guess in guesses] for guesses in served(text=tf.constant(texts))["token"].numpy()[:, 0]]


def draw_loss(history: list[dict[str, Any]], path: Path) -> None:
    """The masked-LM loss over steps, training and held out."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(7, 4), layout="tight")).add_subplot()
    steps = [record["step"] for record in history]
    for name, label in (("loss", "training"), ("val_loss", "held out")):
        axes.plot(steps, [record[name] for record in history], marker=".", label=label)
    axes.set(xlabel="step", ylabel="nats a hidden token")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _report(summary: dict[str, Any]) -> None:
    for blank in summary["blanks"]:
        print(f"\n{blank['text']}\n  {blank['word']!r} was hidden; the exported model says {', '.join(blank['guesses'])}")
    print(
        f"\nHidden tokens of held-out documents: perplexity {summary['held_out']['perplexity']:.2f}, "
        f"{summary['held_out']['accuracy']:.1%} right\n"
        f"{summary['parameters']:,} parameters, {summary['training_tokens']:,} tokens of {summary['corpus_tokens']:,}, "
        f"{summary['tokens_per_second']:,.0f} tokens/s, {summary['minutes']:.1f} minutes\n"
        f"{summary['saved_model']}"
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
