"""PyTorch's contenders of training_step.py: Hugging Face's models, eager and compiled, and a decoder written out.

Each in its best form: fused AdamW, `scaled_dot_product_attention`, autocast to bfloat16 under mixed_bfloat16, masked places
gathered before the vocabulary. Rows, dropout and optimizer are those of `training_worker.py`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
import transformers
from shapes import BETA_1, BETA_2, DROPOUT, EPSILON, LEARNING_RATE, SHAPES, WEIGHT_DECAY, Shape, rows_of
from torch import Tensor, nn
from torch.nn import functional
from turns import Run, UnavailableError, peak_mb, serve, versions

Scores = Callable[[Tensor, Tensor], Tensor]
"""Token ids [B, S] and places [B, P] -> scores [B, P, V]."""


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    torch.set_num_threads(psutil.cpu_count())
    torch.manual_seed(0)
    shape, name = SHAPES[job["shape"]], job["contender"]
    model = (Decoder if name == "nanogpt" else MaskedLM if shape.masked else CausalLM)(shape).train()
    scores: Scores = model
    if name == "torch_compile":
        if not shutil.which("g++"):
            raise UnavailableError("torch.compile needs a C++ compiler, and g++ is not there: apt-get install g++")
        scores = torch.compile(model, dynamic=False)
    matrices = [each for each in model.parameters() if each.ndim > 1]
    vectors = [each for each in model.parameters() if each.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True)
    mixed, rows = job["precision"] == "mixed_bfloat16", batches(shape)

    def run(told: dict[str, Any]) -> dict[str, Any]:
        for _ in range(job["steps"]):
            loss = step(scores, optimizer, next(rows), mixed)
        return {"loss": loss}

    run({})
    parameters = sum(each.numel() for each in model.parameters())
    if shape.masked:  # the others carry a pooler that masked language modelling does not run
        parameters += shape.hidden_size**2 + shape.hidden_size
    return run, {"parameters": parameters, "peak_mb": peak_mb(), "versions": versions("torch", "transformers")}


def step(scores: Scores, optimizer: torch.optim.Optimizer, batch: list[Tensor], mixed: bool) -> float:
    """Forward, backward, update; the loss. Accuracy is computed, as the others do."""
    ids, places, targets = batch
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        logits = scores(ids, places)
    logits = logits.float().flatten(0, 1)
    loss = functional.cross_entropy(logits, targets.flatten())
    with torch.no_grad():
        (logits.gather(1, targets.flatten()[:, None])[:, 0] >= logits.amax(1)).float().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def batches(shape: Shape) -> Iterator[list[Tensor]]:
    """Token ids [B, S], places and targets [B, P], int64, for ever."""
    rows = [torch.from_numpy(each).long().split(shape.batch_size) for each in rows_of(shape)]
    return itertools.cycle([list(parts) for parts in zip(*rows, strict=True)])


class CausalLM(nn.Module):
    """Hugging Face's GPT-2."""

    def __init__(self, shape: Shape):
        super().__init__()
        config = transformers.GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.sequence_length,
            n_embd=shape.hidden_size,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_inner=shape.ffn_size,
            attn_pdrop=DROPOUT,
            resid_pdrop=DROPOUT,
            embd_pdrop=DROPOUT,
            use_cache=False,
            attn_implementation="sdpa",
        )
        self.model = transformers.GPT2LMHeadModel(config)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        return self.model(input_ids=ids).logits


class MaskedLM(nn.Module):
    """Hugging Face's BERT, whose head sees the masked places only."""

    def __init__(self, shape: Shape):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=shape.vocab_size,
            max_position_embeddings=shape.sequence_length,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.ffn_size,
            hidden_act="gelu_pytorch_tanh",
            hidden_dropout_prob=DROPOUT,
            attention_probs_dropout_prob=DROPOUT,
            attn_implementation="sdpa",
        )
        self.model = transformers.BertForMaskedLM(config)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        hidden = self.model.bert(input_ids=ids).last_hidden_state
        return self.model.cls(hidden[torch.arange(len(ids))[:, None], places])


class Decoder(nn.Module):
    """GPT-2 written out plainly, as nanoGPT does: one product for queries, keys and values, one fused attention."""

    def __init__(self, shape: Shape):
        super().__init__()
        if shape.masked:
            raise UnavailableError("nanogpt is a decoder, and this shape is an encoder's")
        self.tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.positions = nn.Embedding(shape.sequence_length, shape.hidden_size)
        self.blocks = nn.ModuleList(DecoderBlock(shape) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(shape.hidden_size)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        x = functional.dropout(self.tokens(ids) + self.positions.weight[: ids.shape[1]], DROPOUT)
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.tokens.weight)


class DecoderBlock(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hidden_size
        self.num_heads = shape.num_heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, shape.ffn_size), nn.Linear(shape.ffn_size, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads, dropout_p=DROPOUT, is_causal=True)
        x = x + functional.dropout(self.output(seen.transpose(1, 2).flatten(2)), DROPOUT)
        up = functional.gelu(self.up(self.feedforward_norm(x)), approximate="tanh")
        return x + functional.dropout(self.down(up), DROPOUT)


if __name__ == "__main__":
    serve(prepare)
