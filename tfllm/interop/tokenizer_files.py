"""Tokenizers in a Hugging Face folder: `tokenizer.json` and the older files, in and out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tfllm.config import ModelConfig
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.base import read_asset, read_description
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_KINDS = (WordPieceTokenizer.kind, ByteBPETokenizer.kind)
_CLASSES_OF_WORDPIECE = ("BertTokenizer", "PreTrainedTokenizer")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer: WordPiece or byte-level BPE.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another kind, or two of its files contradict each other.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        parts = read_json(path)
        kind = _kind(parts.get("model") or {})
        if kind == "WordPiece":
            _check_agree(folder, parts.get("normalizer") or {})
            return WordPieceTokenizer.from_file(path)
        if kind == "BPE":
            return ByteBPETokenizer.from_file(path)
        raise ValueError(f"{path} holds a tokenizer of type {kind!r}; accepted: WordPiece, byte-level BPE, or give tokenizer=…")
    if (folder / "vocab.txt").is_file():
        said = _said(folder)
        _check_words(folder, said)
        return WordPieceTokenizer.from_file(
            folder / "vocab.txt",
            lowercase=said.get("do_lower_case", True),
            strip_accents=said.get("strip_accents"),
            split_cjk=said.get("tokenize_chinese_chars", True),
        )
    if (folder / "vocab.json").is_file():
        return ByteBPETokenizer.from_file(folder)
    raise FileNotFoundError(f"{folder} has no tokenizer.json, vocab.txt or vocab.json: download them, too, or give tokenizer=…")


def read_json(path: Path) -> Any:
    """Raises ValueError that names the file, where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): get it again") from error


def _kind(model: dict[str, Any]) -> str:
    """Files of `tokenizers` before 0.9, those of the first BERT, GPT-2 and RoBERTa among them, do not say it."""
    return model.get("type") or ("BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else "")


def _said(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _check_words(folder: Path, said: dict[str, Any]) -> None:
    """`vocab.txt` does not say how its texts were cut into words; other classes than BERT's cut otherwise."""
    config = folder / "config.json"
    name = said.get("tokenizer_class") or (read_json(config).get("tokenizer_class") if config.is_file() else None)
    settings = {"do_basic_tokenize": True, "word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
    wrong = {key: said[key] for key, usual in settings.items() if said.get(key, usual) != usual}
    if name is not None and name.removesuffix("Fast") not in _CLASSES_OF_WORDPIECE:
        wrong["tokenizer_class"] = name
    if wrong:
        raise ValueError(
            f"{folder}: the tokenizer has {wrong}; vocab.txt is read for {' and '.join(_CLASSES_OF_WORDPIECE)}, which cut "
            "words at spaces and punctuation. Give the model's tokenizer.json, or tokenizer=…"
        )


def _check_agree(folder: Path, normalizer: dict[str, Any]) -> None:
    """Transformers lets `tokenizer_config.json` overrule `tokenizer.json`, other libraries do not."""
    said = _said(folder)
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}
    for theirs, ours in names.items():
        if said.get(theirs) is not None and normalizer.get(ours) is not None and said[theirs] != normalizer[ours]:
            raise ValueError(
                f"{folder}: tokenizer_config.json says {theirs}={said[theirs]!r}, tokenizer.json "
                f"{ours}={normalizer[ours]!r}: put the one the model was trained with into both"
            )


def check_writable(tokenizer: Tokenizer) -> None:
    """Raises ValueError where the tokenizer has no form that Transformers reads to the same ids."""
    if tokenizer.kind not in _KINDS:
        raise ValueError(
            f"a tokenizer of kind {tokenizer.kind!r} has no form in Hugging Face; those of {', '.join(_KINDS)} have"
        )


def write_tokenizer(tokenizer: Tokenizer, folder: Path, config: ModelConfig) -> None:
    """`tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, and the files of older readers.

    An encoder's opens and closes rows as `tfllm.data` does; a decoder's adds nothing.
    """
    parts = json.loads(_asset(tokenizer))
    pieces = {name: tokenizer.id_to_piece(id) for name, id in _specials(tokenizer).items()}
    cls, sep = ([pieces[name], id] for name, id in (("cls_token", tokenizer.cls_id), ("sep_token", tokenizer.sep_id)))
    if config.causal:
        parts["post_processor"] = None
    elif tokenizer.pair_separators == 2:
        parts["post_processor"] = {
            **{"type": "RobertaProcessing", "sep": sep, "cls": cls},
            **{"trim_offsets": True, "add_prefix_space": False},
        }
    else:
        parts["post_processor"] = {"type": "BertProcessing", "sep": sep, "cls": cls}
    said: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", *["token_type_ids"] * (config.num_types > 1), "attention_mask"],
    }
    if tokenizer.kind == WordPieceTokenizer.kind:
        normalizer = parts["normalizer"]
        said["do_lower_case"], said["strip_accents"] = normalizer["lowercase"], normalizer["strip_accents"]
        said["tokenize_chinese_chars"] = normalizer["handle_chinese_chars"]
    _write(folder / "tokenizer.json", parts)
    _write(folder / "tokenizer_config.json", said | pieces)
    _write(folder / "special_tokens_map.json", pieces)
    _write_old(parts, folder)


def _asset(tokenizer: Tokenizer) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return read_asset(folder, read_description(folder))


def _specials(tokenizer: Tokenizer) -> dict[str, int]:
    ids = {"unk_token": tokenizer.unk_id, "pad_token": tokenizer.pad_id, "cls_token": tokenizer.cls_id}
    ids["sep_token"] = tokenizer.sep_id
    if tokenizer.mask_id is not None:
        ids["mask_token"] = tokenizer.mask_id
    if tokenizer.kind != WordPieceTokenizer.kind:  # BERT has no bos and eos
        ids |= {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
    return ids


def _write_old(parts: dict[str, Any], folder: Path) -> None:
    """`vocab.txt`, or `vocab.json` and `merges.txt`."""
    model = parts["model"]
    pieces = model["vocab"] | {token["content"]: token["id"] for token in parts["added_tokens"]}
    if model["type"] == "BPE":
        _write(folder / "vocab.json", pieces)
        merges = (" ".join(pair) for pair in model["merges"])
        (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges)) + "\n")
    elif sorted(pieces.values()) == list(range(len(pieces))):  # a line's number is its id
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.__getitem__)))


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=None if path.name == "tokenizer.json" else 2) + "\n")
