"""llama.cpp, a contender of decoding.py, through the C functions that `llama-cpp-python` binds.

`llama_cpp` runs float32 weights with a float32 cache; `llama_cpp_f16` and `llama_cpp_q8_0` smaller weights with llama.cpp's own
cache of float16. Rows are sequences of one batch, as llama.cpp's server has them. In an environment of its own, which builds
llama.cpp for this processor; tfllm is not imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import psutil
from turns import Run, peak_mb, serve, versions

FILES = {"llama_cpp": "float32.gguf", "llama_cpp_f16": "float16.gguf", "llama_cpp_q8_0": "q8_0.gguf"}
FLOAT32 = 0
"""GGML_TYPE_F32."""


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    folder = Path(job["folder"])
    prompts = np.array(json.loads((folder / "prompts.json").read_text())["token_ids"], np.int32)
    name = FILES[job["contender"]]
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(folder / name).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp does not load {folder / name}: see its messages above")

    def run(told: dict[str, Any]) -> dict[str, Any]:
        rows = prompts[: told["batch"]]
        context = open_context(model, rows, told["new"], float32=name == FILES["llama_cpp"])
        try:
            return {"token_ids": continue_rows(model, context, rows, told["new"]).tolist()}
        finally:
            llama_cpp.llama_free(context)

    return run, {"peak_mb": peak_mb(), "versions": versions("llama-cpp-python")}


def open_context(model: Any, rows: np.ndarray, new: int, *, float32: bool) -> Any:
    """Room for all rows."""
    settings = llama_cpp.llama_context_default_params()
    settings.n_seq_max = len(rows)
    settings.n_ctx = len(rows) * (rows.shape[1] + new)
    settings.n_batch = max(512, rows.size)
    settings.n_threads = settings.n_threads_batch = psutil.cpu_count()
    if float32:
        settings.type_k = settings.type_v = FLOAT32
    return llama_cpp.llama_init_from_model(model, settings)


def continue_rows(model: Any, context: Any, rows: np.ndarray, new: int) -> np.ndarray:
    """Greedily: int32 [B, S] -> [B, new]."""
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    count, length = rows.shape
    batch = llama_cpp.llama_batch_init(rows.size, 0, 1)
    chosen = np.zeros([count, new], np.int32)
    try:
        for step in range(new):
            ids = rows if step == 0 else chosen[:, step - 1 : step]
            fill(batch, ids, start=0 if step == 0 else length + step - 1)
            if llama_cpp.llama_decode(context, batch):
                raise RuntimeError(f"llama_decode fails at token {step} of {count} rows")
            scores = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=(count, vocabulary))
            chosen[:, step] = scores.argmax(1)
    finally:
        llama_cpp.llama_batch_free(batch)
    return chosen


def fill(batch: Any, ids: np.ndarray, *, start: int) -> None:
    """Row by row; scores are wanted of each row's last token."""
    batch.n_tokens = ids.size
    width = ids.shape[1]
    for place, token in enumerate(ids.flat):
        batch.token[place] = int(token)
        batch.pos[place] = start + place % width
        batch.n_seq_id[place] = 1
        batch.seq_id[place][0] = place // width
        batch.logits[place] = place % width == width - 1


if __name__ == "__main__":
    serve(prepare)
