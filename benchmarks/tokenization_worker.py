"""One tokenizer in its own process: encodes one batch of texts, never seen before, a turn.

The job names the kind of tokenizer and a folder: `texts.json` holds batches of texts by name, the rest is the vocabulary
(`tokenization.py` writes both). A turn is told which texts; each round has a batch of its own. All are warm: traced, and tables
built. KerasHub's byte-level BPE remembers words, so it is made anew, and traced on other text, before each batch, outside the
clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

from turns import Meter, Run, peak_mb, serve, versions

Encode = Callable[[list[str]], Any]
WARM_UP = [f"{number} %\n" for number in range(256)]
PACKAGES = {"tfllm": "tensorflow-text", "tokenizers": "tokenizers", "sentencepiece": "sentencepiece", "keras_hub": "keras-hub"}


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    folder = Path(job["folder"])
    texts = json.loads((folder / "texts.json").read_text())
    make = CONTENDERS[job["contender"]](folder, job["kind"])
    encode = warm(make())

    def run(told: dict[str, Any]) -> dict[str, Any]:
        batch = texts[told["text"]][told["round"]]
        fresh = warm(make()) if job["contender"] == "keras_hub" else encode
        meter = Meter()
        fresh(batch)
        return meter.report() | {"megabytes": sum(len(text.encode()) for text in batch) / 1e6}

    package = PACKAGES[next(name for name in PACKAGES if job["contender"].startswith(name))]
    return run, {"peak_mb": peak_mb(), "versions": versions(package)}


def warm(encode: Encode) -> Encode:
    encode(WARM_UP)
    return encode


def in_graph(tokenize: Callable[..., Any]) -> Encode:
    import tensorflow as tf

    graph = tf.function(tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    return lambda lines: graph(tf.constant(lines))


def tfllm(folder: Path, kind: str) -> Any:
    import tfllm

    return tfllm.tokenizers.load(folder / "tfllm")


def looped(encode: Callable[[str], Any]) -> Encode:
    return lambda texts: [encode(text) for text in texts]


def native(folder: Path, kind: str) -> Any:
    """`tokenizers` with the same file."""
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def keras_hub(folder: Path, kind: str) -> Callable[[], Encode]:
    from keras_hub import tokenizers

    if kind == "unigram":
        return lambda: in_graph(tokenizers.SentencePieceTokenizer(str(folder / "unigram.model")).tokenize)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    if kind == "wordpiece":
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        made = {"vocabulary": pieces, "lowercase": True, "strip_accents": True, "split_on_cjk": True}
        return lambda: in_graph(tokenizers.WordPieceTokenizer(**made).tokenize)
    merges = [" ".join(merge) for merge in model["merges"]]

    def byte_bpe() -> Encode:
        fresh = tokenizers.BytePairTokenizer(model["vocab"], merges)
        return in_graph(lambda texts: fresh.tokenize(texts))

    return byte_bpe


def sentencepiece(folder: Path, kind: str) -> Callable[[], Encode]:
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "unigram.model"))
    return lambda: lambda lines: theirs.encode(lines, num_threads=os.cpu_count())


CONTENDERS: dict[str, Callable[[Path, str], Callable[[], Encode]]] = {
    "tfllm_graph": lambda *job: lambda: in_graph(tfllm(*job).tokenize),
    "tfllm": lambda *job: lambda: tfllm(*job).encode_batch,
    "tfllm_loop": lambda *job: lambda: looped(tfllm(*job).encode),
    "tokenizers": lambda *job: lambda: native(*job).encode_batch,
    "tokenizers_fast": lambda *job: lambda: native(*job).encode_batch_fast,
    "sentencepiece": sentencepiece,
    "keras_hub": keras_hub,
}


if __name__ == "__main__":
    serve(prepare)
