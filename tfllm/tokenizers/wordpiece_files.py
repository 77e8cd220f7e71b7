"""Vocabulary files of BERT checkpoints in, one canonical description out.

In: `vocab.txt` (one piece a line, its number the id) or Hugging Face's `tokenizer.json`. Out: `WordPieceModel`, and its
`tokenizer.json` text, always the same for the same tokenizer, which the `tokenizers` and `transformers` libraries read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers.models import WordPiece

from tfllm.tokenizers.bert_tables import TextSettings

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
MAX_CHARACTERS = 100


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in the text before all else. `special` ones decode to nothing."""

    content: str
    id: int
    special: bool = True


@dataclass(frozen=True)
class WordPieceModel:
    """All that decides ids: `vocabulary` (piece -> id), how text is cleaned, the unknown piece, the longest word."""

    vocabulary: Mapping[str, int]
    text: TextSettings
    added: tuple[AddedToken, ...]
    unk: str = UNK
    max_characters: int = MAX_CHARACTERS

    def __post_init__(self) -> None:
        for piece in {PAD, CLS, SEP, self.unk}:
            if piece not in self.ids():
                raise ValueError(f"the vocabulary has no {piece!r}; a WordPiece tokenizer needs {PAD} {self.unk} {CLS} {SEP}")
        ids = dict(self.vocabulary)
        for token in sorted(self.added, key=lambda token: token.id):
            if token.id != (given := ids.setdefault(token.content, len(ids))):
                raise ValueError(
                    f"the added token {token.content!r} has the id {token.id}, and `tokenizers` gives it {given}: ids of "
                    "added tokens go on where the vocabulary ends"
                )
            # Each is found in the text as a whole, and then has to pass as one word.
            if not 0 < len(token.content) < self.max_characters or re.search(r"\s", token.content):
                raise ValueError(
                    f"the added token {token.content!r:.60} cannot be carried; accepted: 1 to {self.max_characters - 1} "
                    "characters, no white space. Remove it from added_tokens"
                )

    def ids(self) -> dict[str, int]:
        """Piece -> id, the added tokens too."""
        return {**self.vocabulary, **{token.content: token.id for token in self.added}}

    def specials(self) -> set[str]:
        """Pieces that decode to nothing."""
        return {*SPECIALS, self.unk, *(token.content for token in self.added if token.special)}


def with_specials(vocabulary: Mapping[str, int], text: TextSettings) -> WordPieceModel:
    """The model in which BERT's five specials, as far as the vocabulary has them, are looked for in the text."""
    added = tuple(AddedToken(piece, vocabulary[piece]) for piece in SPECIALS if piece in vocabulary)
    return WordPieceModel(vocabulary, text, added)


def read_model(path: str | Path, text: TextSettings) -> WordPieceModel:
    """`*.json` is read as `tokenizer.json`, with its own settings; anything else as `vocab.txt`, with `text`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a vocab.txt or a tokenizer.json")
    try:
        if path.suffix == ".json":
            return parse_model(path.read_bytes())
        # A piece that stands twice has its last id, as in BERT's own reader.
        return with_specials(WordPiece.read_file(str(path)), text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # the library raises a bare Exception for a file that is no UTF-8
        if type(error) is not Exception:
            raise
        raise ValueError(f"{path} is no vocabulary ({error}); accepted: UTF-8, one piece a line") from error


def parse_model(content: bytes) -> WordPieceModel:
    """`tokenizer.json` -> the model, or ValueError naming the first part that is not carried.

    Padding, truncation, the post-processor and the decoder decide no ids of a text and are passed over.
    """
    try:
        parts = json.loads(content)
        model, normalizer = parts["model"], parts["normalizer"] or {}
        _only("model", model.get("type", "WordPiece"), "WordPiece")
        _only("model.continuing_subword_prefix", model.get("continuing_subword_prefix", CONTINUES), CONTINUES)
        _only("normalizer", normalizer.get("type"), "BertNormalizer")
        _only("normalizer.clean_text", normalizer["clean_text"], True)
        _only("pre_tokenizer", (parts["pre_tokenizer"] or {}).get("type"), "BertPreTokenizer")
        lowercase, strip = normalizer["lowercase"], normalizer.get("strip_accents")
        text = TextSettings(lowercase, lowercase if strip is None else strip, normalizer["handle_chinese_chars"])
        added = tuple(_added_token(fields) for fields in parts.get("added_tokens") or ())
        return WordPieceModel(model["vocab"], text, added, model["unk_token"], model["max_input_chars_per_word"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no tokenizer.json of a WordPiece tokenizer ({error!r})") from error


def _added_token(fields: Mapping[str, Any]) -> AddedToken:
    # lstrip and rstrip take in white space, which WordPiece drops anyway.
    for name in ("single_word", "normalized"):
        _only(f"added_tokens {fields['content']!r}: {name}", fields.get(name, False), False)
    return AddedToken(fields["content"], fields["id"], fields["special"])


def _only(name: str, found: Any, accepted: Any) -> None:
    if found != accepted:
        raise ValueError(f"{name} is {found!r}, which is not carried; accepted: {accepted!r}")


def canonical(model: WordPieceModel) -> bytes:
    """`tokenizer.json` of the model, every part spelt out and in order: equal models, equal bytes."""
    ids = model.ids()
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    parts = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token.id, "content": token.content, **flags, "special": token.special}
            for token in sorted(model.added, key=lambda token: token.id)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": model.text.split_cjk,
            "strip_accents": model.text.strip_accents,
            "lowercase": model.text.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": [SEP, ids[SEP]], "cls": [CLS, ids[CLS]]},
        "decoder": {"type": "WordPiece", "prefix": CONTINUES, "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": model.unk,
            "continuing_subword_prefix": CONTINUES,
            "max_input_chars_per_word": model.max_characters,
            "vocab": dict(sorted(model.vocabulary.items(), key=lambda entry: entry[1])),
        },
    }
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
