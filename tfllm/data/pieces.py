"""A chunk of documents in, one piece file out: their ids, in the order of the sha256 of their texts.

A piece is one file, so it is there whole or not at all, and a preparation that was killed goes on with the
pieces it finds. The order by hash makes the shards a merge: every shard is a range of hashes, and a range of
hashes is one slice of every piece.

    8 bytes   length of the header
    header    JSON {"documents", "ids", "empty", "duplicates", "skipped"}, padded with spaces
    index     [documents] of INDEX, sorted by hash
    ids       [ids] uint16 or uint32
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfllm.data.chunks import Chunk, Document, Reading, read
from tfllm.files import write_atomically

INDEX = np.dtype([("hash", "<u8", 4), ("start", "<u8"), ("length", "<u8"), ("utf8_bytes", "<u8"), ("u2581", "<u8")])
"""A document: its sha256 as four numbers, most significant first; its slice of the ids; its size as text."""

BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class Piecework:
    """What every worker needs to know."""

    tokenizer: Any
    reading: Reading
    folder: Path
    dtype: str


@dataclass(frozen=True)
class Piece:
    """A finished piece, mapped into memory."""

    header: dict[str, Any]
    index: np.ndarray
    ids: np.ndarray

    @classmethod
    def open(cls, path: Path, dtype: str) -> Piece:
        data = np.asarray(np.memmap(path, np.uint8, "r"))  # a plain array slices four times as fast
        start = 8 + int(data[:8].view("<u8")[0])
        header = json.loads(data[8:start].tobytes())
        middle = start + header["documents"] * INDEX.itemsize
        return cls(header, data[start:middle].view(INDEX), data[middle:].view(dtype))


def piece_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.piece"


def make_piece(chunk: Chunk, work: Piecework) -> int:
    """Read, hash and tokenize a chunk, write its piece; returns the chunk's bytes (for the progress bar).

    Exact duplicates inside the chunk are tokenized once.

        chunk "b" "a" "b", a byte tokenizer whose ids are byte + 3, sha256(b) = 3e23… sha256(a) = ca97…
        -> index: b (start 0, length 1), a (start 1, length 1); ids: 101 100; duplicates 1
    """
    unique: dict[bytes, str] = {}
    counts: Counter[str] = Counter(empty=0, duplicates=0)
    skipped: Counter[str] = Counter()
    for document in read(chunk, work.reading):
        _keep(document, unique, counts, skipped)
    hashes = sorted(unique)
    index = np.zeros(len(hashes), INDEX)
    index["hash"] = np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 4)
    index["utf8_bytes"] = [len(unique[key].encode()) for key in hashes]
    index["u2581"] = ["\u2581" in unique[key] for key in hashes]
    encode = _one_thread(work.tokenizer)
    ids = []
    for place, batch in _batches([unique[key] for key in hashes]):
        rows = encode(batch)
        index["length"][place : place + len(rows)] = [len(row) for row in rows]
        ids.append(_checked(rows, work))
    index["start"][1:] = np.cumsum(index["length"][:-1])
    flat = np.concatenate(ids) if ids else np.zeros(0, work.dtype)
    header = {"documents": len(index), "ids": len(flat), **counts, "skipped": dict(sorted(skipped.items()))}
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)  # what follows is read in place, so it is aligned
    write_atomically(
        piece_path(work.folder, chunk.number),
        [np.array([len(text)], "<u8"), text, index.view(np.uint8), flat],
    )
    return chunk.size


def _one_thread(tokenizer: Any) -> Callable[[list[str]], list[np.ndarray]]:
    """The tokenizer's bulk path; on one thread where it takes a number: the other cores have their own worker."""
    if "threads" in inspect.signature(tokenizer.encode_batch).parameters:
        return partial(tokenizer.encode_batch, threads=1)
    return tokenizer.encode_batch


def _keep(document: Document, unique: dict[bytes, str], counts: Counter[str], skipped: Counter[str]) -> None:
    if document.text is None:
        skipped[document.file] += 1
    elif not document.data:
        counts["empty"] += 1
    else:
        key = hashlib.sha256(document.data).digest()
        counts["duplicates"] += key in unique
        unique[key] = document.text


def _batches(texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Runs of texts of about BATCH_BYTES characters, with the place of the first."""
    start = size = 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= BATCH_BYTES:
            yield start, texts[start : place + 1]
            start, size = place + 1, 0
    if start < len(texts):
        yield start, texts[start:]


def _checked(rows: list[np.ndarray], work: Piecework) -> np.ndarray:
    tokenizer = work.tokenizer
    flat = np.concatenate([np.asarray(row, np.int64) for row in rows])
    if flat.size and (flat.min() < 0 or flat.max() >= tokenizer.vocab_size or (flat == tokenizer.eos_id).any()):
        raise ValueError(
            f"The tokenizer gave ids from {flat.min()} to {flat.max()}; text must become ids from 0 to "
            f"{tokenizer.vocab_size - 1}, none of them the separator {tokenizer.eos_id}. It breaks the protocol."
        )
    return flat.astype(work.dtype)
