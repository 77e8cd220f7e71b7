"""Text files in, a tokenizer out: the same input gives the same model, byte for byte, on any number of cores.

In: files, folders, globs, or an iterable of strings. Out: a `Tokenizer`.
Source: SentencePiece's trainer (arXiv 1808.06226), run in a process of its own, whose log is the progress bar.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from tfllm.progress import progress_bar
from tfllm.tokenizers.base import SPECIAL_PIECES, Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.bytes import ByteTokenizer
from tfllm.tokenizers.character_coverage import LEAST_COVERAGE, too_many_characters
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer, lossless
from tfllm.tokenizers.training_text import Corpus, sample
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

KINDS = ("unigram", "bpe", "byte_bpe", "wordpiece", "bytes")
SENTENCEPIECE_KINDS = ("unigram", "bpe")
DEFAULT_VOCAB_SIZE = 8192
DEFAULT_MAX_BYTES = 8 << 20
# Sums of floats depend on how the work is cut: a constant, so that the machine's cores do not change the model.
TRAINING_THREADS = 8
# A longer line is cut, for the trainer drops long sentences.
SENTENCE_CHARACTERS = 4096
LINE_BREAK_MARK = "\ue000"
# The trainer cuts pieces at a tab, ends its strings at NUL, takes U+2581 for a space and drops sentences with U+2585.
RESERVED = str.maketrans(dict.fromkeys("\0\u2581\u2585" + LINE_BREAK_MARK, "\t"))
# Unigram starts from the pieces of a BPE vocabulary this much larger than its own.
SEEDS = 1.5
# prctl(PR_SET_PDEATHSIG, SIGKILL): it ends with its parent.
CHILD = """import ctypes, json, sys, sentencepiece
ctypes.CDLL(None).prctl(1, 9)
sentencepiece.SentencePieceTrainer.train(**json.loads(sys.argv[1]))
"""


def train(
    paths: str | Path | Sequence[str | Path] = (),
    *,
    kind: str = "unigram",
    vocab_size: int | None = None,
    texts: Iterable[str] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    character_coverage: float = 0.9995,
    line_break_pieces: bool = False,
    lowercase: bool | None = None,
    field: str = "text",
    exclude: str | Sequence[str] = (),
    invalid_utf8: str = "error",
    progress: bool = True,
) -> Tokenizer:
    """Trains a tokenizer on the files, folders and globs that `tfllm.data.prepare` would read, or on `texts` in memory.

    kind: "unigram" (SentencePiece, fast), "bpe" (as many ids a text, a fifth of the speed), "bytes" (untrained),
        "byte_bpe" (GPT-2's and RoBERTa's, cut into words as Llama-3 does; the two settings below do not concern it),
        "wordpiece" (BERT's, for encoders: loses spaces; characters that are not covered make their words unknown).
    vocab_size: ids in all, specials and the 256 bytes of the fallback included; 8192 unless given (259 for bytes).
    max_bytes: a larger corpus is sampled down to it, evenly and always alike; it bounds memory and time.
    character_coverage: the share of the text whose characters get ids; rarer characters are spelt in bytes.
    line_break_pieces: a piece may end in a line break ("):\\n"): fewer ids, but a prompt that stops just before a
        line break is then cut otherwise than the training text was. Off, a line break is always an id of its own.
    lowercase: for "wordpiece": case and accents are lost, as in BERT's uncased models; True unless given.
    field: the string field of JSON records, the column of tables and Parquet.
    exclude: patterns of files to leave out, such as "site-packages" or "test_*.py".
    invalid_utf8: "error" names the first file (or record) that is no UTF-8, "skip" leaves such ones out.
    progress: show bars, and one line about the files that were skipped.

    Raises ValueError (a wrong setting, no text, a vocabulary the text cannot fill; SourceError: a file that cannot be read),
    FileNotFoundError (no such path, or no text in it).
    """
    size = vocab_size if vocab_size is not None else ByteTokenizer.vocab_size if kind == "bytes" else DEFAULT_VOCAB_SIZE
    _check(kind, size, character_coverage=character_coverage, line_break_pieces=line_break_pieces, lowercase=lowercase)
    if kind == "bytes":
        return ByteTokenizer()
    settings = _settings(kind, size, character_coverage, line_break_pieces) if kind in SENTENCEPIECE_KINDS else {}
    corpus = _corpus(paths, texts, field=field, exclude=exclude, invalid_utf8=invalid_utf8, progress=progress)
    chunks = sample(corpus, max_bytes, progress)
    if not any(chunk.strip() for chunk in chunks):
        raise ValueError(f"No text to train on in {corpus.name}: all of it is empty or white space. Give other files or texts.")
    if kind == "byte_bpe":
        return ByteBPETokenizer.trained(chunks, size, progress=progress)
    if kind == "wordpiece":
        return WordPieceTokenizer.trained(
            chunks, size, lowercase=lowercase is not False, character_coverage=character_coverage, progress=progress
        )
    model = _train(list(sentences(chunks, line_break_pieces)), settings, progress)
    return SentencePieceTokenizer(lossless(model, {LINE_BREAK_MARK: "\n"} if line_break_pieces else {}))


def _check(kind: str, vocab_size: int, *, character_coverage: float, line_break_pieces: bool, lowercase: bool | None) -> None:
    """Raises ValueError for a setting that is out of range, or that `kind` does not have."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is invalid: expected one of {', '.join(map(repr, KINDS))}.")
    if kind == "bytes" and vocab_size != ByteTokenizer.vocab_size:
        raise ValueError(
            f"vocab_size={vocab_size} is invalid: expected {ByteTokenizer.vocab_size}, for kind='bytes' has so many ids. "
            "Leave it out."
        )
    if lowercase is not None and kind != "wordpiece":
        raise ValueError(
            f"lowercase={lowercase!r} is invalid: expected None, for kind={kind!r} keeps case. Leave it out, or give "
            "kind='wordpiece'."
        )
    if not LEAST_COVERAGE <= character_coverage <= 1:
        raise ValueError(f"character_coverage={character_coverage!r} is invalid: expected a number from {LEAST_COVERAGE} to 1.")
    if line_break_pieces and kind not in SENTENCEPIECE_KINDS:
        raise ValueError(
            f"line_break_pieces=True is invalid: expected False with kind={kind!r}. It is for kind='unigram' and kind='bpe'."
        )


def _corpus(paths: Any, texts: Iterable[str] | None, *, field: str, exclude: Any, invalid_utf8: str, progress: bool) -> Corpus:
    """The text to train on, from files or from `texts`."""
    if (texts is None) == (not paths):
        raise ValueError("Give either paths (files, folders, globs) or texts=, an iterable of strings.")
    if texts is None:
        return Corpus.of_paths(paths, field=field, exclude=exclude, invalid_utf8=invalid_utf8, progress=progress)
    for name, value in {"field": field, "exclude": exclude}.items():
        if value and (name, value) != ("field", "text"):
            raise ValueError(
                f"{name}={value!r} is invalid: expected no {name} with texts=, for it is about files. Leave it out."
            )
    return Corpus.of_texts(texts)


def sentences(chunks: Iterable[str], line_break_pieces: bool = False) -> Iterator[str]:
    """The trainer's sentences: lines, without their line break, or with a mark in its place.

    ["def f():\\n    pass\\n\\n"], False -> ["def f():", "    pass"]
    ["def f():\\n    pass\\n\\n"], True -> ["def f():\\ue000", "    pass\\ue000", "\\ue000"]
    """
    for chunk in chunks:
        text = chunk.translate(RESERVED)
        lines = text.replace("\n", LINE_BREAK_MARK + "\n").split("\n") if line_break_pieces else text.split("\n")
        for line in lines:
            for start in range(0, len(line), SENTENCE_CHARACTERS):
                yield line[start : start + SENTENCE_CHARACTERS]


def _settings(kind: str, vocab_size: int, character_coverage: float, line_break_pieces: bool) -> dict[str, Any]:
    symbols = ["\t"] if line_break_pieces else ["\n", "\t"]
    least = len(SPECIAL_PIECES) + 256 + len(symbols) + 1
    if vocab_size < least:
        raise ValueError(
            f"vocab_size={vocab_size} is invalid: expected at least {least} (special tokens, 256 bytes, line break, tab, one "
            "piece). Raise it, or give kind='bytes'."
        )
    pad, eos, unk = SPECIAL_PIECES
    return {
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
        "user_defined_symbols": symbols,
        # Indentation in few pieces: the standard library goes from 1.96 to 3.23 bytes an id (8192 ids, unigram).
        "allow_whitespace_only_pieces": True,
        # Names and the punctuation around them may be one piece: from 3.23 to 3.54.
        "split_by_unicode_script": False,
        "max_sentence_length": 8 * SENTENCE_CHARACTERS,
    }


def _train(lines: list[str], settings: dict[str, Any], progress: bool) -> bytes:
    """The model of SentencePiece's trainer; for unigram in two stages, BPE pieces first.

    Unigram's own first vocabulary counts each word once and holds only what two different characters follow, so word and
    line ends are missing from it. With BPE's pieces to start from, the standard library goes from 3.54 to 3.81 bytes an id
    (BPE itself: 3.78), and encoding keeps unigram's speed.
    """
    # Without a pair to merge the trainer ends in a crash.
    if not any(len(part) > 1 for line in lines for part in line.split("\t")):
        raise ValueError("The text has no two characters side by side. Give more text, or kind='bytes'.")
    with tempfile.TemporaryDirectory(prefix="tfllm-tokenizer-") as name:
        folder = Path(name)
        with (folder / "sentences.txt").open("w", encoding="utf-8", newline="") as file:
            file.writelines(line + "\n" for line in lines)
        if settings["model_type"] == "unigram":
            larger = int(SEEDS * settings["vocab_size"]) + 256
            bpe = settings | {"model_type": "bpe", "vocab_size": larger, "hard_vocab_limit": False}
            seeds = _seeds(_train_native(folder, bpe, progress, "training tokenizer, 1 of 2", asked=settings), lines)
            (folder / "seeds.tsv").write_text(seeds, encoding="utf-8", newline="")
            settings = settings | {"seed_sentencepieces_file": "seeds.tsv"}
            return _train_native(folder, settings, progress, "training tokenizer, 2 of 2")
        return _train_native(folder, settings, progress, "training tokenizer")


def _seeds(model: bytes, lines: list[str]) -> str:
    """Pieces of more than one character and how often the text has them, "piece TAB count" a line."""
    native: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
    counts = np.ones(native.vocab_size(), np.int64)
    for start in range(0, len(lines), 10_000):
        rows = native.encode(lines[start : start + 10_000], num_threads=TRAINING_THREADS)
        counts += np.bincount([id for row in rows for id in row], minlength=len(counts))
    pieces = ((native.id_to_piece(id), id) for id in range(len(SPECIAL_PIECES), len(counts)) if not native.is_byte(id))
    return "".join(f"{piece}\t{counts[id]}\n" for piece, id in pieces if len(piece) > 1)


def _train_native(
    folder: Path, settings: dict[str, Any], progress: bool, title: str, *, asked: dict[str, Any] | None = None
) -> bytes:
    """Trains in a child, for its log is the only sign of progress the trainer gives.

    asked: what the user set, where that is not `settings`.
    """
    files = {"input": "sentences.txt", "model_prefix": "trained"}
    (folder / "trained.model").unlink(missing_ok=True)
    command = [sys.executable, "-c", CHILD, json.dumps(settings | files)]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, encoding="utf-8", errors="replace", **pipes) as child:
        try:
            assert child.stderr
            tail = _follow(child.stderr, settings, progress, title)
        except BaseException:
            child.kill()
            raise
    path = folder / "trained.model"
    if child.returncode or not path.is_file():
        raise ValueError(_reason(tail, asked or settings, child.returncode, folder / "sentences.txt"))
    return path.read_bytes()


def _follow(log: Iterable[str], settings: dict[str, Any], progress: bool, title: str) -> list[str]:
    """Shows the trainer's log as a bar; returns its last lines, for the error message."""
    tail: list[str] = []
    first = 0
    with progress_bar(total=100, title=title, unit="%", shown=progress) as bar:
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


def _reason(tail: list[str], settings: dict[str, Any], code: int, sentences: Path) -> str:
    """The trainer's complaint, and what to do about it."""
    log = "\n".join(tail)
    size, coverage = settings["vocab_size"], settings["character_coverage"]
    if most := re.search(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)", log):
        expected = f"expected at most {most[1]}, the pieces that the text gives"
        return f"vocab_size={size} is invalid: {expected}. Lower it, or give more text."
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", log):
        with sentences.open(encoding="utf-8", newline="\n") as lines:
            counts = Counter(chain.from_iterable(line.removesuffix("\n") for line in lines))
        return too_many_characters(size, int(least[1]), coverage, counts, "rare characters are spelt in bytes")
    return f"SentencePiece trained no model (exit code {code}; -9 is often too little memory: lower max_bytes). It said:\n{log}"
