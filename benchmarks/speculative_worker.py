"""The contenders of speculative.py: `tfllm.generate` plainly, with prompt lookup (`lookup`), with a draft model (`draft`).

The job names the folder of `speculative_models.py`. A turn is told how many rows, the temperature and how many tokens each row
gets; it says which tokens those were, how many were drafted and how many of those accepted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from turns import Run, peak_mb, serve, versions


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    import tfllm

    folder, name = Path(job["folder"]), job["contender"]
    dtype = "mixed_bfloat16" if name.endswith("_bf16") else "float32"
    model, tokenizer = tfllm.load(folder / "target", dtype=dtype)
    options: dict[str, Any] = {} if name.startswith("plain") else {"num_draft_tokens": job["drafted"]}
    if name.startswith("draft"):
        options["draft_model"] = tfllm.load(folder / "draft", dtype=dtype)[0]
    prompts = json.loads((folder / "prompts.json").read_text())

    def run(told: dict[str, Any]) -> dict[str, Any]:
        first = max(told["round"], 0) * told["batch"]
        texts = [prompts[(first + row) % len(prompts)] for row in range(told["batch"])]
        settings = {"max_new_tokens": told["new"], "temperature": told["temperature"], "seed": max(told["round"], 0)}
        found = tfllm.generate(model, tokenizer, texts, **settings, **options)
        return {
            "token_ids": [each.token_ids for each in found],
            "drafted": sum(each.num_draft_tokens for each in found),
            "accepted": sum(each.num_accepted_tokens for each in found),
        }

    return run, {"peak_mb": peak_mb(), "versions": versions("tensorflow", "keras")}


if __name__ == "__main__":
    serve(prepare)
