"""Named architectures: data only. Weights and tokenizers of the published models are loaded elsewhere.

Sources: Radford et al. 2019 (GPT-2), Touvron et al. 2023 (Llama 2), Grattafiori et al. 2024 (Llama 3.2), Qwen team 2024
(Qwen 2.5), Allal et al. 2025 (SmolLM 2); Devlin et al. 2018 (BERT), Turc et al. 2019 (its small sizes), Liu et al. 2019
(RoBERTa), Wang et al. 2020 (MiniLM), Warner et al. 2024 (the modern encoders' shape). The other minis are ours, for tests,
demos and small machines.
"""

from __future__ import annotations

from typing import Any

from tfllm.config import ModelConfig, RopeScaling

_GPT2: dict[str, Any] = dict(vocab_size=50_257, max_length=1024, dropout=0.1, attention_dropout=0.1)
_LLAMA: dict[str, Any] = dict(
    norm="rms",
    positions="rotary",
    activation="silu",
    gated_ffn=True,
    qkv_bias=False,
    attention_output_bias=False,
    ffn_bias=False,
)
_BERT: dict[str, Any] = dict(
    vocab_size=30_522,
    max_length=512,
    causal=False,
    num_types=2,
    norm_place="post",
    norm_epsilon=1e-12,
    embedding_norm=True,
    activation="gelu",
    pooler=True,
    dropout=0.1,
    attention_dropout=0.1,
)
_MODERN_ENCODER: dict[str, Any] = dict(
    causal=False,
    positions="rotary",
    embedding_norm=True,
    activation="gelu_tanh",
    gated_ffn=True,
    qkv_bias=False,
    attention_output_bias=False,
    ffn_bias=False,
)

_PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": _GPT2 | dict(num_layers=12, hidden_size=768, num_heads=12),
    "gpt2-medium": _GPT2 | dict(num_layers=24, hidden_size=1024, num_heads=16),
    "gpt2-large": _GPT2 | dict(num_layers=36, hidden_size=1280, num_heads=20),
    "gpt2-xl": _GPT2 | dict(num_layers=48, hidden_size=1600, num_heads=25),
    "gpt2-mini": _GPT2 | dict(vocab_size=8192, max_length=256, num_layers=6, hidden_size=384, num_heads=6),
    "gpt2-tiny": _GPT2 | dict(vocab_size=512, max_length=64, num_layers=2, hidden_size=64, num_heads=4),
    "llama-2-7b": _LLAMA
    | dict(vocab_size=32_000, max_length=4096, num_layers=32, hidden_size=4096, num_heads=32)
    | dict(ffn_size=11_008, tied_embeddings=False),
    "llama-3.2-1b": _LLAMA
    | dict(vocab_size=128_256, max_length=131_072, num_layers=16, hidden_size=2048, num_heads=32)
    | dict(num_kv_heads=8, ffn_size=8192, rope_theta=500_000.0, rope_scaling=RopeScaling(factor=32.0)),
    "qwen2.5-0.5b": _LLAMA
    | dict(vocab_size=151_936, max_length=32_768, num_layers=24, hidden_size=896, num_heads=14)
    | dict(num_kv_heads=2, ffn_size=4864, rope_theta=1_000_000.0, norm_epsilon=1e-6, qkv_bias=True),
    "smollm2-135m": _LLAMA
    | dict(vocab_size=49_152, max_length=8192, num_layers=30, hidden_size=576, num_heads=9)
    | dict(num_kv_heads=3, ffn_size=1536, rope_theta=100_000.0),
    "llama-mini": _LLAMA
    | dict(
        vocab_size=8192,
        max_length=256,
        num_layers=4,
        hidden_size=256,
        num_heads=4,
        ffn_size=768,
        qk_norm=True,
    ),
    "llama-small": _LLAMA
    | dict(
        vocab_size=8192,
        max_length=512,
        num_layers=6,
        hidden_size=384,
        num_heads=6,
        ffn_size=1024,
        qk_norm=True,
    ),
    "llama-tiny": _LLAMA
    | dict(vocab_size=512, max_length=64, num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, ffn_size=128),
    "bert-tiny": _BERT | dict(num_layers=2, hidden_size=128, num_heads=2),
    "bert-mini": _BERT | dict(num_layers=4, hidden_size=256, num_heads=4),
    "bert-small": _BERT | dict(num_layers=4, hidden_size=512, num_heads=8),
    "bert-medium": _BERT | dict(num_layers=8, hidden_size=512, num_heads=8),
    "bert-base-uncased": _BERT | dict(num_layers=12, hidden_size=768, num_heads=12),
    "bert-base-cased": _BERT | dict(vocab_size=28_996, num_layers=12, hidden_size=768, num_heads=12),
    "bert-large-uncased": _BERT | dict(num_layers=24, hidden_size=1024, num_heads=16),
    "minilm-l6-h384": _BERT | dict(num_layers=6, hidden_size=384, num_heads=12),
    "roberta-base": _BERT
    | dict(vocab_size=50_265, num_types=1, position_offset=2, norm_epsilon=1e-5)
    | dict(num_layers=12, hidden_size=768, num_heads=12),
    "modern-encoder-mini": _MODERN_ENCODER
    | dict(vocab_size=8192, max_length=1024, num_layers=6, hidden_size=256, num_heads=4, ffn_size=384),
    "modern-encoder-base": _MODERN_ENCODER
    | dict(vocab_size=50_368, max_length=8192, num_layers=22, hidden_size=768, num_heads=12, ffn_size=1152),
}


def preset(name: str, **overrides: Any) -> ModelConfig:
    """The architecture called `name`, with some fields changed.

    >>> preset("gpt2", max_length=512).num_parameters()
    124046592

    Raises:
        ValueError: no preset has that name, or a field is unknown or not accepted.
    """
    if name not in _PRESETS:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(preset_names())}")
    return ModelConfig(**_PRESETS[name]).replace(**overrides)


def preset_names() -> list[str]:
    """Every name `preset` accepts, sorted."""
    return sorted(_PRESETS)
