"""What training_step.py trains, and the rows it trains on. Imports no TensorFlow: PyTorch's contenders read this, too."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tfllm import ModelConfig, preset

LEARNING_RATE, WEIGHT_DECAY, BETA_1, BETA_2, EPSILON = 1e-4, 0.1, 0.9, 0.95, 1e-8
DROPOUT = 0.1


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is trained: sizes of the model, tokens a row (S), rows a batch (B), masked places a row (0: a causal model)."""

    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_size: int
    vocab_size: int
    sequence_length: int
    batch_size: int
    masked: int = 0

    def config(self, **changes: bool) -> ModelConfig:
        """Dropout after the embedding, in the attention probabilities and after both sublayers."""
        names = ("num_layers", "hidden_size", "num_heads", "ffn_size", "vocab_size")
        return preset(
            "bert-mini" if self.masked else "gpt2",
            activation="gelu_tanh",
            max_length=self.sequence_length,
            dropout=DROPOUT,
            attention_dropout=DROPOUT,
            **{name: getattr(self, name) for name in names},
            **changes,
        )

    def tokens(self) -> int:
        """Tokens a step."""
        return self.batch_size * self.sequence_length

    def flops(self) -> int:
        """Of the matrix products of a step: forward and backward."""
        targets = self.masked / self.sequence_length or 1.0
        return 3 * self.tokens() * self.config().forward_flops_per_token(self.sequence_length, targets=targets)

    def products(self) -> dict[tuple[int, int, int], int]:
        """The step's products with weights, as rows, inner and outer size, and how often each is done going forward."""
        d, f, rows = self.hidden_size, self.ffn_size, self.tokens()
        scored = self.batch_size * (self.masked or self.sequence_length)
        sizes = [(rows, d, 3 * d), (rows, d, d), (rows, d, f), (rows, f, d)]
        found = dict.fromkeys(sizes, self.num_layers) | {(scored, d, self.vocab_size): 1}
        return found | ({(scored, d, d): 1} if self.masked else {})


SHAPES = {
    "gpt-nano": Shape(4, 128, 4, 512, 256, sequence_length=64, batch_size=12),
    "gpt-mini": Shape(6, 384, 6, 1536, 8192, sequence_length=256, batch_size=16),
    "gpt2-small": Shape(12, 768, 12, 3072, 50_257, sequence_length=512, batch_size=2),
    "bert-mini": Shape(4, 256, 4, 1024, 30_522, sequence_length=128, batch_size=32, masked=20),
    "bert-base": Shape(12, 768, 12, 3072, 30_522, sequence_length=128, batch_size=8, masked=20),
}


class Rows(NamedTuple):
    """64 rows, taken again and again. P is S where every next token is a target."""

    token_ids: np.ndarray
    """int32 [64, S]."""
    places: np.ndarray
    """int32 [64, P]: where the targets stand."""
    targets: np.ndarray
    """int32 [64, P]."""


def rows_of(shape: Shape) -> Rows:
    length, masked, random = shape.sequence_length, shape.masked, np.random.default_rng(0)
    # Squared, so that some ids are frequent, as in text.
    ids = (random.random((64, length + 1)) ** 2 * shape.vocab_size).astype(np.int32)
    places = np.tile(np.arange(length, dtype=np.int32), (64, 1))
    if masked:
        places = np.sort(random.permuted(places, axis=1)[:, :masked])
    return Rows(ids[:, :-1], places, np.take_along_axis(ids, places + (not masked), 1))
