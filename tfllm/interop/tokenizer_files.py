"""Writes a tokenizer into a Hugging Face folder: `tokenizer.json`, and the files that older versions of Transformers read.

In: a tokenizer, and the config of its model. Out: the files. `tfllm.tokenizers.huggingface` reads them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tfllm.config import ModelConfig
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.added_tokens import library_id
from tfllm.tokenizers.base import read_asset, read_description
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_KINDS = (WordPieceTokenizer.kind, ByteBPETokenizer.kind)


def check_writable(tokenizer: Tokenizer) -> None:
    """Raises ValueError if Transformers has no tokenizer that gives the same ids."""
    if tokenizer.kind not in _KINDS:
        raise ValueError(
            f"tokenizer.kind={tokenizer.kind!r} is invalid: expected one of {', '.join(_KINDS)}, the kinds that can be written "
            "for Hugging Face. Give a tokenizer of such a kind."
        )


def write_tokenizer(tokenizer: Tokenizer, folder: Path, config: ModelConfig) -> None:
    """Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, and the files for older versions.

    The tokenizer of an encoder adds special tokens to a row as `tfllm.data` does. That of a decoder adds none.
    """
    parts = _numbered(json.loads(_asset(tokenizer)))
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
    values: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", *["token_type_ids"] * (config.num_types > 1), "attention_mask"],
    }
    added = {token["id"]: {key: value for key, value in token.items() if key != "id"} for token in parts["added_tokens"]}
    values["added_tokens_decoder"] = added
    values["additional_special_tokens"] = [
        token["content"] for token in added.values() if token["special"] and token["content"] not in pieces.values()
    ]
    if tokenizer.kind == WordPieceTokenizer.kind:
        normalizer = parts["normalizer"]
        values["do_lower_case"], values["strip_accents"] = normalizer["lowercase"], normalizer["strip_accents"]
        values["tokenize_chinese_chars"] = normalizer["handle_chinese_chars"]
    _write(folder / "tokenizer.json", parts)
    _write(folder / "tokenizer_config.json", values | pieces)
    _write(folder / "special_tokens_map.json", pieces)
    _write_old(parts["model"], folder)


def _numbered(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts with the added tokens in the vocabulary, if the library `tokenizers` would give them other ids.

    It would number them from the end of the vocabulary.
    """
    vocabulary = parts["model"]["vocab"]
    ids = dict(vocabulary)
    if any(token["id"] != library_id(token["content"], ids) for token in parts["added_tokens"]):
        names = vocabulary | {token["content"]: token["id"] for token in parts["added_tokens"]}
        parts["model"]["vocab"] = dict(sorted(names.items(), key=lambda entry: entry[1]))
    return parts


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


def _write_old(model: dict[str, Any], folder: Path) -> None:
    """Writes `vocab.txt`, or `vocab.json` and `merges.txt`. The added tokens are in `tokenizer_config.json`."""
    pieces = model["vocab"]
    if model["type"] == "BPE":
        _write(folder / "vocab.json", pieces)
        merges = (" ".join(pair) for pair in model["merges"])
        (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges)) + "\n")
    elif sorted(pieces.values()) == list(range(len(pieces))):  # a line's number is its id
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.__getitem__)))


def _write(path: Path, contents: dict[str, Any]) -> None:
    path.write_text(json.dumps(contents, ensure_ascii=False, indent=None if path.name == "tokenizer.json" else 2) + "\n")
