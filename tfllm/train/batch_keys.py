"""The keys of each model's batches: names of tensors, their dtypes and shapes, and the names other libraries use for them.

Input: a model class's `BatchKeys`. Output: what `train.standardize` checks and converts a user's batch by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tfllm.features import (
    ANSWER_PLACES,
    DROPOUT_SEED,
    LABELS,
    PAIR_LABELS,
    POSITIONS,
    ROW_WEIGHTS,
    SEGMENT_IDS,
    SPAN_ENDS,
    SPAN_STARTS,
    TARGET_IDS,
    TARGET_PLACES,
    TARGET_WEIGHTS,
    TEXT_NUMBERS,
    TOKEN_IDS,
    TYPE_IDS,
)

MASK_KEYS = ("attention_mask", "padding_mask")
"""1 for a token, 0 for padding: the names of Hugging Face and KerasHub for what `segment_ids` says."""
ALIASES = dict.fromkeys(MASK_KEYS, SEGMENT_IDS) | {
    "input_ids": TOKEN_IDS,
    "token_type_ids": TYPE_IDS,
    "position_ids": POSITIONS,
    "label": LABELS,
    "start_positions": SPAN_STARTS,
    "end_positions": SPAN_ENDS,
    "next_sentence_label": PAIR_LABELS,
    "mask_positions": TARGET_PLACES,
}
"""Names of Hugging Face and KerasHub -> names of this package."""


class KeySpec(NamedTuple):
    """The dtype and shape of a tensor in a batch."""

    dtype: str
    shape: str
    """One letter per axis, from the legend in `tfllm.features`."""

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(self.shape)}]"


SPECS = dict.fromkeys((TOKEN_IDS, POSITIONS, SEGMENT_IDS, TYPE_IDS, TARGET_IDS, ANSWER_PLACES), KeySpec("int32", "BS")) | {
    TARGET_PLACES: KeySpec("int32", "BP"),
    TARGET_WEIGHTS: KeySpec("float32", "BS"),
    PAIR_LABELS: KeySpec("int32", "B"),
    TEXT_NUMBERS: KeySpec("int32", "B"),
    ROW_WEIGHTS: KeySpec("float32", "B"),
    SPAN_STARTS: KeySpec("int32", "B"),
    SPAN_ENDS: KeySpec("int32", "B"),
    DROPOUT_SEED: KeySpec("int32", "B"),
}
"""Every key but LABELS, whose dtype and shape depend on the task."""


TARGET_KEYS = {TARGET_IDS, TARGET_WEIGHTS, PAIR_LABELS, LABELS, ROW_WEIGHTS, SPAN_STARTS, SPAN_ENDS}
"""Keys of targets and weights. A forward pass ignores them."""


@dataclass(frozen=True, kw_only=True)
class BatchKeys:
    """The keys of a model's batches, in addition to TOKEN_IDS."""

    inputs: tuple[str, ...] = (POSITIONS, SEGMENT_IDS, TYPE_IDS)
    """Optional inputs of the model."""
    targets: Mapping[str, KeySpec] = field(default_factory=dict)
    """What the model is trained to predict; `y` gives the tensors in this order."""
    num_classes: int = 0
    """Number of classes, C, if the targets are classes; else 0."""
    predicts_next_token: bool = False
    """The target of a position is the next position's token. Hugging Face's `labels` are then the input ids, not shifted."""
    group_size: int = 1
    """Number of neighbouring rows that must stay in one batch: 2 for pairs."""

    @property
    def has_token_targets(self) -> bool:
        """Whether there is a target per token; else there is one per row."""
        return TARGET_IDS in self.targets

    @property
    def specs(self) -> dict[str, KeySpec]:
        """Every key that a batch may have, with its dtype and shape."""
        weights = (TARGET_WEIGHTS, ROW_WEIGHTS) if self.has_token_targets else (ROW_WEIGHTS,)
        return {name: SPECS[name] for name in (TOKEN_IDS, *self.inputs, *weights, DROPOUT_SEED)} | dict(self.targets)

    def __str__(self) -> str:
        def described(names: Sequence[str]) -> str:
            return ", ".join(f"{name} {specs[name]}" for name in names)

        specs = self.specs
        targets = f"; to learn from, {described(tuple(self.targets))}" if self.targets else "; rows 2i and 2i + 1 are partners"
        weights = (
            "target_weights float32 [B, S], row_weights float32 [B]" if self.has_token_targets else "row_weights float32 [B]"
        )
        return (
            f"token_ids {specs[TOKEN_IDS]}; if you have them, {described(self.inputs)}{targets}; and, unless all count alike, "
            f"{weights} (docs/your-own-data.md)"
        )


def target_specs(*names: str) -> dict[str, KeySpec]:
    """Keys of targets with their dtypes and shapes, for `BatchKeys.targets`."""
    return {name: SPECS[name] for name in names}
