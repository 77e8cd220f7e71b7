"""Hugging Face's model of one of our configs, in PyTorch, and what it says of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from cases import Outcome, weight

from tfllm.config import ModelConfig

_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}


def peer(config: ModelConfig) -> Any:
    """The same architecture: `OpenAIGPTLMHeadModel`, `GPT2LMHeadModel`, `LlamaForCausalLM` or one of its kin."""
    shared = dict(
        vocab_size=config.vocab_size,
        initializer_range=config.initializer_range,
        tie_word_embeddings=config.tied_embeddings,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
    )
    if config.norm_place == "post":
        return transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(
                **shared,
                n_positions=config.max_length,
                n_embd=config.hidden_size,
                n_layer=config.num_layers,
                n_head=config.num_heads,
                afn="gelu",
                layer_norm_epsilon=config.norm_epsilon,
                **dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
            )
        )
    if config.positions == "learned":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                **shared,
                n_positions=config.max_length,
                n_embd=config.hidden_size,
                n_layer=config.num_layers,
                n_head=config.num_heads,
                n_inner=config.ffn_size,
                activation_function=_ACTIVATIONS[config.activation],
                layer_norm_epsilon=config.norm_epsilon,
                **dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
            )
        )
    kind = "Qwen3" if config.qk_norm else "Mistral" if config.sliding_window else "Qwen2" if config.qkv_bias else "Llama"
    if kind == "Mistral":
        shared["sliding_window"] = config.sliding_window
    settings = getattr(transformers, f"{kind}Config")(
        **shared,
        max_position_embeddings=config.max_length,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.ffn_size,
        hidden_act=_ACTIVATIONS[config.activation],
        rms_norm_eps=config.norm_epsilon,
        rope_parameters=_rope(config),
    )
    return getattr(transformers, f"{kind}ForCausalLM")(settings)


def _rope(config: ModelConfig) -> dict[str, Any]:
    if config.rope_scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    return {
        "rope_type": "llama3",
        "rope_theta": config.rope_theta,
        "factor": config.rope_scaling.factor,
        "low_freq_factor": config.rope_scaling.low_frequency_factor,
        "high_freq_factor": config.rope_scaling.high_frequency_factor,
        "original_max_position_embeddings": config.rope_scaling.original_max_length,
    }


def theirs(config: ModelConfig, batch: dict[str, np.ndarray], seed: int) -> Outcome:
    """Logits, loss and gradients of the peer with the weights of `seed`."""
    model = peer(config).float().train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weight(name, tuple(parameter.shape), seed)))
    logits = model(
        input_ids=torch.from_numpy(batch["token_ids"]).long(),
        position_ids=torch.from_numpy(batch["positions"]).long(),
    ).logits
    targets, weights = torch.from_numpy(batch["target_ids"]).long(), torch.from_numpy(batch["target_weights"])
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (nats * weights.flatten()).sum() / weights.sum()
    loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return Outcome(logits.detach().numpy(), loss.item(), gradients)
