"""One tokenizer of bulk.py, or one process of several: encodes its part of some megabytes of text a turn.

The job names the library, the kind and a folder: `texts.json` holds lists of texts by name, the rest is the vocabulary. With
PARTS in the environment, this process takes every PARTS-th text from the PART-th on, on one thread.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Meter, Run, peak_mb, serve, versions

Encode = Callable[[list[str]], Iterable[Any]]
PART, PARTS = int(os.environ.get("PART", 0)), int(os.environ.get("PARTS", 1))
THREADS = 1 if PARTS > 1 else os.cpu_count() or 1


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    folder = Path(job["folder"])
    texts = json.loads((folder / "texts.json").read_text())
    encode = LIBRARIES[job["library"]](folder, job["kind"], job["arrays"])
    encode([f"Warm {number}\n" for number in range(2000)])

    def run(told: dict[str, Any]) -> dict[str, Any]:
        mine = texts[told["text"]][told["round"]][PART::PARTS]
        meter = Meter()
        found = encode(mine)
        report = meter.report()
        rows = [np.array(getattr(row, "ids", row), np.int32) for row in found]
        checksum = sum(zlib.crc32(row, PART + PARTS * place) for place, row in enumerate(rows))
        megabytes = sum(len(text.encode()) for text in mine) / 1e6
        return report | {"megabytes": megabytes, "ids": sum(map(len, rows)), "checksum": checksum}

    package = {"tfllm": "numpy"}.get(job["library"], job["library"])
    return run, {"peak_mb": peak_mb(), "versions": versions(package)}


def tfllm(folder: Path, kind: str, arrays: bool) -> Encode:
    import tfllm

    tokenizer = tfllm.tokenizers.load(folder / "tfllm")
    if kind == "unigram":
        return lambda texts: tokenizer.encode_batch(texts, threads=THREADS)  # type: ignore[call-arg]
    return tokenizer.encode_batch


def tokenizers(folder: Path, kind: str, arrays: bool) -> Encode:
    from tokenizers import Tokenizer

    native = Tokenizer.from_file(str(folder / "tokenizer.json"))
    native.encode_special_tokens = kind == "byte_bpe"  # as tfllm has it: "<|endoftext|>" in a text is text
    if arrays:
        return lambda texts: [
            np.array(each.ids, np.int32) for each in native.encode_batch_fast(texts, add_special_tokens=False)
        ]
    return lambda texts: native.encode_batch_fast(texts, add_special_tokens=False)


def sentencepiece(folder: Path, kind: str, arrays: bool) -> Encode:
    from sentencepiece import SentencePieceProcessor

    native = SentencePieceProcessor(model_file=str(folder / "unigram.model"))
    if arrays:
        return lambda texts: [np.array(ids, np.int32) for ids in native.encode(texts, num_threads=THREADS)]
    return lambda texts: native.encode(texts, num_threads=THREADS)


LIBRARIES = {"tfllm": tfllm, "tokenizers": tokenizers, "sentencepiece": sentencepiece}


if __name__ == "__main__":
    serve(prepare)
