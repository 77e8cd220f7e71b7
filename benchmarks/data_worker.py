"""One contender of data_pipeline.py in its own process: text becomes a store, or a store becomes batches.

The job names a folder with `text/` and, for batches, `store/`; and the folder of a vocabulary, with `tokenizer.json` (or
`unigram.model`) and `tfllm/`, the same. `tfllm` prepares with all its processes, checksums and shards; `tokenizers` and
`sentencepiece` encode all documents on threads of their own, and write the ids; `datasets` maps `tokenizers` over the documents
with as many processes and saves the ids. A turn of `batches` is told which pipeline, which size and how many steps.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
from turns import Run, UnavailableError, peak_mb, serve, versions

MASKED: dict[str, dict[str, Any]] = {
    "masked, tokens": {},
    "masked, words": {"unit": "word"},
    "masked, spans": {"unit": "span"},
    "masked, pairs": {"pairs": "nsp", "unit": "word"},
}


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    folder, vocabulary, name = Path(job["folder"]), Path(job["vocabulary"]), job["library"]
    made = {"tfllm": corpus, "tokenizers": directly, "sentencepiece": directly, "datasets": mapped, "batches": batches}
    run = made[name](folder, vocabulary)
    package = {"tfllm": "tensorflow", "batches": "tensorflow"}.get(name, name)
    return run, {"peak_mb": peak_mb(), "versions": versions(package)}


def corpus(folder: Path, vocabulary: Path) -> Run:
    """`tfllm prepare`."""
    from tfllm.data import prepare as prepare_corpus
    from tfllm.tokenizers import load

    tokenizer = load(vocabulary / "tfllm")

    def run(told: dict[str, Any]) -> dict[str, Any]:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        prepare_corpus(str(folder / "text" / "*.txt"), tokenizer, folder / "prepared", progress=False)
        return {}

    return run


def directly(folder: Path, vocabulary: Path) -> Run:
    """The library alone: all documents in one call, ids to one file as uint16."""
    encode = native(vocabulary)

    def run(told: dict[str, Any]) -> dict[str, Any]:
        texts = [path.read_text() for path in sorted((folder / "text").glob("*.txt"))]
        with (folder / "direct.tokens").open("wb") as file:
            for ids in encode(texts):
                np.array(ids, np.uint16).tofile(file)
        return {}

    return run


def native(vocabulary: Path) -> Callable[[list[str]], Iterable[list[int]]]:
    """Texts to their ids, on threads."""
    if (vocabulary / "unigram.model").exists():
        from sentencepiece import SentencePieceProcessor

        model = SentencePieceProcessor(model_file=str(vocabulary / "unigram.model"))
        return lambda texts: model.encode(texts, num_threads=os.cpu_count())
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(vocabulary / "tokenizer.json"))
    return lambda texts: (row.ids for row in library.encode_batch_fast(texts, add_special_tokens=False))


def mapped(folder: Path, vocabulary: Path) -> Run:
    """`datasets.Dataset.map` over batches of documents, saved as int32."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes have a core each
    try:
        import datasets
    except ImportError as error:
        raise UnavailableError(f"{error}: pip install datasets") from error
    datasets.disable_caching()
    encode = native(vocabulary)

    def ids(batch: dict[str, Any]) -> dict[str, Any]:
        return {"ids": list(encode(batch["text"]))}

    def run(told: dict[str, Any]) -> dict[str, Any]:
        shutil.rmtree(folder / "mapped", ignore_errors=True)
        texts = [path.read_text() for path in sorted((folder / "text").glob("*.txt"))]
        rows = datasets.Dataset.from_dict({"text": texts})
        kind = datasets.Features({"ids": datasets.Sequence(datasets.Value("int32"))})
        made = rows.map(ids, batched=True, num_proc=os.cpu_count(), remove_columns=["text"], features=kind)
        made.save_to_disk(folder / "mapped")
        return {}

    return run


def batches(folder: Path, vocabulary: Path) -> Run:
    """Batches of a store, with no model behind them."""
    from tfllm.data import Store, causal_lm, masked_lm
    from tfllm.tokenizers import load

    store, tokenizer, iterators = Store.open(folder / "store"), load(vocabulary / "tfllm"), {}

    def run(told: dict[str, Any]) -> dict[str, Any]:
        key = (told["pipeline"], told["sequence_length"], told["batch_size"])
        sizes = {"sequence_length": told["sequence_length"], "batch_size": told["batch_size"]}
        if key not in iterators:
            masked = key[0] in MASKED
            made = masked_lm(store, tokenizer, **sizes, **MASKED[key[0]]) if masked else causal_lm(store, **sizes)
            iterators[key] = iter(made)
        for _ in range(told["steps"]):
            next(iterators[key])
        return {}

    return run


if __name__ == "__main__":
    serve(prepare)
