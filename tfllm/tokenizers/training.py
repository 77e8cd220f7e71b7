"""Text files in, a tokenizer out: the same input gives the same model, byte for byte, on any number of cores.

In: UTF-8 text files, folders, globs, or an iterable of strings. Out: a `Tokenizer`.
Source: SentencePiece's trainer (arXiv 1808.06226), run in a process of its own, whose log is the progress bar.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfllm.tokenizers.base import SPECIAL_PIECES, Tokenizer
from tfllm.tokenizers.bytes import ByteTokenizer
from tfllm.tokenizers.corpus import Corpus, sample
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer, lossless

KINDS = ("unigram", "bpe", "bytes")
DEFAULT_VOCAB_SIZE = 8192
DEFAULT_MAX_BYTES = 16 << 20
SYMBOLS = ("\n", "\t")
# Sums of floats depend on how the work is cut: a constant, so that the machine's cores do not change the model.
TRAINING_THREADS = 8
# The trainer takes no longer sentences; a longer line is cut.
SENTENCE_CHARACTERS = 4096
# NUL ends the trainer's sentences, U+2581 is its space, a sentence with U+2585 is dropped by it; a tab is its own boundary mark.
RESERVED = str.maketrans({"\0": "\t", "\u2581": "\t", "\u2585": "\t"})
CHILD = "import json, sys, sentencepiece; sentencepiece.SentencePieceTrainer.train(**json.loads(sys.argv[1]))"


def train(
    paths: str | Path | Sequence[str | Path] = (),
    *,
    kind: str = "unigram",
    vocab_size: int | None = None,
    texts: Iterable[str] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    character_coverage: float = 0.9995,
    invalid_utf8: str = "error",
    progress: bool = True,
) -> Tokenizer:
    """Trains a tokenizer on text files, folders (all files below) and globs, or on `texts`.

    kind: "unigram" (SentencePiece, fast to encode), "bpe" (fewer ids a text, a fifth of the speed), "bytes" (no training, 259 ids).
    vocab_size: ids in all, specials and the 256 bytes of the fallback included; 8192 unless given.
    max_bytes: a larger corpus is sampled down to this many bytes, evenly and always alike; memory and time stay bounded by it.
    character_coverage: characters rarer than the rest (1 - coverage of the text) get no id of their own and are spelt in bytes.
    invalid_utf8: "error" names the first file that is no UTF-8, "skip" leaves such files out.

    Raises ValueError (wrong setting, no text, a vocabulary the text cannot fill) and FileNotFoundError (a path that is not there).
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; accepted: {', '.join(map(repr, KINDS))}")
    if kind == "bytes":
        if vocab_size not in (None, ByteTokenizer.vocab_size):
            raise ValueError(
                f"vocab_size is {vocab_size}; bytes have {ByteTokenizer.vocab_size} ids: leave it out"
            )
        return ByteTokenizer()
    vocab_size = DEFAULT_VOCAB_SIZE if vocab_size is None else vocab_size
    least = len(SPECIAL_PIECES) + 256 + len(SYMBOLS) + 1
    if vocab_size < least:
        raise ValueError(
            f"vocab_size is {vocab_size}; at least {least} ids are needed (specials, 256 bytes, line break, tab, a piece): "
            "raise it, or use kind='bytes'"
        )
    if (texts is None) == (not paths):
        raise ValueError("give either paths (files, folders, globs) or texts=, an iterable of strings")
    corpus = Corpus.of_texts(texts) if texts is not None else Corpus.of_paths(paths, invalid_utf8)
    chunks = sample(corpus, max_bytes, progress)
    if not any(chunk.strip() for chunk in chunks):
        raise ValueError(f"no text to train on in {corpus.name}: all of it is empty or white space")
    settings = _settings(kind, vocab_size, character_coverage)
    return SentencePieceTokenizer(_train_native(_sentences(chunks), settings, progress))


def _sentences(chunks: Iterable[str]) -> Iterator[str]:
    """The trainer's sentences, a line each.

    ["def f():\\n    pass\\n\\n"] -> ["def f():", "    pass"]
    """
    for chunk in chunks:
        for line in chunk.translate(RESERVED).split("\n"):
            for start in range(0, len(line), SENTENCE_CHARACTERS):
                yield line[start : start + SENTENCE_CHARACTERS]


def _settings(kind: str, vocab_size: int, character_coverage: float) -> dict[str, Any]:
    pad, eos, unk = SPECIAL_PIECES
    return {
        "input": "sentences.txt",
        "model_prefix": "trained",
        "model_type": kind,
        "vocab_size": vocab_size,
        "character_coverage": character_coverage,
        "num_threads": TRAINING_THREADS,
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "pad_piece": pad,
        "eos_piece": eos,
        "unk_piece": unk,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": list(SYMBOLS),
        # Indentation is a few pieces, not a piece a space: 1.96 -> 3.23 bytes a token on the standard library.
        "allow_whitespace_only_pieces": True,
        # Names and punctuation that go together may be one piece: 3.23 -> 3.54.
        "split_by_unicode_script": False,
        "max_sentence_length": 8 * SENTENCE_CHARACTERS,
    }


def _train_native(sentences: Iterable[str], settings: dict[str, Any], progress: bool) -> bytes:
    """The trained model, made lossless. A child trains, for its log is the only sign of progress it gives."""
    with tempfile.TemporaryDirectory(prefix="tfllm-tokenizer-") as folder:
        with (Path(folder) / "sentences.txt").open("w", encoding="utf-8", newline="") as file:
            file.writelines(sentence + "\n" for sentence in sentences)
        command = [sys.executable, "-c", CHILD, json.dumps(settings)]
        child = subprocess.Popen(
            command,
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        try:
            tail = _follow(child.stderr, settings, progress)
        finally:
            child.kill()
            child.wait()
        path = Path(folder) / "trained.model"
        if not path.is_file():
            raise ValueError(_reason(tail, settings))
        return lossless(path.read_bytes())


def _follow(log: Any, settings: dict[str, Any], progress: bool) -> list[str]:
    """Shows the trainer's log as a bar; returns its last lines, for the error message."""
    tail: list[str] = []
    first = 0
    with tqdm(total=100, desc="training tokenizer", unit="%", disable=not progress, leave=True) as bar:
        for line in log:
            tail = [*tail[-19:], line.rstrip()]
            size = re.search(r"(?:EM sub_iter=\d+|Added: freq=\d+) size=(\d+)", line)
            if not size or not int(size[1]):
                continue
            now = int(size[1])
            if settings["model_type"] == "bpe":
                done = now / settings["vocab_size"]
            else:
                # Unigram prunes a large first vocabulary by a constant factor a round.
                first = first or now
                done = math.log(first / now) / max(1e-9, math.log(first / settings["vocab_size"]))
            bar.update(max(0, min(100, round(100 * done)) - bar.n))
        bar.update(100 - bar.n)
    return tail


def _reason(tail: list[str], settings: dict[str, Any]) -> str:
    """The trainer's complaint, and what to do about it."""
    log = "\n".join(tail)
    size = settings["vocab_size"]
    if most := re.search(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)", log):
        return f"vocab_size is {size}, but the text gives no more than {most[1]} pieces: lower it, or train on more text"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", log):
        return (
            f"vocab_size is {size}, but the text's characters alone need {least[1]} ids: raise it, or lower "
            f"character_coverage (now {settings['character_coverage']}), so that rare characters are spelt in bytes"
        )
    return f"SentencePiece did not train a model. Its last words:\n{log}"
