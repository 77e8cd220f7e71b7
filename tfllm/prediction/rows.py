"""What all tasks do with texts and rows before a model reads them; in the graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.features import TYPE_IDS


def valid_utf8(text: tf.Tensor) -> tf.Tensor:
    """string [B] with U+FFFD for what is no UTF-8, so that characters can be counted."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)


def fitting(model: Any, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Rows without the kinds of text, for a model that knows only one (RoBERTa)."""
    if model.config.num_types >= 2:
        return rows
    return {name: value for name, value in rows.items() if name != TYPE_IDS}
