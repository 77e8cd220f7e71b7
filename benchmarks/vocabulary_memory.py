"""Memory of training as the vocabulary grows: what is left of it beside weights, gradients and the optimizer's two slots.

    python benchmarks/vocabulary_memory.py

Enters: a shape (`shapes.py`), vocabularies. Leaves: `results/vocabulary_memory-V.json` and `vocabulary_memory.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro
from harness import Contender, measure
from report import RESULTS, publish, record, rows, usage, write

NUMBERS = 4
"""float32 numbers a parameter: weight, gradient, AdamW's slots."""
TEXT = """\
Written by `vocabulary_memory.py`. Peak MB: resident memory of a process that trains, TensorFlow itself included. The rest is
what is left of it without 16 bytes a parameter: weight, gradient and AdamW's two slots in float32."""


def main(
    shape: Literal["gpt-mini", "gpt2-small", "bert-mini", "bert-base"] = "gpt-mini",
    *,
    vocabularies: tuple[int, ...] = (8192, 32_768, 131_072),
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    rounds: int = 2,
    contenders: tuple[Literal["tfllm", "keras_hub"], ...] = ("tfllm", "keras_hub"),
    out: Path = RESULTS,
) -> None:
    """Measures the peak memory of training steps.

    Args:
        shape: sizes of the model and its batch, but for the vocabulary.
        vocabularies: sizes of those.
        precision: Keras dtype policy.
        rounds: turns of each contender with each vocabulary.
        contenders: libraries.
        out: folder of the results.
    """
    body, results = [], []
    for size in vocabularies:
        job = {"shape": shape, "precision": precision, "steps": 1, "changes": {"vocab_size": size}}
        measured = measure([Contender(name, "training_worker.py", job) for name in contenders], rounds=rounds)
        for name in measured.ready:
            peak, parameters = usage(measured.of(contender=name))["peak_mb"], measured.ready[name]["parameters"]
            state = NUMBERS * 4 * parameters / 2**20
            body.append([name, size, f"{parameters / 1e6:.1f}", f"{peak:.0f}", f"{state:.0f}", f"{peak - state:.0f}"])
        results.append(record(measured, shape=shape, precision=precision, vocabulary=size))
        write(out, f"vocabulary_memory-{size}", results[-1])
    table = rows(("contender", "vocabulary", "million parameters", "peak MB", "16 bytes a parameter, MB", "the rest, MB"), body)
    publish(out, "vocabulary_memory", "Memory and the vocabulary", results, text=TEXT.splitlines(), table=table)


if __name__ == "__main__":
    tyro.cli(main)
