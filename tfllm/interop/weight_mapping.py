"""Which variable of our models holds each parameter of a Hugging Face model.

In: a family (`model_type`), a config, and a task, whose head has its own mapping (`heads.py`). Out: a `WeightSlice` for the
name of each parameter in PyTorch. Reading, writing and the comparison of gradients use the same table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfllm import tasks
from tfllm.config import ModelConfig


class WeightSlice(NamedTuple):
    """The part of a variable of ours that holds a parameter of a PyTorch model."""

    variable: str
    columns: slice = slice(None)
    """Slice of the last axis."""
    transposed: bool = False

    def of(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """The parameter as a view of our values, for reading and for assignment."""
        part = values[self.variable][..., self.columns]
        return part.T if self.transposed else part


WeightMapping = dict[str, WeightSlice]


def weight_mapping(family: str, config: ModelConfig, task: str, *, next_sentence: bool = False) -> WeightMapping:
    """For each parameter, by its name in PyTorch, the part of our variables that holds it.

    >>> weight_mapping("bert", preset("bert-tiny"), "masked_lm")["cls.predictions.bias"].variable
    'head/bias'
    """
    head = tasks.resolve(tasks.get(task).huggingface)()
    if family in ("bert", "roberta"):
        found = _encoder(family, config, pooler=config.pooler and not head.pools(family))
    else:
        found = _llama(config) if config.positions == "rotary" else _gpt(family, config)
    return found | head.weight_mapping(family, config, next_sentence=next_sentence)


def dense(theirs: str, ours: str, columns: slice = slice(None)) -> WeightMapping:
    """The mapping of a dense layer. The weight in PyTorch is [O, I], our kernel is [I, O]."""
    return {
        f"{theirs}.weight": WeightSlice(f"{ours}/kernel", columns, transposed=True),
        f"{theirs}.bias": WeightSlice(f"{ours}/bias", columns),
    }


def norm(theirs: str, ours: str) -> WeightMapping:
    """The mapping of a layer normalization."""
    return {f"{theirs}.weight": WeightSlice(f"{ours}/scale"), f"{theirs}.bias": WeightSlice(f"{ours}/bias")}


def _encoder(family: str, config: ModelConfig, pooler: bool) -> WeightMapping:
    found: WeightMapping = {}
    for table in ("token", "position", "type"):
        theirs = {"token": "word", "position": "position", "type": "token_type"}[table]
        found[f"{family}.embeddings.{theirs}_embeddings.weight"] = WeightSlice(f"encoder/{table}_embedding/embeddings")
    found |= norm(f"{family}.embeddings.LayerNorm", "encoder/embedding_norm")
    width = config.hidden_size
    for i in range(config.num_layers):
        theirs, ours = f"{family}.encoder.layer.{i}", f"encoder/block_{i}"
        for part, name in enumerate(("query", "key", "value")):
            columns = slice(part * width, (part + 1) * width)
            found |= dense(f"{theirs}.attention.self.{name}", f"{ours}/attention/qkv", columns)
        found |= dense(f"{theirs}.attention.output.dense", f"{ours}/attention/output")
        found |= norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/attention_norm")
        found |= dense(f"{theirs}.intermediate.dense", f"{ours}/feedforward/up")
        found |= dense(f"{theirs}.output.dense", f"{ours}/feedforward/down")
        found |= norm(f"{theirs}.output.LayerNorm", f"{ours}/feedforward_norm")
    if pooler:
        found |= dense(f"{family}.pooler.dense", "encoder/pooler/dense")
    return found


def _gpt(family: str, config: ModelConfig) -> WeightMapping:
    tables = ("tokens_embed", "positions_embed") if family == "openai-gpt" else ("wte", "wpe")
    found = {
        f"transformer.{tables[0]}.weight": WeightSlice("decoder/token_embedding/embeddings"),
        f"transformer.{tables[1]}.weight": WeightSlice("decoder/position_embedding/embeddings"),
    }
    if config.norm_place == "pre":
        found |= norm("transformer.ln_f", "decoder/final_norm")
    layers = {"attn.c_attn": "attention/qkv", "attn.c_proj": "attention/output"}
    layers |= {"mlp.c_fc": "feedforward/up", "mlp.c_proj": "feedforward/down"}
    for i in range(config.num_layers):
        theirs, ours = f"transformer.h.{i}", f"decoder/block_{i}"
        found |= norm(f"{theirs}.ln_1", f"{ours}/attention_norm")
        found |= norm(f"{theirs}.ln_2", f"{ours}/feedforward_norm")
        for module, layer in layers.items():  # these weights are [I, O], as ours are
            found[f"{theirs}.{module}.weight"] = WeightSlice(f"{ours}/{layer}/kernel")
            found[f"{theirs}.{module}.bias"] = WeightSlice(f"{ours}/{layer}/bias")
    return found


def _llama(config: ModelConfig) -> WeightMapping:
    heads, kv_heads = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    fused = {
        "q_proj": slice(0, heads),
        "k_proj": slice(heads, heads + kv_heads),
        "v_proj": slice(heads + kv_heads, None),
    }
    found = {
        "model.embed_tokens.weight": WeightSlice("decoder/token_embedding/embeddings"),
        "model.norm.weight": WeightSlice("decoder/final_norm/scale"),
    }
    for i in range(config.num_layers):
        theirs, ours = f"model.layers.{i}", f"decoder/block_{i}"
        found[f"{theirs}.input_layernorm.weight"] = WeightSlice(f"{ours}/attention_norm/scale")
        found[f"{theirs}.post_attention_layernorm.weight"] = WeightSlice(f"{ours}/feedforward_norm/scale")
        maps: WeightMapping = {}
        for module, columns in fused.items():
            maps |= dense(f"{theirs}.self_attn.{module}", f"{ours}/attention/qkv", columns)
        maps |= dense(f"{theirs}.self_attn.o_proj", f"{ours}/attention/output")
        maps |= dense(f"{theirs}.mlp.gate_proj", f"{ours}/feedforward/up", slice(0, config.ffn_size))
        maps |= dense(f"{theirs}.mlp.up_proj", f"{ours}/feedforward/up", slice(config.ffn_size, None))
        maps |= dense(f"{theirs}.mlp.down_proj", f"{ours}/feedforward/down")
        biased = {"qkv": config.qkv_bias, "output": config.attention_output_bias}
        biased |= {"up": config.ffn_bias, "down": config.ffn_bias}
        found |= {
            name: place
            for name, place in maps.items()
            if name.endswith(".weight") or biased[place.variable.removesuffix("/bias").rpartition("/")[2]]
        }
        if config.qk_norm:
            found[f"{theirs}.self_attn.q_norm.weight"] = WeightSlice(f"{ours}/attention/query_norm/scale")
            found[f"{theirs}.self_attn.k_norm.weight"] = WeightSlice(f"{ours}/attention/key_norm/scale")
    return found
