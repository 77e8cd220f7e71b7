"""Texts of settings (`choices`, `bad_words`) as token ids.

Input: a text and the tokenizer. Output: its token ids, or a ValueError if the tokenizer has no tokens for it.
"""

from __future__ import annotations

from tfllm.generation.setting import invalid
from tfllm.tokenizers import Tokenizer


def encode_text(text: str, tokenizer: Tokenizer, setting: str) -> list[int]:
    """The token ids of `text`, a value of `setting`.

    Raises:
        ValueError: the tokenizer has no tokens for it, or only the unknown token for a part of it.
    """
    ids = list(tokenizer.encode(text))
    if not ids or tokenizer.unk_id in ids:
        raise invalid(setting, text, "a text that the tokenizer has tokens for", "Give another text, or leave it out.")
    return ids
