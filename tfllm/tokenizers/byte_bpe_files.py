"""Hugging Face's files of a byte-level BPE tokenizer, read strictly and written in one canonical form.

In: `tokenizer.json`, or a folder with `vocab.json` and `merges.txt` (`encoder.json` and `vocab.bpe`, as GPT-2 had them).
Out: a `Vocabulary`. What it cannot carry is an error that names it. Left unread, since they change no id of a text:
truncation, padding, offsets, and the post-processor, which adds specials: rows are opened and closed by `tfllm.data`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.split_patterns import GPT2, SPLIT_PATTERNS, SplitPattern

FILE_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
SPECIALS_OF_PAIRS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>")
"""What is taken for a special token in a `vocab.json`, which does not say."""
CLASSES_OF_PAIRS = ("GPT2Tokenizer", "RobertaTokenizer")
"""Whose `vocab.json` and `merges.txt` are read: others cut text by other patterns, which only their `tokenizer.json` tells."""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


@dataclass(frozen=True)
class AddedToken:
    """A token beside the merges. special: it decodes to nothing. lstrip, rstrip: found in text, it takes white space along."""

    id: int
    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False


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
        missing = [byte for byte, letter in enumerate(byte_letters()) if letter not in self.pieces]
        if missing:
            raise ValueError(
                f"the vocabulary has no piece for {len(missing)} bytes (0x{missing[0]:02X} is one): not byte-level"
            )

    def hugging_face(self) -> dict[str, Any]:
        """The whole `tokenizer.json`."""
        split = {"type": "Split", "pattern": {"Regex": self.pattern.original}, "behavior": "Isolated", "invert": False}
        plain = {"single_word": False, "normalized": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [asdict(token) | plain for token in self.added],
            "normalizer": {"type": "NFC"} if self.nfc else None,
            "pre_tokenizer": BYTE_LEVEL | {"use_regex": True}
            if self.pattern is GPT2
            else {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]},
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


def read(path: str | Path) -> Vocabulary:
    """The vocabulary of a `tokenizer.json`, or of a folder that has one, or `vocab.json` and `merges.txt`."""
    path = Path(path)
    if not path.is_dir():
        return parse(path.read_bytes(), str(path))
    if (path / "tokenizer.json").is_file():
        return parse((path / "tokenizer.json").read_bytes(), str(path / "tokenizer.json"))
    for pieces, merges in FILE_PAIRS:
        if (path / pieces).is_file() and (path / merges).is_file():
            return _read_pair(path / pieces, path / merges)
    there = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(f"{path} has no tokenizer.json, and no vocab.json with merges.txt (it holds {there})")


def _read_pair(pieces_file: Path, merges_file: Path) -> Vocabulary:
    """GPT-2's and RoBERTa's older form; the pattern is GPT-2's."""
    config = pieces_file.with_name("tokenizer_config.json")
    said = json.loads(config.read_bytes()) if config.is_file() else {}
    name = said.get("tokenizer_class")
    _accept(str(config), "add_prefix_space", said.get("add_prefix_space") or False, (False,))
    if name is not None and name.removesuffix("Fast") not in CLASSES_OF_PAIRS:
        raise ValueError(
            f"{config} names {name}; vocab.json and merges.txt are read for {' and '.join(CLASSES_OF_PAIRS)}. "
            "Give the model's tokenizer.json, which tells how its text is cut"
        )
    pieces = json.loads(pieces_file.read_bytes())
    lines = merges_file.read_text(encoding="utf-8").split("\n")
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#version"):
            continue
        left, _, right = line.strip().partition(" ")
        if not right or " " in right:
            raise ValueError(f"{merges_file}, line {number} is {line!r}; accepted: two pieces and a space between them")
        merges.append((left, right))
    # RoBERTa's mask takes the spaces before it: "a <mask>" reads as "a word" would.
    added = [AddedToken(pieces[name], name, lstrip=name == "<mask>") for name in SPECIALS_OF_PAIRS if name in pieces]
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
    added = sorted((_added(token, name) for token in spec.get("added_tokens", ())), key=lambda token: token.id)
    pattern = _pattern(spec.get("pre_tokenizer") or {}, name)
    return Vocabulary(model["vocab"], merges, added, pattern, bool(normalizer), bool(model.get("ignore_merges")))


def _accept(name: str, what: str, found: Any, accepted: tuple[Any, ...]) -> None:
    if found not in accepted:
        known = ", ".join("none" if value is None else repr(value) for value in accepted)
        raise ValueError(f"{name}: the {what} is {found!r}; accepted: {known}. This tokenizer cannot be carried over")


def _added(token: Mapping[str, Any], name: str) -> AddedToken:
    content = token["content"]
    if token.get("single_word"):
        raise ValueError(f"{name}: the added token {content!r} is 'single_word'; accepted: tokens that are found anywhere")
    # Added tokens in text are plain text here, which is harmless only where text does not hold them by chance.
    if not token["special"] and content[:1] + content[-1:] not in ("<>", "[]"):
        raise ValueError(f"{name}: the added token {content!r} may stand in any text; accepted: special tokens, <…> and […]")
    return AddedToken(token["id"], content, token["special"], token.get("lstrip", False), token.get("rstrip", False))


def _pattern(pre_tokenizer: Mapping[str, Any], name: str) -> SplitPattern:
    """GPT-2's inside ByteLevel, or a Split before it."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    kinds = [step.get("type") for step in steps]
    _accept(name, "pre_tokenizer", kinds, (["ByteLevel"], ["Split", "ByteLevel"]))
    _accept(name, "add_prefix_space", steps[-1].get("add_prefix_space", True), (False,))
    _accept(name, "ByteLevel use_regex", steps[-1].get("use_regex", True), (len(steps) == 1,))
    if len(steps) == 1:
        return GPT2
    _accept(name, "Split behavior", steps[0].get("behavior"), ("Isolated",))
    _accept(name, "Split invert", steps[0].get("invert", False), (False,))
    regex = steps[0]["pattern"].get("Regex")
    for pattern in SPLIT_PATTERNS:
        if pattern.original == regex:
            return pattern
    known = "\n".join(pattern.original for pattern in SPLIT_PATTERNS)
    raise ValueError(f"{name}: the split pattern is\n{steps[0]['pattern']}\naccepted:\n{known}")
