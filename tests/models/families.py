"""Every family of decoders in small, with weights large enough that no part of them can be left out unseen."""

import numpy as np

from tfllm.config import ModelConfig, RopeScaling
from tfllm.models import CausalLM

_SIZES = dict(vocab_size=41, max_length=32, num_layers=2, hidden_size=24, num_heads=4, ffn_size=40)
_LLAMA = dict(norm="rms", positions="rotary", activation="silu", gated_ffn=True, rope_theta=50.0) | dict(
    qkv_bias=False, attention_output_bias=False, ffn_bias=False
)

FAMILIES = {
    "gpt2": ModelConfig(**_SIZES),
    "llama": ModelConfig(
        **_SIZES | _LLAMA,
        num_kv_heads=2,
        tied_embeddings=False,
        rope_scaling=RopeScaling(factor=4.0, original_max_length=16),
    ),
    "qwen": ModelConfig(**_SIZES | _LLAMA | dict(qkv_bias=True), num_kv_heads=1, norm_epsilon=1e-6),
    "sliding window": ModelConfig(**_SIZES | _LLAMA, num_kv_heads=2, sliding_window=4),
    "sinusoidal": ModelConfig(**_SIZES, positions="sinusoidal", activation="relu"),
    "post-norm": ModelConfig(**_SIZES, norm_place="post", activation="gelu"),
    "qk-norm": ModelConfig(**_SIZES | _LLAMA, num_kv_heads=2, qk_norm=True),
    "qk-norm, layer": ModelConfig(**_SIZES, qk_norm=True, head_dim=10),
}


def strong(config: ModelConfig, *, seed: int = 0, dtype: str = "float32") -> CausalLM:
    """A model whose matrices have a standard deviation of 0.25, whose biases are not 0 and whose scales are not 1."""
    model = CausalLM(config, dtype=dtype)
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        centre = 1.0 if variable.path.endswith("scale") else 0.0
        variable.assign(random.normal(centre, 0.25, variable.shape))
    return model


def tokens(config: ModelConfig, rows: int, length: int, *, seed: int = 0) -> np.ndarray:
    """int32 [rows, length]."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, (rows, length)).astype(np.int32)
