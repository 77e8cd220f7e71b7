"""Texts of settings as the tokenizer spells them, where what it cannot spell would be another text without a word."""

from __future__ import annotations

from tfllm.tokenizers import Tokenizer


def spelled(text: str, tokenizer: Tokenizer, field: str) -> list[int]:
    """The ids of `text`, a value of the setting `field`.

    Raises:
        ValueError: there are none, or one stands for what the tokenizer does not know.
    """
    ids = list(tokenizer.encode(text))
    if not ids or tokenizer.unk_id in ids:
        raise ValueError(f"{field}={text!r} cannot be said in this tokenizer's tokens: give another text, or leave it out")
    return ids
