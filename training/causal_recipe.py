"""The main job on real text, from start to end, for the two recipes beside this file.

Enters: a `Recipe`. Text: the running Python's own standard library (with its tests, where the
distribution ships them), without site-packages. Leaves, in
the recipe's folder: tokenizer, token store, run (checkpoints and TensorBoard logs), `loss.png` and `summary.json`; and an
exported SavedModel, which is loaded again and asked to continue three beginnings of Python code.

5% of the files are held out by the hash of their text. Neither the tokenizer nor the model sees them; every one of their
tokens is scored once, ends of files included, with at least half a row of context but at a shard's beginning.
Killed at any moment, a recipe goes on when started again.
"""

from __future__ import annotations

import json
import os
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import compressors
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops an exported tokenizer is made of

import tfllm
from tfllm.data import Store, causal_lm, prepare
from tfllm.tokenizers import ByteTokenizer, Tokenizer

HELD_OUT = 0.05
BEGINNINGS = (
    "def read_lines(path):\n",
    "class TestDictionary(unittest.TestCase):\n    def test_",
    "import os\nimport sys\n\n",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between the recipes. One epoch is the distance between two checkpoints."""

    name: str
    config: tfllm.ModelConfig
    tokenizer_bytes: int
    sequence_length: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    decay_fraction: float
    warmup_steps: int = 40

    @property
    def folder(self) -> Path:
        return Path("runs") / self.name

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def main(recipe: Recipe) -> None:
    started = time.perf_counter()
    _say(f"Corpus: the standard library of this Python, {HELD_OUT:.0%} of its files held out")
    raw = _prepare(ByteTokenizer(), recipe.folder / "bytes")
    tokenizer = _tokenizer(recipe, raw)
    store = _prepare(tokenizer, recipe.folder / "store")

    model, run = _train(recipe, tokenizer, store)
    _say("Scoring the held-out files")
    held_out_rows = _rows(recipe, store, split="validation", shuffle=False, repeat=False, stride=recipe.sequence_length // 2)
    bits_per_byte = float(model.evaluate(held_out_rows, return_dict=True)["bits_per_byte"])

    _say("Exporting, and asking the exported model")
    version = tfllm.export(model, tokenizer, Path("saved_models") / recipe.name)
    answers = _ask(version)

    _say("Compressing the same files with gzip, bz2 and xz")
    texts = {split: "".join(raw.texts(split, ByteTokenizer())).encode() for split in ("train", "validation")}
    held_out = {"model": bits_per_byte} | compressors.bits_per_byte(texts["validation"], texts["train"])
    summary = {
        "heldout_bits_per_byte": held_out,
        "heldout_bytes": len(texts["validation"]),
        "tokens_per_second": _median(run.history, "tokens_per_second"),
        "flops_utilisation": _median(run.history, "flops_utilisation"),
        "parameters": model.config.num_parameters(),
        "training_tokens": recipe.steps * recipe.batch_size * recipe.sequence_length,
        "saved_model": str(version),
        "logs": str(run.folder / "logs"),
        "seconds": time.perf_counter() - started,
    }
    _draw_loss(run.history, recipe.folder / "loss.png")
    (recipe.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _report(recipe, summary, answers)


def _prepare(tokenizer: Tokenizer, out: Path) -> Store:
    library = sysconfig.get_path("stdlib")
    # Four files are in other encodings, on purpose. The split goes by the text's hash, so every tokenizer gets the same one.
    return prepare([f"{library}/**/*.py"], tokenizer, out, exclude=["site-packages"], validation=HELD_OUT, invalid_utf8="skip")


def _tokenizer(recipe: Recipe, raw: Store) -> Tokenizer:
    folder = recipe.folder / "tokenizer"
    if not folder.exists():
        _say(f"Training a tokenizer of {recipe.config.vocab_size} entries")
        texts = raw.texts("train", ByteTokenizer())
        tfllm.tokenizers.train(texts=texts, vocab_size=recipe.config.vocab_size, max_bytes=recipe.tokenizer_bytes).save(folder)
    return tfllm.tokenizers.load(folder)


def _rows(recipe: Recipe, store: Store, **options: Any) -> tf.data.Dataset:
    return causal_lm(store, sequence_length=recipe.sequence_length, batch_size=recipe.batch_size, **options)


def _train(recipe: Recipe, tokenizer: Tokenizer, store: Store) -> tuple[tfllm.CausalLM, tfllm.train.Run]:
    model = tfllm.CausalLM(recipe.config, dtype="auto")
    rates = tfllm.train.schedule(
        "wsd",
        peak=recipe.learning_rate,
        steps=recipe.steps,
        warmup_steps=recipe.warmup_steps,
        decay_steps=int(recipe.decay_fraction * recipe.steps),
        final_fraction=0.0,
    )
    model.compile(tfllm.train.muon(rates, newton_schulz_dtype="auto"), token_bytes=tokenizer.token_bytes())
    run = tfllm.train.Run(
        recipe.folder,
        model,
        tokenizer=tokenizer,
        steps_per_epoch=recipe.steps_per_epoch,
        data=f"{store.fingerprint}, {recipe.batch_size} x {recipe.sequence_length}",
    )
    _say(f"Training {model.config.num_parameters():,} parameters for {recipe.steps} steps, {run.step} of them done")
    prompts = list(BEGINNINGS)
    model.fit(
        _rows(recipe, store, start_step=run.step),
        validation_data=_rows(recipe, store, split="validation", repeat=False).take(16),
        epochs=recipe.epochs,
        initial_epoch=run.epoch,
        steps_per_epoch=recipe.steps_per_epoch,
        callbacks=run.callbacks(
            sample=lambda: [each.prompt + each.text for each in tfllm.generate(model, tokenizer, prompts, max_new_tokens=48)],
            flops_per_token=3 * recipe.config.forward_flops_per_token(recipe.sequence_length),
        ),
    )
    return model, run


def _ask(version: Path) -> list[str]:
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    return [answer.decode() for answer in served(prompt=tf.constant(BEGINNINGS))["text"].numpy()]


def _report(recipe: Recipe, summary: dict[str, Any], answers: list[str]) -> None:
    for beginning, answer in zip(BEGINNINGS, answers, strict=True):
        _say("The exported model continues")
        print(beginning + "\033[1m" + answer + "\033[0m")
    _say(f"Held-out bits per byte, {summary['heldout_bytes']:,} bytes of Python (lower is better)")
    for name, bits in sorted(summary["heldout_bits_per_byte"].items(), key=lambda entry: -entry[1]):
        print(f"  {name:10} {bits:6.3f}  " + "█" * round(24 * bits))
    print(
        f"\n  {summary['parameters']:,} parameters, {summary['training_tokens']:,} tokens, "
        f"{summary['tokens_per_second']:,.0f} tokens/s, {summary['flops_utilisation']:.0%} of a matrix product's speed, "
        f"{summary['seconds'] / 60:.1f} minutes in all\n\n"
        f"  loss curve    {recipe.folder / 'loss.png'}\n"
        f"  logs          .venv/bin/tensorboard --logdir {summary['logs']}\n"
        f"  ask the model .venv/bin/tfllm generate {recipe.folder} --prompt 'def main('\n"
        f"  saved model   .venv/bin/tfllm check {summary['saved_model']}"
    )


def _draw_loss(history: list[dict[str, Any]], path: Path) -> None:
    """Bits per byte over steps, training and held out."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(7, 4), layout="tight")).add_subplot()
    steps = [record["step"] for record in history]
    for name, label in (("bits_per_byte", "training"), ("val_bits_per_byte", "held out")):
        axes.plot(steps, [record[name] for record in history], marker=".", label=label)
    axes.set(xlabel="step", ylabel="bits per byte", ylim=(0.8, 2.4))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _median(history: list[dict[str, Any]], name: str) -> float:
    values = sorted(record[name] for record in history if name in record)
    return values[len(values) // 2] if values else 0.0


def _say(line: str) -> None:
    print(f"\n\033[1m== {line}\033[0m", flush=True)
