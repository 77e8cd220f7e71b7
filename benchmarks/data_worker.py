"""One contender of data_pipeline.py in its own process: text becomes a store, or a store becomes batches.

The job names a folder with `text/`, `tokenizer.json` (byte-level BPE of GPT-2's form), `tfllm/` (the same), and `store/` for
batches. `tfllm` prepares with all its processes, checksums and shards; `datasets` maps `tokenizers` over the documents with as
many processes and saves the ids. A turn of `batches` is told which pipeline, which length and how many steps.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes have a core each
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

from turns import Run, UnavailableError, peak_mb, serve, versions

MASKED: dict[str, dict[str, Any]] = {
    "masked, tokens": {},
    "masked, words": {"unit": "word"},
    "masked, spans": {"unit": "span"},
    "masked, pairs": {"pairs": "next", "unit": "word"},
}


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    folder = Path(job["folder"])
    run = {"tfllm": corpus, "datasets": mapped, "batches": batches}[job["contender"]](folder)
    package = "datasets" if job["contender"] == "datasets" else "tensorflow"
    return run, {"peak_mb": peak_mb(), "versions": versions(package)}


def corpus(folder: Path) -> Run:
    """`tfllm prepare`."""
    from tfllm.data import prepare as prepare_corpus
    from tfllm.tokenizers import load

    tokenizer = load(folder / "tfllm")

    def run(told: dict[str, Any]) -> dict[str, Any]:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        prepare_corpus(str(folder / "text" / "*.txt"), tokenizer, folder / "prepared", progress=False)
        return {}

    return run


def mapped(folder: Path) -> Run:
    """`datasets.Dataset.map` over batches of documents, saved as int32."""
    try:
        import datasets
    except ImportError as error:
        raise UnavailableError(f"{error}: pip install datasets") from error
    import tokenizers

    datasets.disable_caching()
    native = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def ids(batch: dict[str, Any]) -> dict[str, Any]:
        return {"ids": [row.ids for row in native.encode_batch_fast(batch["text"])]}

    def run(told: dict[str, Any]) -> dict[str, Any]:
        shutil.rmtree(folder / "mapped", ignore_errors=True)
        texts = [path.read_text() for path in sorted((folder / "text").glob("*.txt"))]
        rows = datasets.Dataset.from_dict({"text": texts})
        kind = datasets.Features({"ids": datasets.Sequence(datasets.Value("int32"))})
        made = rows.map(ids, batched=True, num_proc=os.cpu_count(), remove_columns=["text"], features=kind)
        made.save_to_disk(folder / "mapped")
        return {}

    return run


def batches(folder: Path) -> Run:
    """Batches of a store, with no model behind them."""
    from tfllm.data import Store, causal_lm, masked_lm
    from tfllm.tokenizers import load

    store, tokenizer, iterators = Store(folder / "store"), load(folder / "tfllm"), {}

    def run(told: dict[str, Any]) -> dict[str, Any]:
        key = (told["pipeline"], told["sequence_length"])
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
