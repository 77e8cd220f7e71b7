"""What exports of lower precision lose: bits per byte of held-out text, beside float32.

    python benchmarks/low_precision.py

Enters: nothing (`speculative_models.py` trains a model once, for a quarter of an hour). Leaves: `results/low_precision.json`
and `low_precision.md`. Each export scores the same files, by its own signature `score`.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from speculative_models import make  # first: it quiets TensorFlow

import tensorflow as tf  # isort: skip
import tyro
from harness import Measured
from report import RESULTS, publish, record, rows, write

import tfllm

CHARACTERS = 4000
"""Of each text."""
EXPORTS = {"float32": ("float32", None), "bfloat16": ("mixed_bfloat16", None), "int8": ("float32", "int8")}
TEXT = "Written by `low_precision.py`. Of a model of 25 million parameters; lost: more bits than float32's."


def main(texts: int = 64, *, out: Path = RESULTS) -> None:
    """Scores held-out files with an export of each precision.

    Args:
        texts: how many.
        out: folder of the results.
    """
    folder = make()
    words = tfllm.tokenizers.ByteTokenizer()
    held_out = list(tfllm.data.Store.open(folder / "bytes").texts("validation", words))[:texts]
    held_out = [text[:CHARACTERS] for text in held_out]
    found = {name: scored(folder / "target", *precision, held_out) for name, precision in EXPORTS.items()}
    measured = Measured(ready={"tensorflow": {"versions": {"tensorflow": tf.__version__}}})
    write(out, "low_precision", result := record(measured, exports=found, texts=len(held_out)))
    exact = found["float32"]["bits_per_byte"]
    body = [
        [name, f"{each['bits_per_byte']:.4f}", f"{each['bits_per_byte'] / exact - 1:+.2%}", f"{each['mb']:.0f}"]
        for name, each in found.items()
    ]
    table = rows(("export", "bits per byte", "lost", "MB"), body)
    publish(out, "low_precision", "Exports of lower precision", [result], text=[TEXT], table=table)


def scored(run: Path, dtype: str, quantize: Any, texts: list[str]) -> dict[str, float]:
    """Bits per byte of the texts, closing separators included, and the size of the export."""
    model, tokenizer = tfllm.load(run, dtype=dtype)
    with tempfile.TemporaryDirectory() as place:
        made = tfllm.export(model, tokenizer, place, quantize=quantize)
        size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        score = tf.saved_model.load(str(made)).signatures["score"]
        answers = [score(text=tf.constant(texts[i : i + 8])) for i in range(0, len(texts), 8)]
    nats = -sum(float(tf.reduce_sum(each["log_prob"])) for each in answers)
    return {
        "bits_per_byte": nats / math.log(2) / sum(int(tf.reduce_sum(each["num_bytes"])) for each in answers),
        "mb": size / 1e6,
    }


if __name__ == "__main__":
    tyro.cli(main)
