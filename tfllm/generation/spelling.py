"""Texts of settings (`choices`, `bad_words`) as token ids.

Input: a text and the tokenizer. Output: its token ids, or a ValueError if the tokenizer has no tokens for it.
"""

from __future__ import annotations

from tfllm.generation.setting import invalid
from tfllm.tokenizers import Tokenizer


def spelled(text: str, tokenizer: Tokenizer, field: str) -> list[int]:
    """The ids of `text`, a value of the setting `field`.

    Raises:
        ValueError: there are none, or one stands for what the tokenizer does not know.
    """
    ids = list(tokenizer.encode(text))
    if not ids or tokenizer.unk_id in ids:
        raise invalid(field, text, "a text that the tokenizer has tokens for", "Give another text, or leave it out.")
    return ids
