"""Options of `tfllm finetune` that several tasks share. An option has one meaning, whichever task takes it."""

from __future__ import annotations

from typing import Literal

from tfllm.tasks.spec import Option

TEXT_COLUMN = Option("text", str, "text", "Column of the text.")
PAIR = Option("pair", str | None, None, "Column of the second text, where rows are pairs.")
LABEL = Option("label", str | None, None, "Column of the label; of CoNLL files its number, else its name.")
LABELS = Option(
    "labels",
    tuple[str, ...] | None,
    None,
    "All labels in the order of their numbers, where those of the training file, sorted, will not do.",
)
SKIP_EMPTY = Option("skip_empty", bool, False, "Pass over rows with an empty text, which are errors otherwise.")
POOLING = Option(
    "pooling",
    Literal["pooler", "first", "mean"] | None,
    None,
    "What stands for a row: the pooled first token, the first token, or the mean of all.",
)
