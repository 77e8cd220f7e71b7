"""Renames the tensors of Hugging Face files, which any version of Transformers wrote, to the names of Transformers 5.

In: tensors by their names in the file. Out: the same tensors by their names in Transformers 5, without buffers and without
copies of tied tensors. A copy must be equal to its original.

    model.bert.embeddings.LayerNorm.gamma  ->  bert.embeddings.LayerNorm.weight
    encoder.layer.0.output.dense.weight    ->  bert.encoder.layer.0.output.dense.weight
    module.cls.predictions.bias            ->  cls.predictions.bias
    embeddings.position_ids                ->  (no tensor: it is 0, 1, 2, …)
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from tfllm.config import ModelConfig

Weights = dict[str, np.ndarray]


class _Stack(NamedTuple):
    """The names of a family's stack, which is the model without a head."""

    prefix: str
    table: str
    """Name of the token embeddings."""
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
    """The prefix of the names of a family's stack: "bert."."""
    return _STACKS.get(family, _LLAMA).prefix


def cut_vocabulary(weights: Weights, *, rows: int) -> Weights:
    """The weights with only the first `rows` rows of the embedding table and of the head. The others are unused."""
    return {name: value[:rows] if _OF_VOCABULARY.search(name) else value for name, value in weights.items()}


def canonical(weights: Weights, *, family: str, config: ModelConfig) -> Weights:
    """The tensors by their names in Transformers 5, without buffers and tied copies.

    Raises:
        ValueError: there are no token embeddings, or several; two tensors get the same name; or a copy differs from its
            original.
    """
    stack = _STACKS.get(family, _LLAMA)
    if config.tied_embeddings and "lm_head.weight" in weights and not any(name.endswith(stack.table) for name in weights):
        # If several names share a tensor, `safetensors.torch.save_model` writes only one of them.
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
            raise ValueError(f"the weights have {new} twice, once as {name}: expected one tensor of each name")
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
        raise ValueError(
            f"the weights have {there}, …: expected …{stack.table}, the token embeddings. Take weights and config.json from "
            "the same model."
        )
    raise ValueError(
        f"the weights have several models, with the prefixes {', '.join(map(repr, prefixes))}: expected one. Save one of them "
        "alone."
    )


def _drop_buffers(weights: Weights, config: ModelConfig) -> None:
    """Removes the buffers: constants that older versions saved with the weights."""
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
                f"{name} is invalid: expected the usual values of this buffer. Other positions, segments or masks are not "
                "supported."
            )
        del weights[name]


def _drop_copies(weights: Weights, stack: _Stack, config: ModelConfig) -> None:
    heads, table = ("cls.predictions", "lm_head"), stack.prefix + stack.table
    if not config.tied_embeddings:
        for head in heads:
            if (
                f"{head}.bias" in weights
            ):  # Transformers 4 writes one bias under two names; 5 writes another that it does not use
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
                f"{copy} is invalid: expected a copy of {original}. "
                + ('Write "tie_word_embeddings": false into config.json.' if original == table else "Save the model again.")
            )
