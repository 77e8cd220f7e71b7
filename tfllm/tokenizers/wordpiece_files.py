"""Vocabulary files of BERT checkpoints in, one canonical description out.

In: `vocab.txt` (one piece a line, its number the id) or Hugging Face's `tokenizer.json`. Out: `WordPieceModel`, and its
`tokenizer.json` text, always the same for the same tokenizer, which the `tokenizers` and `transformers` libraries read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers.models import WordPiece

from tfllm.tokenizers.added_tokens import AddedToken, Patterns, check_apart, check_library_id, patterns_of
from tfllm.tokenizers.bert_character_tables import TextSettings
from tfllm.tokenizers.tokenizer_config import CONFIG, TokenizerConfig, read_json

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
MAX_CHARACTERS = 100
CLASSES = ("BertTokenizer", "PreTrainedTokenizer")
"""Whose `vocab.txt` is read."""


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
        check_apart(self.added, self.vocabulary)
        ids = dict(self.vocabulary)
        for token in sorted(self.added, key=lambda token: token.id):
            check_library_id(token, ids)
        self.patterns()

    def patterns(self) -> Patterns:
        """What is looked for in text before all else. Raises ValueError where nothing is left of a token."""
        return patterns_of(self.added, self.text.normalizer().normalize_str)

    def ids(self) -> dict[str, int]:
        """Piece -> id, the added tokens too."""
        return {**self.vocabulary, **{token.content: token.id for token in self.added}}

    def specials(self) -> set[str]:
        """Pieces that decode to nothing."""
        return {*SPECIALS, self.unk, *(token.content for token in self.added if token.special)}


def with_specials(vocabulary: Mapping[str, int], text: TextSettings, unk: str = UNK) -> WordPieceModel:
    """The model in which BERT's five specials, as far as the vocabulary has them, are looked for in the text."""
    added = effective_tokens(AddedToken(vocabulary[piece], piece) for piece in SPECIALS if piece in vocabulary)
    return WordPieceModel(vocabulary, text, added, unk)


def read_model(path: str | Path, text: TextSettings, unk: str = UNK) -> WordPieceModel:
    """`*.json` is read as `tokenizer.json`, with its own settings; anything else as `vocab.txt`, with `text`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a vocab.txt or a tokenizer.json")
    try:
        if path.suffix == ".json":
            return parse_model(path.read_bytes())
        # A piece that stands twice has its last id, as in BERT's own reader.
        return with_specials(WordPiece.read_file(str(path)), text, unk)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # the library raises a bare Exception for a file that is no UTF-8
        if type(error) is not Exception:
            raise
        raise ValueError(f"{path} is no vocabulary ({error}); accepted: UTF-8, one piece a line") from error


def read_folder(folder: Path) -> WordPieceModel:
    """That of `tokenizer.json`, or of `vocab.txt` as `tokenizer_config.json` says, with the tokens that the other files name.

    Raises ValueError where files contradict each other, or say what is not supported.
    """
    named = TokenizerConfig.of(folder)
    stated = folder / "tokenizer.json"
    if stated.is_file():
        model = read_model(stated, TextSettings(True, True, True))
        _check_agree(folder, named.config, read_json(stated)["normalizer"])
        added = named.beside(model.vocabulary, model.added, effective_flags=effective_flags)
    else:
        _check_words(folder, named.config)
        lowercase, accents = named.config.get("do_lower_case", True), named.config.get("strip_accents")
        split_cjk = named.config.get("tokenize_chinese_chars", True)
        text = TextSettings(lowercase, lowercase if accents is None else accents, split_cjk)
        model = read_model(folder / "vocab.txt", text, named.role("unk_token") or UNK)
        added = named.beside(model.vocabulary, usual=model.added, effective_flags=effective_flags)
    if named.config.get("split_special_tokens"):
        raise ValueError(
            f"{folder / CONFIG}: split_special_tokens is not supported: {MASK!r} in a text is found. Set it to false"
        )
    roles = {"cls_token": CLS, "sep_token": SEP, "pad_token": PAD, "mask_token": MASK, "unk_token": model.unk}
    for role, ours in roles.items():
        if (theirs := named.role(role)) not in (None, ours):
            raise ValueError(
                f"{folder}: the {role} is {theirs!r}, which is not supported; accepted: {ours!r}. Give tokenizer=…"
            )
    return replace(model, added=effective_tokens(added))


def _check_words(folder: Path, said: Mapping[str, Any]) -> None:
    """`vocab.txt` does not say how its texts were cut into words; other classes than BERT's cut otherwise."""
    config = folder / "config.json"
    name = said.get("tokenizer_class") or (read_json(config).get("tokenizer_class") if config.is_file() else None)
    settings = {"do_basic_tokenize": True, "word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
    wrong = {key: said[key] for key, usual in settings.items() if said.get(key, usual) != usual}
    wrong |= {"never_split": said["never_split"]} if said.get("never_split") else {}
    if name is not None and name.removesuffix("Fast") not in CLASSES:
        wrong["tokenizer_class"] = name
    if wrong:
        raise ValueError(
            f"{folder}: the tokenizer has {wrong}; vocab.txt is read for {' and '.join(CLASSES)}, which cut "
            "words at spaces and punctuation. Give the model's tokenizer.json, or tokenizer=…"
        )


def _check_agree(folder: Path, said: Mapping[str, Any], normalizer: Mapping[str, Any]) -> None:
    """Transformers lets `tokenizer_config.json` overrule `tokenizer.json`, other libraries do not."""
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}
    for theirs, ours in names.items():
        if said.get(theirs) is not None and normalizer.get(ours) is not None and said[theirs] != normalizer[ours]:
            raise ValueError(
                f"{folder}: tokenizer_config.json says {theirs}={said[theirs]!r}, tokenizer.json "
                f"{ours}={normalizer[ours]!r}: put the one the model was trained with into both"
            )


def parse_model(content: bytes) -> WordPieceModel:
    """`tokenizer.json` -> the model, or ValueError naming the first part that is not supported.

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
        added = effective_tokens(AddedToken.of(fields) for fields in parts.get("added_tokens") or ())
        return WordPieceModel(model["vocab"], text, added, model["unk_token"], model["max_input_chars_per_word"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no tokenizer.json of a WordPiece tokenizer ({error!r})") from error


def effective_tokens(tokens: Iterable[AddedToken]) -> tuple[AddedToken, ...]:
    """The tokens in the order of their ids, without the flags that change no ids.

    lstrip and rstrip take in white space, which WordPiece drops anyway. They matter only where a token itself begins or ends
    with white space: then all tokens keep them.
    """
    tokens = sorted(tokens, key=lambda token: token.id)
    if any(token.content != token.content.strip() for token in tokens):
        return tuple(tokens)
    return tuple(map(effective_flags, tokens))


def effective_flags(token: AddedToken) -> AddedToken:
    """The token without lstrip and rstrip, which change no ids where it neither begins nor ends with white space."""
    return token if token.content != token.content.strip() else replace(token, lstrip=False, rstrip=False)


def _only(name: str, found: Any, accepted: Any) -> None:
    if found != accepted:
        raise ValueError(f"{name} is {found!r}, which is not supported; accepted: {accepted!r}")


def canonical(model: WordPieceModel) -> bytes:
    """`tokenizer.json` of the model, every part spelt out and in order: equal models, equal bytes."""
    ids = model.ids()
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    parts = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token.id, "content": token.content, **{flag: getattr(token, flag) for flag in flags}}
            for token in model.added
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
