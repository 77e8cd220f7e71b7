"""Tensor names of Hugging Face files of any age, made those of Transformers 5.

In: tensors by the names of the file. Out: the same tensors by today's names, without buffers and without copies of tied
tensors; a copy is compared with its original first.

    model.bert.embeddings.LayerNorm.gamma  ->  bert.embeddings.LayerNorm.weight
    encoder.layer.0.output.dense.weight    ->  bert.encoder.layer.0.output.dense.weight
    module.cls.predictions.bias            ->  cls.predictions.bias
    embeddings.position_ids                ->  (0, 1, 2, … is left out)
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from tfllm.config import ModelConfig

Weights = dict[str, np.ndarray]


class _Stack(NamedTuple):
    """How a family calls what stands under every head."""

    prefix: str
    table: str
    """Embeddings of the tokens."""
    parts: tuple[str, ...]


_LLAMA = _Stack("model.", "embed_tokens.weight", ("embed_tokens", "layers", "norm"))
_STACKS = {
    "bert": _Stack("bert.", "embeddings.word_embeddings.weight", ("embeddings", "encoder", "pooler")),
    "roberta": _Stack("roberta.", "embeddings.word_embeddings.weight", ("embeddings", "encoder", "pooler")),
    "gpt2": _Stack("transformer.", "wte.weight", ("wte", "wpe", "h", "ln_f")),
    "openai-gpt": _Stack("transformer.", "tokens_embed.weight", ("tokens_embed", "positions_embed", "h")),
}
_OF_VOCABULARY = re.compile(
    r"\.(word_embeddings|wte|tokens_embed|embed_tokens)\.weight$|^(cls\.predictions|lm_head)\.(decoder\.)?(weight|bias)$"
)


def stack_prefix(family: str) -> str:
    """What the names of a family's stack begin with: "bert."."""
    return _STACKS.get(family, _LLAMA).prefix


def cut_vocabulary(weights: Weights, *, rows: int) -> Weights:
    """Without the rows behind `rows` of the table and the head: ids of no tokenizer, which pad a table to a round size."""
    return {name: value[:rows] if _OF_VOCABULARY.search(name) else value for name, value in weights.items()}


def canonical(weights: Weights, *, family: str, config: ModelConfig) -> Weights:
    """Tensors by the names Transformers 5 gives them; buffers and tied copies are left out.

    Raises:
        ValueError: there are no embeddings, or several; two names are one; a copy is not equal to what it copies.
    """
    stack = _STACKS.get(family, _LLAMA)
    if config.tied_embeddings and "lm_head.weight" in weights and not any(name.endswith(stack.table) for name in weights):
        # `safetensors.torch.save_model` keeps one of the names that share a tensor.
        weights = {stack.prefix + stack.table if name == "lm_head.weight" else name: weights[name] for name in weights}
    prefix = _prefix(weights, stack)
    outer = prefix.removesuffix(stack.prefix)
    found: Weights = {}
    for name, value in weights.items():
        new = name.removeprefix(outer)
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and inner.partition(".")[0] in stack.parts:
            new = stack.prefix + inner
        new = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", new))
        if new in found:
            raise ValueError(f"the file holds {new} twice, once as {name}")
        found[new] = value
    _drop_buffers(found, config)
    _drop_copies(found, stack, config)
    return found


def _prefix(weights: Weights, stack: _Stack) -> str:
    prefixes = [name.removesuffix(stack.table) for name in weights if f".{name}".endswith(f".{stack.table}")]
    if len(prefixes) == 1:
        return prefixes[0]
    there = ", ".join(sorted(weights)[:6]) or "nothing"
    if not prefixes:
        raise ValueError(f"no tensor is called …{stack.table}; the file holds {there}, …. Does config.json belong to it?")
    raise ValueError(f"several models in one file, with the prefixes {', '.join(map(repr, prefixes))}; save one of them alone")


def _drop_buffers(weights: Weights, config: ModelConfig) -> None:
    """Constants that older versions saved beside the weights."""
    for name in list(weights):
        value, expected = weights[name], weights[name]
        if name.endswith("embeddings.position_ids"):
            expected = np.arange(value.size).reshape(value.shape)
        elif name.endswith("embeddings.token_type_ids"):
            expected = np.zeros_like(value)
        elif re.search(r"\.attn\.bias$", name) and value.ndim == 4:
            expected = np.tril(np.ones(value.shape[2:]))[None, None]
        elif name.endswith(".rotary_emb.inv_freq") and not config.rope_scaling:
            expected = config.rope_theta ** -(np.arange(value.size) / value.size)
        elif not name.endswith((".attn.masked_bias", ".rotary_emb.inv_freq")):
            continue
        if not np.allclose(value, expected, rtol=1e-2, atol=0):  # frequencies may be rounded to 16 bits
            raise ValueError(
                f"the buffer {name} is not the usual one: this model counts or masks in a way that is not supported"
            )
        del weights[name]


def _drop_copies(weights: Weights, stack: _Stack, config: ModelConfig) -> None:
    heads, table = ("cls.predictions", "lm_head"), stack.prefix + stack.table
    if not config.tied_embeddings:
        for head in heads:
            if f"{head}.bias" in weights:  # Transformers 4 kept one bias under two names, 5 keeps one that it never uses
                weights.setdefault(f"{head}.decoder.bias", weights.pop(f"{head}.bias"))
        return
    copies = [(f"{head}.decoder.bias", f"{head}.bias") for head in heads]
    copies += [(name, table) for name in ("cls.predictions.decoder.weight", "lm_head.decoder.weight", "lm_head.weight")]
    for copy, original in copies:
        if copy not in weights:
            continue
        value = weights.pop(copy)
        if original not in weights:
            weights[original] = value
        elif not np.array_equal(value, weights[original]):
            raise ValueError(
                f"{copy} should be a copy of {original}, and is not. "
                + ('Put "tie_word_embeddings": false into config.json' if original == table else "Save the model again")
            )
