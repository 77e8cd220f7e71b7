"""The architectures and tasks held against Hugging Face's.

Enters: a case's name, or a parameter's name in PyTorch. Leaves: configs, and batches and weights drawn from fixed seeds.
Neither PyTorch nor TensorFlow is imported: the golden files are read where only one of them is.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfllm.config import ModelConfig, RopeScaling

GOLDEN = Path(__file__).parent.parent / "golden"

_LLAMA = dict(
    norm="rms",
    positions="rotary",
    activation="silu",
    gated_ffn=True,
    qkv_bias=False,
    attention_output_bias=False,
    ffn_bias=False,
    max_length=256,
)


class Case(NamedTuple):
    """A model and what it is for."""

    config: ModelConfig
    task: str = "causal_lm"
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """Of the task, as our model's constructor takes them."""


DECODERS = {
    "gpt2": ModelConfig(vocab_size=61, max_length=19, num_layers=3, hidden_size=18, num_heads=3, ffn_size=29),
    "llama": ModelConfig(
        **_LLAMA,
        **dict(vocab_size=67, num_layers=2, hidden_size=18, num_heads=6, num_kv_heads=2, head_dim=6, ffn_size=27),
        **dict(rope_theta=300.0, tied_embeddings=False),
    ),
    # Wavelengths 6.3, 30, 140 and 664: one is kept, one blended, two stretched.
    "llama-scaled": ModelConfig(
        **_LLAMA,
        **dict(vocab_size=53, num_layers=2, hidden_size=24, num_heads=4, num_kv_heads=2, head_dim=8, ffn_size=31),
        **dict(rope_theta=500.0, rope_scaling=RopeScaling(factor=8.0, original_max_length=64)),
    ),
    "qwen2": ModelConfig(
        **_LLAMA | dict(qkv_bias=True),
        **dict(vocab_size=59, num_layers=3, hidden_size=16, num_heads=4, num_kv_heads=2, ffn_size=21),
        **dict(rope_theta=1_000.0, norm_epsilon=1e-6),
    ),
    # The first GPT: norms after each sum. Mistral: a sliding window. Qwen 3: norms of queries and keys.
    "gpt": ModelConfig(
        **dict(vocab_size=43, max_length=19, num_layers=2, hidden_size=12, num_heads=3, norm_place="post"),
    ),
    "mistral": ModelConfig(
        **_LLAMA,
        **dict(vocab_size=47, num_layers=2, hidden_size=16, num_heads=4, num_kv_heads=2, ffn_size=23),
        **dict(rope_theta=100.0, sliding_window=5, tied_embeddings=False),
    ),
    "qwen3": ModelConfig(
        **_LLAMA,
        **dict(vocab_size=43, num_layers=2, hidden_size=16, num_heads=4, num_kv_heads=2, head_dim=6, ffn_size=23),
        **dict(rope_theta=100.0, qk_norm=True, norm_epsilon=1e-6),
    ),
}

_BERT = ModelConfig(
    **dict(vocab_size=61, max_length=23, num_layers=2, hidden_size=18, num_heads=3, ffn_size=29, causal=False, num_types=3),
    **dict(norm_place="post", embedding_norm=True, norm_epsilon=1e-12, activation="gelu"),
)
_ROBERTA = ModelConfig(
    **dict(vocab_size=53, max_length=19, num_layers=2, hidden_size=20, num_heads=5, ffn_size=27, causal=False, num_types=1),
    **dict(norm_place="post", embedding_norm=True, norm_epsilon=1e-5, activation="gelu", position_offset=2),
)
POOLED = dict(pooling="pooler")
LABELS = dict(labels=["a", "b", "c", "d", "e"])

ENCODERS = {
    "bert-pretraining": Case(_BERT.replace(pooler=True), "masked_lm", dict(next_sentence=True)),
    "roberta-masked-lm": Case(_ROBERTA, "masked_lm"),
    "bert-classifier": Case(_BERT.replace(pooler=True), "text_classifier", LABELS | POOLED | dict(multi_label=False)),
    "roberta-classifier": Case(_ROBERTA.replace(pooler=True), "text_classifier", LABELS | POOLED | dict(multi_label=True)),
    "bert-tagger": Case(_BERT, "token_classifier", LABELS),
    "bert-questions": Case(_BERT, "question_answerer"),
}

CASES = {name: Case(config) for name, config in DECODERS.items()} | ENCODERS
STATES = ("gpt2", "mistral", "bert-tagger")
"""Cases whose hidden states and attentions are recorded, too (`record_states.py`)."""


class Outcome(NamedTuple):
    """What a model says of a batch."""

    logits: dict[str, np.ndarray]
    """"logits", and a next-sentence head's "pair_logits"; float32, 0 on padding."""
    loss: float
    """Of the objective, over its weight."""
    gradients: dict[str, np.ndarray]
    """Of the loss, by the parameter's name in PyTorch."""


def batch(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Rows of 17 tokens with uneven weights, and what the case's task reads beside them."""
    random = np.random.RandomState(seed)
    return _packed(case.config, random) if case.config.causal else _padded(case, random)


def _packed(config: ModelConfig, random: np.random.RandomState) -> dict[str, np.ndarray]:
    """Two rows; with rotary positions, the second stands further on."""
    shape = (2, 17)
    start = 100 if config.positions == "rotary" else 2
    return {
        "token_ids": random.randint(0, config.vocab_size, shape).astype(np.int32),
        "positions": np.add.outer([0, start], np.arange(17)).astype(np.int32),
        "target_ids": random.randint(0, config.vocab_size, shape).astype(np.int32),
        "target_weights": (random.uniform(0, 2, shape) * (random.uniform(size=shape) < 0.8)).astype(np.float32),
    }


def _padded(case: Case, random: np.random.RandomState) -> dict[str, np.ndarray]:
    """Three rows of 17, 11 and 5 tokens; RoBERTa's padding has id 1, BERT's 0, and no other token has."""
    config, shape, lengths = case.config, (3, 17), np.array([17, 11, 5])
    there = (np.arange(17) < lengths[:, None]).astype(np.int32)
    pad = max(config.position_offset - 1, 0)
    tokens = random.randint(2, config.vocab_size, shape)
    features = {
        "token_ids": np.where(there, tokens, pad).astype(np.int32),
        "segment_ids": there,
        "type_ids": (random.randint(0, config.num_types, shape) * there).astype(np.int32),
        "row_weights": np.array([0.5, 1.7, 1.1], np.float32),
    }
    labels = len(case.settings.get("labels", ()))
    if case.task == "masked_lm":
        features["target_places"] = (random.uniform(size=(3, 4)) * lengths[:, None]).astype(np.int32)
        features["target_ids"] = random.randint(0, config.vocab_size, (3, 4)).astype(np.int32)
        features["target_weights"] = random.uniform(0, 2, (3, 4)).astype(np.float32) * [
            [1, 1, 1, 1],
            [1, 1, 0, 0],
            [1, 0, 0, 0],
        ]
        features["target_weights"] = features["target_weights"].astype(np.float32)
        features["pair_labels"] = np.array([0, 1, 1], np.int32)
    elif case.task == "token_classifier":
        features["target_ids"] = random.randint(0, labels, shape).astype(np.int32)
        features["target_weights"] = (random.uniform(0, 2, shape) * there).astype(np.float32)
    elif case.task == "question_answerer":
        features["answer_places"] = there
        features["span_starts"], features["span_ends"] = np.array([[3, 0, 2], [9, 0, 4]], np.int32)
    elif case.task == "text_regressor":
        features["labels"] = np.array([0.3, -1.2, 2.0], np.float32)
    elif case.settings.get("multi_label"):
        features["labels"] = random.randint(0, 2, (3, labels)).astype(np.float32)
    else:
        features["labels"] = random.randint(0, labels, 3).astype(np.int32)
    return features


def there(case: Case, logits: np.ndarray, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Logits with 0 on padding, which each sees other tokens from."""
    if case.task == "token_classifier":
        return logits * batch["segment_ids"][:, :, None]
    return logits * batch["segment_ids"][:, None] if case.task == "question_answerer" else logits


def weight(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A parameter's value, from its name and a seed: large enough that no term is lost in the others."""
    noise = np.random.RandomState(zlib.crc32(f"{name}/{seed}".encode())).standard_normal(shape)
    if re.search(r"(norm|ln_\w+)\.weight$", name, re.IGNORECASE):
        return (1 + 0.3 * noise).astype(np.float32)
    return (0.25 * noise).astype(np.float32)
