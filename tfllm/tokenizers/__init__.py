"""Tokenizers: `train(paths, kind=…)`, `load(folder)`, and the classes. Importing this does not import TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfllm.tokenizers.base import DESCRIPTION_FILE, Tokenizer, read_asset, read_description
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.bytes import ByteTokenizer
from tfllm.tokenizers.huggingface import is_hugging_face, read_tokenizer
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer
from tfllm.tokenizers.training import train
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "ByteBPETokenizer",
    "ByteTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordPieceTokenizer",
    "get",
    "load",
    "train",
]


_MAKERS: dict[str, Callable[[bytes], Tokenizer]] = {
    ByteTokenizer.kind: lambda _: ByteTokenizer(),
    SentencePieceTokenizer.kind: SentencePieceTokenizer,
    ByteBPETokenizer.kind: ByteBPETokenizer,
    WordPieceTokenizer.kind: WordPieceTokenizer,
}
"""How a tokenizer of each kind is made from its asset."""


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer that `save` wrote, or a model folder's, its assets checked against the fingerprint; or Hugging Face's.

    >>> tfllm.tokenizers.load("runs/tokenizer")
    >>> tfllm.tokenizers.load("bert-base-uncased")  # a downloaded checkpoint, with all files of its tokenizer
    >>> tfllm.tokenizers.load("wiki.json")  # what `tokenizers` saved, alone

    Raises:
        TypeError: it is no path.
        FileNotFoundError: the folder or a part of it is missing.
        ValueError: a part is damaged, or of a kind that this version does not know.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"load({folder!r:.80}): give the path of a tokenizer's folder, got {type(folder).__name__}")
    folder = Path(folder)
    if is_hugging_face(folder):
        return read_tokenizer(folder)
    if folder.name == DESCRIPTION_FILE and folder.is_file():
        folder = folder.parent
    elif not (folder / DESCRIPTION_FILE).is_file() and (folder / "tokenizer").is_dir():
        folder = folder / "tokenizer"
    description = read_description(folder)
    if description.kind not in _MAKERS:
        raise ValueError(
            f"{Path(folder) / DESCRIPTION_FILE} names the kind {description.kind!r}; accepted: "
            f"{', '.join(map(repr, _MAKERS))}. A newer tfllm may have written it"
        )
    return _MAKERS[description.kind](read_asset(folder, description))


def get(tokenizer: Tokenizer | str | Path) -> Tokenizer:
    """The tokenizer itself, or the one that `load` finds at a path: what functions that take a tokenizer begin with.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(tokenizer, (str, Path)):
        return load(tokenizer)
    if not hasattr(tokenizer, "fingerprint"):
        raise TypeError(
            f"tokenizer={tokenizer!r:.80} must be a tokenizer (tfllm.tokenizers.load, tfllm.tokenizers.train) or the path of "
            f"its folder, got {type(tokenizer).__name__}"
        )
    return tokenizer
