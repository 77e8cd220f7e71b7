"""The architectures held against Hugging Face's, and how its parameters lie in ours.

Enters: a case's name, or a parameter's name in PyTorch. Leaves: configs, batches and weights drawn from fixed seeds, and
places in our variables. Neither PyTorch nor TensorFlow is imported: the golden files are read where only one of them is.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import NamedTuple

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

CASES = {
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


class Outcome(NamedTuple):
    """What a model says of a batch."""

    logits: np.ndarray
    """float32 [B, S, V]."""
    loss: float
    """Mean over the targets by their weights."""
    gradients: dict[str, np.ndarray]
    """Of the loss, by the parameter's name in PyTorch."""


class Place(NamedTuple):
    """Where a parameter of PyTorch lies in our variables."""

    variable: str
    columns: slice = slice(None)
    """Of the last axis."""
    transposed: bool = False


def batch(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    """Two rows of 17 tokens with uneven weights; with rotary positions, the second row stands further on."""
    random = np.random.RandomState(seed)
    shape = (2, 17)
    start = 100 if config.positions == "rotary" else 2
    return {
        "token_ids": random.randint(0, config.vocab_size, shape).astype(np.int32),
        "positions": np.add.outer([0, start], np.arange(17)).astype(np.int32),
        "target_ids": random.randint(0, config.vocab_size, shape).astype(np.int32),
        "target_weights": (random.uniform(0, 2, shape) * (random.uniform(size=shape) < 0.8)).astype(np.float32),
    }


def weight(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A parameter's value, from its name and a seed: large enough that no term is lost in the others."""
    noise = np.random.RandomState(zlib.crc32(f"{name}/{seed}".encode())).standard_normal(shape)
    if re.search(r"(norm|ln_\w+)\.weight$", name):
        return (1 + 0.3 * noise).astype(np.float32)
    return (0.25 * noise).astype(np.float32)


def places(config: ModelConfig) -> dict[str, Place]:
    """Our place of every parameter, by its name in PyTorch."""
    found = _gpt2_places(config) if config.positions == "learned" else _llama_places(config)
    if not config.tied_embeddings:
        found["lm_head.weight"] = Place("head/kernel")
    return found


def _gpt2_places(config: ModelConfig) -> dict[str, Place]:
    tables = ("tokens_embed", "positions_embed") if config.norm_place == "post" else ("wte", "wpe")
    found = {
        f"transformer.{tables[0]}.weight": Place("decoder/token_embedding/embeddings"),
        f"transformer.{tables[1]}.weight": Place("decoder/position_embedding/embeddings"),
    }
    if config.norm_place == "pre":
        found["transformer.ln_f.weight"] = Place("decoder/final_norm/scale")
        found["transformer.ln_f.bias"] = Place("decoder/final_norm/bias")
    layers = {"attn.c_attn": "attention/qkv", "attn.c_proj": "attention/output"}
    layers |= {"mlp.c_fc": "feedforward/up", "mlp.c_proj": "feedforward/down"}
    for i in range(config.num_layers):
        theirs, ours = f"transformer.h.{i}.", f"decoder/block_{i}/"
        for module, layer in (("ln_1", "attention_norm"), ("ln_2", "feedforward_norm")):
            found[f"{theirs}{module}.weight"] = Place(f"{ours}{layer}/scale")
            found[f"{theirs}{module}.bias"] = Place(f"{ours}{layer}/bias")
        for module, layer in layers.items():
            found[f"{theirs}{module}.weight"] = Place(f"{ours}{layer}/kernel")
            found[f"{theirs}{module}.bias"] = Place(f"{ours}{layer}/bias")
    return found


def _llama_places(config: ModelConfig) -> dict[str, Place]:
    heads, kv_heads = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    fused = {
        "q_proj": ("attention/qkv", slice(0, heads)),
        "k_proj": ("attention/qkv", slice(heads, heads + kv_heads)),
        "v_proj": ("attention/qkv", slice(heads + kv_heads, None)),
    }
    found = {
        "model.embed_tokens.weight": Place("decoder/token_embedding/embeddings"),
        "model.norm.weight": Place("decoder/final_norm/scale"),
    }
    for i in range(config.num_layers):
        theirs, ours = f"model.layers.{i}.", f"decoder/block_{i}/"
        found[f"{theirs}input_layernorm.weight"] = Place(f"{ours}attention_norm/scale")
        found[f"{theirs}post_attention_layernorm.weight"] = Place(f"{ours}feedforward_norm/scale")
        for module, (layer, columns) in fused.items():
            found[f"{theirs}self_attn.{module}.weight"] = Place(f"{ours}{layer}/kernel", columns, transposed=True)
            if config.qkv_bias:
                found[f"{theirs}self_attn.{module}.bias"] = Place(f"{ours}{layer}/bias", columns)
        if config.qk_norm:
            found[f"{theirs}self_attn.q_norm.weight"] = Place(f"{ours}attention/query_norm/scale")
            found[f"{theirs}self_attn.k_norm.weight"] = Place(f"{ours}attention/key_norm/scale")
        found[f"{theirs}self_attn.o_proj.weight"] = Place(f"{ours}attention/output/kernel", transposed=True)
        gate, up = slice(0, config.ffn_size), slice(config.ffn_size, None)
        found[f"{theirs}mlp.gate_proj.weight"] = Place(f"{ours}feedforward/up/kernel", gate, transposed=True)
        found[f"{theirs}mlp.up_proj.weight"] = Place(f"{ours}feedforward/up/kernel", up, transposed=True)
        found[f"{theirs}mlp.down_proj.weight"] = Place(f"{ours}feedforward/down/kernel", transposed=True)
    return found
