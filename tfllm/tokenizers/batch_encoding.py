"""`tokenizer(texts, padding=True)`: a batch with special tokens and padding, which a model reads.

In: one text or several, and on request a second text each. Out: NumPy arrays by the names of `tfllm.features`.
The rows are those of `tfllm.data.encoder_inputs` and of Hugging Face's `tokenizer(…)`, whose arguments these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfllm.deprecation import warn_renamed
from tfllm.features import SEGMENT_IDS, TOKEN_IDS, TYPE_IDS
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.truncation import text_budget, truncate_longest_first

PADDINGS = {False: None, "do_not_pad": None, True: "longest", "longest": "longest", "max_length": "max_length"}
TRUNCATIONS = {None: False, False: False, "do_not_truncate": False, True: True, "longest_first": True}
RETURN_TENSORS = (None, "np", "tf")
ACCEPTED = "text, text_pair, add_special_tokens, padding, truncation, max_length, return_tensors"
ELSEWHERE = {
    "padding_side": "rows are padded on the right; tfllm.generate takes prompts of any length",
    "return_attention_mask": "segment_ids are always there, 0 where padding is",
    "return_token_type_ids": "type_ids are there for rows with special tokens",
    "stride": "tfllm.predict and tfllm.data.question_answering cut long contexts into windows",
    "is_split_into_words": "tfllm.predict splits texts into words as tagged data does",
}


class CallableTokenizer:
    """The base class of all tokenizers: `tokenizer(texts)`, and how a tokenizer is printed."""

    def __call__(
        self: Tokenizer,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        **unknown: Any,
    ) -> dict[str, Any]:
        """Texts as a batch: `model(tokenizer(texts, padding=True))`.

        With the ids cls 101, sep 102, pad 0, "a" 7, "b" 8:

            tokenizer(["a b", "a"], padding=True)
            -> token_ids 101 7 8 102 | 101 7 102 0, segment_ids 1 1 1 1 | 1 1 1 0, type_ids 0 0 0 0 | 0 0 0 0
            tokenizer("a", text_pair="b b")
            -> token_ids 101 7 102 8 8 102, segment_ids 1 1 1 1 1 1, type_ids 0 0 0 1 1 1
            tokenizer(["a b", "a"], add_special_tokens=False, padding=True)
            -> token_ids 7 8 | 7 0, segment_ids 1 1 | 1 0

        Args:
            text: one text, or several.
            text_pair: the second text of each row: one, or as many as texts.
            add_special_tokens: True, as encoders read texts: opened by cls, each text closed by sep. Give False for a decoder,
                which continues a text.
            padding: True or "longest": to the longest row; "max_length": to `max_length`; False: not at all.
            truncation: True: rows of more than `max_length` ids are cut, the longer text of a pair first.
            max_length: of a row, specials included; a model's is `model.max_length`.
            return_tensors: "np" or None for arrays of NumPy, "tf" for tensors.

        Returns:
            "token_ids"; "segment_ids", 1, and 0 where padding is (Hugging Face's attention_mask); "type_ids", 1 in the second
            text, not there for single texts without special tokens, for a decoder has no types. Each int32 [B, S], B = 1 of one
            text. Several texts without padding and without `return_tensors`: each a list of B arrays int32 [S].

        Raises:
            TypeError: an argument that is not accepted; no text.
            ValueError: a value that is not accepted; rows of different lengths where an array was asked for.
        """
        if unknown:
            reasons = "".join(f"; {name}: {ELSEWHERE[name]}" for name in unknown if name in ELSEWHERE)
            raise TypeError(f"Unknown argument {', '.join(unknown)}: expected one of {ACCEPTED}{reasons}.")
        if return_tensors not in RETURN_TENSORS:
            raise ValueError(f"return_tensors={return_tensors!r} is invalid: expected 'np', 'tf' or None.")
        layout = _Layout.of(padding, truncation, max_length)
        texts, pairs = _texts(text, text_pair)
        rows = _rows(self, texts, pairs, add_special_tokens, layout.cut_at)
        if isinstance(text, str) or return_tensors or layout.padded:
            batch: dict[str, Any] = _arrays(rows, layout, self.pad_id)
        else:
            batch = {
                TOKEN_IDS: [row.ids for row in rows],
                SEGMENT_IDS: [np.ones_like(row.ids) for row in rows],
                TYPE_IDS: [row.types() for row in rows],
            }
        if text_pair is None and not add_special_tokens:
            del batch[TYPE_IDS]
        if return_tensors == "tf":
            import tensorflow as tf

            return {name: tf.constant(value) for name, value in batch.items()}
        return batch

    def surfaces(self: Tokenizer) -> list[bytes]:
        """The old name of `token_byte_strings`."""
        warn_renamed("Tokenizer.surfaces()", "token_byte_strings()")
        return self.token_byte_strings()

    def __repr__(self: Tokenizer) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, fingerprint={self.fingerprint()[:8]}…)"


@dataclass(frozen=True)
class _Layout:
    """How wide rows are: padded to None, "longest" or "max_length"; cut at so many ids, or not."""

    padded: str | None
    cut_at: int | None
    max_length: int | None

    @classmethod
    def of(cls, padding: Any, truncation: Any, max_length: int | None) -> _Layout:
        for name, value, accepted in (("padding", padding, PADDINGS), ("truncation", truncation, TRUNCATIONS)):
            if not isinstance(value, bool | str | None) or value not in accepted:
                raise ValueError(f"{name}={value!r} is invalid: expected one of {', '.join(map(repr, accepted))}.")
        padded, cut = PADDINGS[padding], TRUNCATIONS[truncation]
        if max_length is not None and (not isinstance(max_length, int | np.integer) or max_length < 1):
            raise ValueError(f"max_length={max_length!r} is invalid: expected a whole number from 1 on.")
        if max_length is None and (cut or padded == "max_length"):
            asked = f"truncation={truncation!r}" if cut else f"padding={padding!r}"
            raise ValueError(f"{asked} needs max_length, for a tokenizer knows no model. Give max_length=model.max_length.")
        if max_length is not None and not cut and padded != "max_length":
            raise ValueError(
                f"max_length={max_length} has no effect without truncation or padding. Give truncation=True, or leave it out."
            )
        return cls(padded, int(max_length) if cut and max_length else None, max_length)


@dataclass(frozen=True)
class _Row:
    ids: np.ndarray
    """int32 [S], without padding."""
    second: int
    """Where the second text begins; S where there is none."""

    def types(self) -> np.ndarray:
        return (np.arange(len(self.ids)) >= self.second).astype(np.int32)


def _texts(text: Any, text_pair: Any) -> tuple[list[str], list[str] | None]:
    """Both as lists, or an error that says what does not fit."""
    if isinstance(text, str):
        if text_pair is not None and not isinstance(text_pair, str):
            raise TypeError(
                f"text is one string, and text_pair is a {type(text_pair).__name__}. Give two strings, or two lists."
            )
        return [text], None if text_pair is None else [text_pair]
    if isinstance(text, bytes | None) or isinstance(text_pair, str):
        raise TypeError(
            f"text is a {type(text).__name__}, and text_pair is a {type(text_pair).__name__}. Give two strings, or two lists."
        )
    texts, pairs = list(text), None if text_pair is None else list(text_pair)
    for each in texts:
        if isinstance(each, tuple | list):
            raise TypeError(f"A text is {each!r:.60}: expected a string. Give second texts as text_pair=[…].")
    if pairs is not None and len(pairs) != len(texts):
        raise ValueError(f"text_pair has {len(pairs)} texts, and text has {len(texts)}. Give as many of each.")
    return texts, pairs


def _rows(tokenizer: Tokenizer, texts: list[str], pairs: list[str] | None, specials: bool, cut_at: int | None) -> list[_Row]:
    firsts = tokenizer.encode_batch(texts)
    seconds = tokenizer.encode_batch(pairs) if pairs is not None else None
    opening, closing = ([tokenizer.cls_id], [tokenizer.sep_id]) if specials else ([], [])
    between = closing * (tokenizer.pair_separators if pairs is not None else 1)
    budget = cut_at
    if cut_at is not None and specials:
        budget = text_budget(tokenizer, cut_at, pair=pairs is not None)
    rows = []
    for place, first in enumerate(firsts):
        second = seconds[place] if seconds else first[:0]
        if budget is not None:
            of_first, of_second = truncate_longest_first(len(first), len(second), budget)
            first, second = first[:of_first], second[:of_second]
        parts = [opening, first, between, second, closing if seconds else []]
        ids = np.concatenate([np.asarray(part, np.int32) for part in parts])
        rows.append(_Row(ids, len(opening) + len(first) + len(between) if seconds else len(ids)))
    return rows


def _arrays(rows: Sequence[_Row], layout: _Layout, pad_id: int) -> dict[str, np.ndarray]:
    """Int32 [B, S] each."""
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    width = int(lengths.max(initial=0))
    if layout.padded == "max_length" and layout.max_length is not None:
        if width > layout.max_length:
            raise ValueError(
                f"Text {int(lengths.argmax())} has {width} ids, more than max_length={layout.max_length}. Give truncation=True."
            )
        width = layout.max_length
    elif layout.padded is None and (lengths != width).any():
        raise ValueError(f"Rows of {lengths.min()} to {width} ids do not make an array. Give padding=True.")
    batch = {TOKEN_IDS: np.full((len(rows), width), pad_id, np.int32)}
    batch |= {name: np.zeros((len(rows), width), np.int32) for name in (SEGMENT_IDS, TYPE_IDS)}
    for place, row in enumerate(rows):
        batch[TOKEN_IDS][place, : len(row.ids)] = row.ids
        batch[SEGMENT_IDS][place, : len(row.ids)] = 1
        batch[TYPE_IDS][place, row.second : len(row.ids)] = 1
    return batch
