"""Which tensors a batch of each model holds, and other libraries' names of them.

Each model class declares its `BatchKeys`; `train.standardize` reads what a user hands in by them.
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

MASKS = ("attention_mask", "padding_mask")
"""1 for a token, 0 for padding: Hugging Face's and KerasHub's names of what `segment_ids` says."""
ALIASES = dict.fromkeys(MASKS, SEGMENT_IDS) | {
    "input_ids": TOKEN_IDS,
    "token_type_ids": TYPE_IDS,
    "position_ids": POSITIONS,
    "label": LABELS,
    "start_positions": SPAN_STARTS,
    "end_positions": SPAN_ENDS,
    "next_sentence_label": PAIR_LABELS,
    "mask_positions": TARGET_PLACES,
}
"""Names of Hugging Face and KerasHub -> ours."""


class Form(NamedTuple):
    """How a tensor of a batch looks; sizes are letters of the legend in `tfllm.features`."""

    dtype: str
    shape: str

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(self.shape)}]"


FORMS = dict.fromkeys((TOKEN_IDS, POSITIONS, SEGMENT_IDS, TYPE_IDS, TARGET_IDS, ANSWER_PLACES), Form("int32", "BS")) | {
    TARGET_PLACES: Form("int32", "BP"),
    TARGET_WEIGHTS: Form("float32", "BS"),
    PAIR_LABELS: Form("int32", "B"),
    TEXT_NUMBERS: Form("int32", "B"),
    ROW_WEIGHTS: Form("float32", "B"),
    SPAN_STARTS: Form("int32", "B"),
    SPAN_ENDS: Form("int32", "B"),
    DROPOUT_SEED: Form("int32", "B"),
}
"""Of every name but LABELS, which each task has its own of."""


LEARNT = {TARGET_IDS, TARGET_WEIGHTS, PAIR_LABELS, LABELS, ROW_WEIGHTS, SPAN_STARTS, SPAN_ENDS}
"""Names of targets and weights."""


@dataclass(frozen=True, kw_only=True)
class BatchKeys:
    """The batches of a model. Beside TOKEN_IDS they hold:"""

    inputs: tuple[str, ...] = (POSITIONS, SEGMENT_IDS, TYPE_IDS)
    """What the model reads where it is given."""
    targets: Mapping[str, Form] = field(default_factory=dict)
    """What it learns; `y` gives them in this order."""
    classes: int = 0
    """Number of classes, C, where the targets are some."""
    next_token: bool = False
    """The target of a place is the next place's token; Hugging Face's `labels` are the row itself then."""
    together: int = 1
    """Neighbouring rows that belong together."""

    @property
    def of_tokens(self) -> bool:
        """Is each token a target? Else each row is."""
        return TARGET_IDS in self.targets

    @property
    def forms(self) -> dict[str, Form]:
        """Every name that a batch may have, and how it looks."""
        weights = (TARGET_WEIGHTS, ROW_WEIGHTS) if self.of_tokens else (ROW_WEIGHTS,)
        return {name: FORMS[name] for name in (TOKEN_IDS, *self.inputs, *weights, DROPOUT_SEED)} | dict(self.targets)

    def __str__(self) -> str:
        def listed(names: Sequence[str]) -> str:
            return ", ".join(f"{name} {forms[name]}" for name in names)

        forms = self.forms
        weights = "target_weights float32 [B, S], row_weights float32 [B]" if self.of_tokens else "row_weights float32 [B]"
        learnt = f"; to learn from, {listed(tuple(self.targets))}" if self.targets else "; rows 2i and 2i + 1 are partners"
        return (
            f"token_ids {forms[TOKEN_IDS]}; if you have them, {listed(self.inputs)}{learnt}; and, unless all count alike, "
            f"{weights} (docs/your-own-data.md)"
        )


def targets(*names: str) -> dict[str, Form]:
    """Targets whose form is the same for every task."""
    return {name: FORMS[name] for name in names}
