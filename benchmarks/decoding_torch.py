"""Hugging Face's `generate` in PyTorch, a contender of decoding.py: float32, or weights and all in bfloat16 (`torch_bf16`)."""

from __future__ import annotations

from typing import Any

import psutil
import torch
import transformers
from decoding_models import folder_of, prompts_of
from turns import Run, peak_mb, serve, versions


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    torch.set_num_threads(psutil.cpu_count())
    dtype = torch.bfloat16 if job["contender"].endswith("_bf16") else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(folder_of(job["model"]) / "huggingface", dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    prompts = torch.tensor(prompts_of(job["model"]).token_ids)

    @torch.inference_mode()
    def run(told: dict[str, Any]) -> dict[str, Any]:
        rows = prompts[: told["batch"]]
        settings = {"max_new_tokens": told["new"], "do_sample": False, "pad_token_id": 0}
        found = model.generate(rows, attention_mask=torch.ones_like(rows), **settings)
        return {"token_ids": found[:, rows.shape[1] :].tolist()}

    return run, {"peak_mb": peak_mb(), "versions": versions("torch", "transformers")}


if __name__ == "__main__":
    serve(prepare)
