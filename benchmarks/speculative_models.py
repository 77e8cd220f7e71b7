"""The models that speculative.py runs: a target and a draft model, both trained for minutes on Python's own standard library.

    python benchmarks/speculative_models.py          # writes ~/.cache/tfllm-benchmarks/speculative

Enters: nothing. Leaves: a folder with the runs `target/` and `draft/` and `prompts.json`, beginnings of files that neither
model has seen; made once and kept. Random weights would say nothing here: what is gained depends on what texts repeat.
"""

from __future__ import annotations

import json
import os
import sysconfig
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from harness import CACHE

import tfllm
from tfllm.settings import Pretraining

VOCABULARY, PROMPTS, PROMPT_BYTES = 8192, 32, 600
MODELS = {
    "target": (dict(num_layers=6, hidden_size=512, num_heads=8, ffn_size=1536), 200),
    "draft": (dict(num_layers=2, hidden_size=192, num_heads=3, ffn_size=512), 300),
}
"""Sizes, and steps of 4096 tokens."""


def make() -> Path:
    """The folder. Killed at any moment, it goes on where it was."""
    folder = CACHE / "speculative"
    if (folder / "prompts.json").exists():
        return folder
    files = [f"{sysconfig.get_path('stdlib')}/**/*.py"]
    options = dict(exclude=["site-packages"], validation=0.05, invalid_utf8="skip")
    words = tfllm.tokenizers.ByteTokenizer()
    raw = tfllm.data.prepare(files, words, folder / "bytes", **options)
    if not (folder / "tokenizer").exists():
        trained = tfllm.tokenizers.train(texts=raw.texts("train", words), vocab_size=VOCABULARY, max_bytes=4 << 20)
        trained.save(folder / "tokenizer")
    tokenizer = tfllm.tokenizers.load(folder / "tokenizer")
    store = tfllm.data.prepare(files, tokenizer, folder / "store", **options)
    for name, (sizes, steps) in MODELS.items():
        config = tfllm.preset("llama-small", vocab_size=VOCABULARY, max_length=1024, **sizes)
        settings = Pretraining(
            epochs=steps // 50,
            steps_per_epoch=50,
            optimizer="muon",
            learning_rate=4e-3,
            dtype="auto",
            validation_steps=4,
        )
        tfllm.pretrain(store, tokenizer, config=config, folder=folder / name, settings=settings, verbose=2)
    held_out = [text for text in raw.texts("validation", words) if len(text) > 2 * PROMPT_BYTES]
    (folder / "prompts.json").write_text(json.dumps([text[:PROMPT_BYTES] for text in held_out[:PROMPTS]]))
    return folder


if __name__ == "__main__":
    print(make())
