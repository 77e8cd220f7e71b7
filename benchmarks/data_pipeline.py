"""How fast text becomes a store, and a store becomes batches.

    python benchmarks/data_pipeline.py [--folder /tmp/data_pipeline]

Corpus: the running Python's standard library. Prints MB/s of preparation (UTF-8 of the files, start-up and merging
included) by tokenizer and processes, then tokens/s of `causal_lm` and `masked_lm` (medians of five runs) and the time to
the first batch from step 0 and from step 1,000,000. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tfllm.tokenizers
from tfllm.data import Store, causal_lm, masked_lm, prepare

PATHS = Path(sysconfig.get_paths()["stdlib"], "**/*.py")
SETTINGS: dict[str, Any] = {"exclude": ["site-packages"], "invalid_utf8": "skip", "progress": False}

MASKED: dict[str, dict[str, Any]] = {
    "tokens": {},
    "words": {"unit": "word"},
    "spans": {"unit": "span"},
    "documents apart": {"document_masks": True},
    "next, words": {"pairs": "next", "unit": "word"},
    "order, spans": {"pairs": "order", "unit": "span"},
}


def prepared(folder: Path, tokenizer: Any, **settings: Any) -> Store:
    shutil.rmtree(folder, ignore_errors=True)
    began, used = time.perf_counter(), sum(os.times()[:4])
    store = prepare(PATHS, tokenizer, folder, **SETTINGS, **settings)
    seconds, used = time.perf_counter() - began, sum(os.times()[:4]) - used
    size = store.manifest["inputs"]["bytes"] / 1e6
    name = f"{tokenizer.kind} {tokenizer.vocab_size}"
    print(
        f"prepare  {name:<20} {settings!s:<22} {size / seconds:6.1f} MB/s "
        f"({size:.1f} MB in {seconds:.1f} s, {used:.1f} s of all cores)",
        flush=True,
    )
    return store


def batches(
    name: str, stores: Any, tokenizer: Any = None, *, sequence_length: int, batch_size: int = 16, **settings: Any
) -> None:
    """Of `masked_lm` where a tokenizer is given, else of `causal_lm`."""
    settings = {"sequence_length": sequence_length, "batch_size": batch_size, **settings}
    given = (stores,) if tokenizer is None else (stores, tokenizer)
    pipeline = causal_lm if tokenizer is None else masked_lm
    first = []
    for start in (0, 1_000_000):
        began = time.perf_counter()
        iterator = iter(pipeline(*given, start_step=start, **settings))
        next(iterator)
        first.append(time.perf_counter() - began)
    steps, rates = max(200, 2_000_000 // (sequence_length * batch_size)), []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(steps):
            next(iterator)
        rates.append(steps * sequence_length * batch_size / (time.perf_counter() - began) / 1e6)
    print(
        f"batches  {name:<24} S={sequence_length:<5} B={batch_size}  {statistics.median(rates):6.1f} million tokens/s; "
        f"first batch of step 0 after {first[0]:.2f} s, of step 1,000,000 after {first[1]:.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "tfllm_data_pipeline"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer = tfllm.tokenizers.ByteTokenizer()
    for processes in (1, None):
        one = prepared(folder / "one", byte_tokenizer, processes=processes)
    many = {shards: prepared(folder / f"many{shards}", byte_tokenizer, shards=shards) for shards in (8, 64)}
    unigram = tfllm.tokenizers.train([str(PATHS.parent.parent / "[a-j]*.py")], kind="unigram", vocab_size=4096)
    for processes in (1, None):
        prepared(folder / "unigram", unigram, processes=processes)
    for sequence_length in (256, 1024):
        batches("one shard", one, sequence_length=sequence_length)
        batches("one shard, masks", one, sequence_length=sequence_length, document_masks=True)
        for shards, store in many.items():
            batches(f"{shards} shards", store, sequence_length=sequence_length)
        batches("mixture of 1 + 8 shards", {one: 0.7, many[8]: 0.3}, sequence_length=sequence_length)
    for sequence_length, batch_size in ((128, 32), (512, 16)):
        shape = {"sequence_length": sequence_length, "batch_size": batch_size}
        for name, settings in MASKED.items():
            batches(f"masked: {name}", one, byte_tokenizer, **shape, **settings)
        batches("masked: next, 8 shards", many[8], byte_tokenizer, **shape, pairs="next")


if __name__ == "__main__":
    main()
