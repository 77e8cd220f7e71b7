"""Hugging Face's files of a byte-level BPE tokenizer, read strictly and written in one canonical form.

In: `tokenizer.json`, or a folder with `vocab.json` and `merges.txt` (`encoder.json` and `vocab.bpe`, as GPT-2 had them).
Out: a `Vocabulary`. What it cannot carry is an error that names it. Left unread, since they change no id of a text:
truncation, padding, offsets, and the post-processor, which adds specials: rows are opened and closed by `tfllm.data`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tfllm.tokenizers.added_tokens import AddedToken, check_apart
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.split_patterns import GPT2, SMOLLM, SPLIT_PATTERNS, SplitPattern
from tfllm.tokenizers.tokenizer_config import CONFIG, TokenizerConfig, read_json

FILE_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
SPECIALS_OF_PAIRS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>")
"""What is taken for a special token in a `vocab.json`, which does not say."""
CLASSES_OF_PAIRS = ("GPT2Tokenizer", "RobertaTokenizer")
"""Whose `vocab.json` and `merges.txt` are read: others cut text by other patterns, which only their `tokenizer.json` tells."""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
MASK = "<mask>"
NEEDED = (*b"\t\n\r", *range(0x20, 0x7F))
"""Bytes that every byte-level vocabulary has a piece for."""


@dataclass(frozen=True)
class Vocabulary:
    """All that decides ids: pieces in GPT-2's letters -> ids, merges in their order, and how text is cut."""

    pieces: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    added: Sequence[AddedToken]
    pattern: SplitPattern = GPT2
    nfc: bool = False
    ignore_merges: bool = False
    """A word that is a piece gets its id, whether or not merges lead there."""

    def __post_init__(self) -> None:
        if missing := [byte for byte in self.missing if byte in NEEDED]:
            raise ValueError(
                f"the vocabulary has no piece for {len(missing)} bytes of ASCII (0x{missing[0]:02X} is one): not byte-level"
            )
        check_apart(self.added, self.pieces)
        alone = [token.content for token in self.found if token.single_word and token.content not in self.pieces]
        if self.ignore_merges and alone:
            raise ValueError(
                f"the added token {alone[0]!r} is 'single_word', which is not supported together with 'ignore_merges'"
            )

    @property
    def missing(self) -> list[int]:
        """Bytes without a piece: what text has of them gets no ids, as in `tokenizers`. SmolLM's lacks control characters."""
        return [byte for byte, letter in enumerate(byte_letters()) if letter not in self.pieces]

    @property
    def found(self) -> list[AddedToken]:
        """The added tokens that are looked for in text: no special one but the mask."""
        return [token for token in self.added if not token.special or token.content == MASK]

    def hugging_face(self) -> dict[str, Any]:
        """The whole `tokenizer.json`."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [asdict(token) for token in self.added],
            "normalizer": {"type": "NFC"} if self.nfc else None,
            "pre_tokenizer": _pre_tokenizer(self.pattern),
            "post_processor": None,
            "decoder": BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self.ignore_merges,
                "vocab": dict(sorted(self.pieces.items(), key=lambda item: item[1])),
                "merges": self.merges,
            },
        }

    def canonical(self) -> bytes:
        """The same bytes for the same vocabulary, whichever file it came from."""
        return json.dumps(self.hugging_face(), ensure_ascii=False, separators=(",", ":")).encode()


def _pre_tokenizer(pattern: SplitPattern) -> dict[str, Any]:
    whole = BYTE_LEVEL | {"use_regex": True}
    if pattern is GPT2:
        return whole
    split = {"type": "Split", "pattern": {"Regex": pattern.original}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [DIGITS, whole] if pattern.digits_alone else [split, BYTE_LEVEL]}


def read(path: str | Path) -> Vocabulary:
    """The vocabulary of a `tokenizer.json` alone, or of a folder.

    In a folder it is that file's, or that of `vocab.json` and `merges.txt`, with the tokens that `tokenizer_config` reads.
    """
    path = Path(path)
    if not path.is_dir():
        return parse(path.read_bytes(), str(path))
    named = TokenizerConfig.of(path)
    _accept(str(path / CONFIG), "add_prefix_space", named.config.get("add_prefix_space") or False, (False,))
    if (path / "tokenizer.json").is_file():
        vocabulary = parse((path / "tokenizer.json").read_bytes(), str(path / "tokenizer.json"))
        added = named.beside(vocabulary.pieces, vocabulary.added, effective_flags=effective_flags)
    else:
        vocabulary = _read_pair(path, named.config.get("tokenizer_class"))
        added = named.beside(vocabulary.pieces, usual=vocabulary.added, effective_flags=effective_flags)
    if named.config.get("split_special_tokens") and any(token.special for token in vocabulary.found):
        raise ValueError(
            f"{path / CONFIG}: split_special_tokens is not supported: {MASK!r} in a text is found. Set it to false"
        )
    return replace(vocabulary, added=added)


def _read_pair(folder: Path, tokenizer_class: str | None) -> Vocabulary:
    """GPT-2's and RoBERTa's older form; the pattern is GPT-2's."""
    pairs = [(folder / pieces, folder / merges) for pieces, merges in FILE_PAIRS]
    pair = next((pair for pair in pairs if pair[0].is_file() and pair[1].is_file()), None)
    if pair is None:
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{folder} has no tokenizer.json, and no vocab.json with merges.txt (it holds {there})")
    if tokenizer_class is not None and tokenizer_class.removesuffix("Fast") not in CLASSES_OF_PAIRS:
        raise ValueError(
            f"{folder / CONFIG} names {tokenizer_class}; vocab.json and merges.txt are read for "
            f"{' and '.join(CLASSES_OF_PAIRS)}. Give the model's tokenizer.json, which tells how its text is cut"
        )
    pieces = read_json(pair[0])
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(pair[1].read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip() or line.startswith("#version"):
            continue
        left, _, right = line.strip().partition(" ")
        if not right or " " in right:
            raise ValueError(f"{pair[1]}, line {number} is {line!r}; accepted: two pieces and a space between them")
        merges.append((left, right))
    # RoBERTa's mask takes the spaces before it: "a <mask>" reads as "a word" would.
    added = [AddedToken(pieces[name], name, lstrip=name == MASK) for name in SPECIALS_OF_PAIRS if name in pieces]
    return Vocabulary(pieces, merges, sorted(added, key=lambda token: token.id))


def parse(content: bytes, name: str) -> Vocabulary:
    """The vocabulary of a `tokenizer.json`'s bytes; `name` stands in errors."""
    spec = json.loads(content)
    if not isinstance(spec, dict) or "model" not in spec:
        raise ValueError(
            f"{name} is no Hugging Face tokenizer.json: it has no 'model'. A folder that tfllm saved is opened by "
            "tfllm.tokenizers.load"
        )
    model = spec["model"]
    _accept(name, "model type", model.get("type", "BPE" if "merges" in model else None), ("BPE",))
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _accept(name, key, model.get(key) or None, (None,))
    normalizer = spec.get("normalizer") or {}
    _accept(name, "normalizer", normalizer.get("type"), (None, "NFC"))
    _accept(name, "decoder", (spec.get("decoder") or BYTE_LEVEL).get("type"), ("ByteLevel",))
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    merges = [(left, right) for left, right in pairs]
    added = sorted(
        (effective_flags(AddedToken.of(token)) for token in spec.get("added_tokens", ())), key=lambda token: token.id
    )
    pattern = _pattern(spec.get("pre_tokenizer") or {}, name)
    return Vocabulary(model["vocab"], merges, added, pattern, bool(normalizer), bool(model.get("ignore_merges")))


def _accept(name: str, what: str, found: Any, accepted: tuple[Any, ...]) -> None:
    if found not in accepted:
        known = ", ".join("none" if value is None else repr(value) for value in accepted)
        raise ValueError(f"{name}: the {what} is {found!r}; accepted: {known}. This tokenizer cannot be carried over")


def effective_flags(token: AddedToken) -> AddedToken:
    """The token without flags that change no ids: of special tokens only the mask is found in text, and never normalized."""
    if not token.special:
        return token
    return replace(token, normalized=False, single_word=token.single_word and token.content == MASK)


def _pattern(pre_tokenizer: Mapping[str, Any], name: str) -> SplitPattern:
    """GPT-2's inside ByteLevel, alone or behind Digits, or a Split before it."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    kinds = [step.get("type") for step in steps]
    _accept(name, "pre_tokenizer", kinds, (["ByteLevel"], ["Digits", "ByteLevel"], ["Split", "ByteLevel"]))
    _accept(name, "add_prefix_space", steps[-1].get("add_prefix_space", True), (False,))
    _accept(name, "ByteLevel use_regex", steps[-1].get("use_regex", True), (kinds[0] != "Split",))
    if kinds[0] == "Digits":
        _accept(name, "Digits individual_digits", steps[0].get("individual_digits", False), (True,))
        return SMOLLM
    if kinds[0] == "ByteLevel":
        return GPT2
    _accept(name, "Split behavior", steps[0].get("behavior"), ("Isolated",))
    _accept(name, "Split invert", steps[0].get("invert", False), (False,))
    regex = steps[0]["pattern"].get("Regex")
    patterns = [pattern for pattern in SPLIT_PATTERNS if not pattern.digits_alone]
    for pattern in patterns:
        if pattern.original == regex:
            return pattern
    known = "\n".join(pattern.original for pattern in patterns)
    raise ValueError(f"{name}: the split pattern is\n{steps[0]['pattern']}\naccepted:\n{known}")
