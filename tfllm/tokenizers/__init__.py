"""Tokenizers: `train(paths, kind=…)`, `load(folder)`, and the classes. Importing this does not import TensorFlow."""

from __future__ import annotations

from pathlib import Path

from tfllm.tokenizers.base import DESCRIPTION_FILE, Tokenizer, read_asset, read_description
from tfllm.tokenizers.bytes import ByteTokenizer
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer
from tfllm.tokenizers.training import train

__all__ = ["ByteTokenizer", "SentencePieceTokenizer", "Tokenizer", "load", "train"]


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer that `save` wrote to `folder`, its assets checked against the fingerprint."""
    description = read_description(folder)
    if description.kind not in (ByteTokenizer.kind, SentencePieceTokenizer.kind):
        raise ValueError(
            f"{Path(folder) / DESCRIPTION_FILE} names the kind {description.kind!r}; accepted: "
            f"{ByteTokenizer.kind!r}, {SentencePieceTokenizer.kind!r}. A newer tfllm may have written it"
        )
    asset = read_asset(folder, description)
    return ByteTokenizer() if description.kind == ByteTokenizer.kind else SentencePieceTokenizer(asset)
