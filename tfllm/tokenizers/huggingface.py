"""A Hugging Face tokenizer, from its files alone: a checkpoint's folder, or a `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.tokenizer_config import CONFIG, read_json
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""One of them has the vocabulary; the first that is there."""


def read_tokenizer(path: str | Path) -> Tokenizer:
    """WordPiece or byte-level BPE, of a folder with all its files, or of a `tokenizer.json` alone.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another kind, or two files contradict each other.
    """
    path = Path(path)
    there = [path / name for name in FILES if (path / name).is_file()] if path.is_dir() else [path]
    if not there:
        raise FileNotFoundError(
            f"{path} has no {', '.join(FILES[:-1])} or {FILES[-1]}: download them, too, or give tokenizer=…"
        )
    if there[0].suffix == ".txt":
        return WordPieceTokenizer.from_file(path)
    if there[0].name == "vocab.json":
        return ByteBPETokenizer.from_file(path)
    kind = _kind(read_json(there[0]).get("model") or {})
    if kind == "WordPiece":
        return WordPieceTokenizer.from_file(path)
    if kind == "BPE":
        return ByteBPETokenizer.from_file(path)
    raise ValueError(f"{there[0]} holds a tokenizer of type {kind!r}; accepted: WordPiece, byte-level BPE, or give tokenizer=…")


def is_hugging_face(path: Path) -> bool:
    """Is this a folder, or a `tokenizer.json`, that `read_tokenizer` is for?"""
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path)
        if path.name in FILES[1:]:
            return True
    try:
        return path.is_file() and "model" in read_json(path)
    except (ValueError, TypeError):
        return False


def named_ids(folder: Path) -> dict[str, int]:
    """The highest id that each file of a tokenizer names, of any kind: {"vocab.txt": 11, "added_tokens.json": 13}."""
    found: dict[str, list[int]] = {}
    if (folder / "tokenizer.json").is_file():
        parts = read_json(folder / "tokenizer.json")
        vocabulary = (parts.get("model") or {}).get("vocab") or ()
        pieces = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        found["tokenizer.json"] = [*pieces, *(token["id"] for token in parts.get("added_tokens") or ())]
    if (folder / "vocab.txt").is_file():
        found["vocab.txt"] = [(folder / "vocab.txt").read_bytes().rstrip(b"\n").count(b"\n")]
    for name in ("vocab.json", "encoder.json", "added_tokens.json"):
        if (folder / name).is_file():
            found[name] = list(read_json(folder / name).values())
    if (folder / CONFIG).is_file():
        found[CONFIG] = [int(id) for id in read_json(folder / CONFIG).get("added_tokens_decoder") or ()]
    return {name: max(ids) for name, ids in found.items() if ids}


def _kind(model: dict[str, Any]) -> str:
    """Files of `tokenizers` before 0.9, those of the first BERT, GPT-2 and RoBERTa among them, do not say it."""
    return model.get("type") or ("BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else "")
