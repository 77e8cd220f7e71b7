"""Hugging Face's model of one of our cases, in PyTorch, and what it says of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from cases import Case, Outcome, there, weight
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tfllm.interop.configs import family_of, write_config
from tfllm.interop.heads import write_settings


def peer(case: Case) -> Any:
    """The same architecture and head: `BertForPreTraining`, `GPT2LMHeadModel`, `LlamaForCausalLM` or one of their kin."""
    family = family_of(case.config)
    values = write_config(case.config, family)
    values |= write_settings(case.task, case.settings, config=case.config, family=family)
    fixed = dict(attn_implementation="eager", bos_token_id=None, eos_token_id=None)
    settings = transformers.AutoConfig.for_model(values.pop("model_type"), **values, **fixed)
    return getattr(transformers, values["architectures"][0])(settings)


def theirs(case: Case, batch: dict[str, np.ndarray], seed: int) -> Outcome:
    """Logits, loss and gradients of the peer with the weights of `seed`."""
    model = peer(case).float().train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weight(name, tuple(parameter.shape), seed)))
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    tensors = {name: tensor if tensor.is_floating_point() else tensor.long() for name, tensor in tensors.items()}
    logits = _logits(case, model, tensors)
    loss = _loss(case, logits, tensors)
    loss.backward()
    # Of two biases an untied masked language model has, one is never used.
    used = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    gradients = {name: gradient.numpy() for name, gradient in used.items()}
    found = {name: value.detach().numpy() for name, value in logits.items()}
    return Outcome(found | {"logits": there(case, found["logits"], batch)}, loss.item(), gradients)


def _logits(case: Case, model: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In the shapes of our models: scores at the masked places, [B, 2, S] for spans, [B] for a number."""
    if case.config.causal:
        return {"logits": model(input_ids=tensors["token_ids"], position_ids=tensors["positions"]).logits}
    said = model(input_ids=tensors["token_ids"], attention_mask=tensors["segment_ids"], token_type_ids=tensors["type_ids"])
    if case.task == "question_answerer":
        return {"logits": torch.stack([said.start_logits, said.end_logits], 1)}
    if case.task == "text_regressor":
        return {"logits": said.logits[:, 0]}
    if case.task != "masked_lm":
        return {"logits": said.logits}
    rows = torch.arange(len(tensors["token_ids"]))[:, None]
    if "seq_relationship_logits" not in said:
        return {"logits": said.logits[rows, tensors["target_places"]]}
    tokens = said.prediction_logits[rows, tensors["target_places"]]
    return {"logits": tokens, "pair_logits": said.seq_relationship_logits}


def _loss(case: Case, found: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The objective of our models, written out."""
    logits = found["logits"]
    if "target_weights" in tensors:
        weights = tensors["target_weights"]
        nats = cross_entropy(logits.flatten(0, 1), tensors["target_ids"].flatten(), reduction="none")
        loss = (nats * weights.flatten()).sum()
        if "pair_logits" in found:
            pairs = cross_entropy(found["pair_logits"], tensors["pair_labels"], reduction="none")
            loss = loss + weights.shape[1] * (pairs * tensors["row_weights"]).sum()
        return loss / weights.sum()
    weights = tensors["row_weights"]
    if case.task == "question_answerer":
        hidden = logits.masked_fill(tensors["answer_places"][:, None] == 0, -1e9)
        ends = zip(hidden.unbind(1), (tensors["span_starts"], tensors["span_ends"]), strict=True)
        rows = sum(cross_entropy(scores, places, reduction="none") for scores, places in ends) / 2
    elif case.task == "text_regressor":
        rows = (logits - tensors["labels"]) ** 2
    elif case.settings.get("multi_label"):
        rows = binary_cross_entropy_with_logits(logits, tensors["labels"], reduction="none").mean(1)
    else:
        rows = cross_entropy(logits, tensors["labels"], reduction="none")
    return (rows * weights).sum() / weights.sum()
