"""The models that decoding.py runs: random weights, the same for every contender, in every contender's format.

    python benchmarks/decoding_models.py gpt2-small          # writes ~/.cache/tfllm-benchmarks/decoding/gpt2-small

Enters: a name. Leaves: a folder with `huggingface/` (also KerasHub's source), `float32.gguf`, `float16.gguf`, `q8_0.gguf`, and
`prompts.json` (texts, and their ids behind the opening separator), made once and kept.

The vocabulary is made up: three specials, the 256 bytes, then pairs of bytes. The specials' embeddings are zero, so their
score is 0, never the highest: no row ends early.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from harness import CACHE

from tfllm import ModelConfig, preset
from tfllm.files import publish_folder

MODELS = {"gpt2-small": "gpt2", "llama-135m": "smollm2-135m", "gpt2-tiny": "gpt2-tiny", "llama-tiny": "llama-tiny"}
"""Presets by name; the tiny ones are for trying things out."""
PROMPT_TOKENS, PROMPTS = 32, 32
SHARPER = 5.0
"""Fresh weights times this: as they are, a model says its last token again and again, and equal tokens would prove little."""
QUANTIZATIONS = ("float32", "float16", "q8_0")


@dataclasses.dataclass(frozen=True)
class Prompts:
    """As many rows as the largest batch has, all of `PROMPT_TOKENS` tokens."""

    texts: list[str]
    token_ids: list[list[int]]
    """The opening separator first."""


def config_of(name: str) -> ModelConfig:
    # As many positions as are needed here, in all libraries.
    return preset(MODELS[name], max_length=1024, dropout=0.0, attention_dropout=0.0)


def folder_of(name: str) -> Path:
    return CACHE / "decoding" / name


def prompts_of(name: str) -> Prompts:
    return Prompts(**json.loads((folder_of(name) / "prompts.json").read_text()))


def make(name: str) -> Path:
    """The folder, written unless it is there."""
    folder = folder_of(name)
    if not folder.exists():
        with publish_folder(folder) as partial:
            write_huggingface(config_of(name), partial)
            for kind in QUANTIZATIONS:
                write_gguf(partial, kind)
    return folder


def write_huggingface(config: ModelConfig, folder: Path) -> None:
    """`huggingface/` and `prompts.json`."""
    import tfllm

    tokenizer = made_up_tokenizer(config.vocab_size)
    model = tfllm.CausalLM(config, seed=0)
    for variable in model.variables:
        values = variable.numpy()
        if variable.path.endswith("token_embedding/embeddings"):
            values[:3] = 0
            variable.assign(values)
        elif variable.path.endswith("kernel"):
            variable.assign(values * SHARPER)
    tfllm.to_huggingface(model, tokenizer, folder / "huggingface")
    texts = [prompt(tokenizer, number) for number in range(PROMPTS)]
    ids = [[tokenizer.bos_id, *tokenizer.encode(text)] for text in texts]
    (folder / "prompts.json").write_text(json.dumps(dataclasses.asdict(Prompts(texts, ids))))


def made_up_tokenizer(vocab_size: int) -> Any:
    """Byte-level BPE whose merges are pairs of bytes, as many as there is room for."""
    from tfllm.tokenizers.base import SPECIAL_PIECES
    from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
    from tfllm.tokenizers.byte_bpe_files import AddedToken, Vocabulary
    from tfllm.tokenizers.byte_bpe_merges import byte_letters

    letters = [*byte_letters()]
    merges = [*itertools.islice(itertools.product(letters, letters), vocab_size - len(SPECIAL_PIECES) - len(letters))]
    pieces = {piece: id for id, piece in enumerate([*letters, *map("".join, merges)], len(SPECIAL_PIECES))}
    specials = [AddedToken(id, piece) for id, piece in enumerate(SPECIAL_PIECES)]
    return ByteBPETokenizer(Vocabulary(pieces, merges, specials).canonical())


def prompt(tokenizer: Any, number: int) -> str:
    """Words of two letters, a token each but for the space, until there are enough tokens."""
    draw, text = random.Random(number), ""
    while len(tokenizer.encode(text)) < PROMPT_TOKENS - 1:
        text += draw.choice("abcdefghijklmnopqrstuvwxyz")
    return text


def write_gguf(folder: Path, kind: str) -> None:
    """`KIND.gguf` of `huggingface/`. Vectors stay float32, as llama.cpp wants them. Source: the GGUF specification, and the
    order of rotary pairs in ggml, which turns neighbours where Hugging Face turns halves."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "huggingface" / "config.json").read_text())
    weights = load_file(folder / "huggingface" / "model.safetensors")
    gpt2 = config["model_type"] == "gpt2"
    writer = gguf.GGUFWriter(folder / f"{kind}.gguf", "gpt2" if gpt2 else "llama")
    _describe(writer, config)
    quantization = getattr(gguf.GGMLQuantizationType, {"float32": "F32", "float16": "F16", "q8_0": "Q8_0"}[kind])
    for name, values in _tensors(weights, config):
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            data = gguf.quants.quantize(np.ascontiguousarray(values), quantization)
            writer.add_tensor(name, data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any]) -> None:
    gpt2 = config["model_type"] == "gpt2"
    width, heads, layers = ("n_embd", "n_head", "n_layer") if gpt2 else _LLAMA_SIZES
    writer.add_context_length(config["n_positions" if gpt2 else "max_position_embeddings"])
    writer.add_embedding_length(config[width])
    writer.add_feed_forward_length(config["n_inner" if gpt2 else "intermediate_size"])
    writer.add_block_count(config[layers])
    writer.add_head_count(config[heads])
    if gpt2:
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
        writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")


_LLAMA_SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers")
_TOP = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
}
_BLOCK = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _tensors(weights: dict[str, np.ndarray], config: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Names and orientation of GGUF: matrices are [out, in]. The tied output matrix is left out."""
    found = []
    for name, values in sorted(weights.items()):
        stem, _, kind = name.rpartition(".")
        if stem == "lm_head":
            continue
        if stem in _TOP:
            found.append((f"{_TOP[stem]}.{kind}", values))
            continue
        number, _, part = stem.removeprefix("transformer.h.").removeprefix("model.layers.").partition(".")
        if "c_" in part and kind == "weight":
            values = values.T
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = config["num_attention_heads" if part == "self_attn.q_proj" else "num_key_value_heads"]
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        found.append((f"blk.{number}.{_BLOCK[part]}.{kind}", values))
    return found


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Writes models for decoding.py, unless they are there.")
    arguments.add_argument("names", nargs="+", choices=MODELS)
    for name in arguments.parse_args().names:
        print(make(name))
