"""One file for each chunk of documents: their ids, in the order of the sha256 of their texts.

In: a chunk (corpus/chunks.py). Out: `ChunkFile`. It is written whole or not at all, so a preparation that was killed continues
with the chunk files that it finds. Every shard is a range of hashes, and a range of hashes is one slice of every chunk file, so
making the shards is a merge.

    8 bytes     length of the header
    header      JSON {"documents", "ids", "empty", "skipped", "bands", "hashes"}, padded with spaces
    index       [documents] of INDEX, sorted by hash
    keys        [bands, documents] uint64, and
    signatures  [documents, hashes] uint8, where near duplicates are looked for (near_duplicates.py), else none
    ids         [ids] uint16 or uint32
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfllm.corpus.chunks import Chunk, ReadOptions
from tfllm.corpus.documents import Document, read_documents
from tfllm.data.preparation.near_duplicates import MinHashSettings, Signatures, minhash_signatures
from tfllm.files import write_atomically
from tfllm.tokenizers.base import blocks

INDEX = np.dtype(
    [("hash", "<u8", 4), ("start", "<u8"), ("length", "<u8"), ("utf8_bytes", "<u8"), ("u2581", "<u4"), ("copies", "<u4")]
)
"""A document: its sha256 as four numbers, most significant first; its slice of the ids; its size as text; whether it
holds U+2581; how often it is in the chunk."""

CHUNK_FILE_FORMAT = 3
"""Another piece is not gone on with, but made anew."""

BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class ChunkFileSettings:
    """What every worker needs to know."""

    tokenizer: Any
    read_options: ReadOptions
    folder: Path
    dtype: str
    minhash: MinHashSettings | None = None


@dataclass(frozen=True)
class ChunkFile:
    """A piece, in memory or mapped into it."""

    header: dict[str, Any]
    index: np.ndarray
    keys: np.ndarray
    signatures: np.ndarray
    ids: np.ndarray

    @classmethod
    def open(cls, path: Path, dtype: str) -> ChunkFile:
        data = np.asarray(np.memmap(path, np.uint8, "r"))  # a plain array slices four times as fast
        place = 8 + int(data[:8].view("<u8")[0])
        header = json.loads(data[8:place].tobytes())
        parts = []
        for size in (INDEX.itemsize, header["bands"] * 8, header["hashes"]):
            parts.append(data[place : place + header["documents"] * size])
            place += header["documents"] * size
        index, keys, signatures = parts
        return cls(
            header=header,
            index=index.view(INDEX),
            keys=keys.view("<u8").reshape(header["bands"], header["documents"]),
            signatures=signatures.reshape(header["documents"], header["hashes"]),
            ids=data[place:].view(dtype),
        )

    def write(self, path: Path) -> None:
        """The whole file or none."""
        text = json.dumps(self.header).encode()
        text += b" " * (-(len(text) + 8) % 64)  # what follows is read in place, so it is aligned
        parts = (self.index.view(np.uint8), np.ascontiguousarray(self.keys), self.signatures, self.ids)
        write_atomically(path, [np.array([len(text)], "<u8"), text, *parts], durable=True)


def names_of(hashes: np.ndarray) -> np.ndarray:
    """sha256 as four numbers [N, 4] -> as bytes, "S32" [N]; both sort alike."""
    return np.ascontiguousarray(hashes, ">u8").view("S32").reshape(-1)


def chunk_file_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.piece"


def write_chunk_file(chunk: Chunk, work: ChunkFileSettings) -> int:
    """Read, hash and tokenize a chunk, write its piece; returns the chunk's bytes (for the progress bar)."""
    tokenize_documents(read_documents(chunk, work.read_options), work).write(chunk_file_path(work.folder, chunk.number))
    return chunk.size


def tokenize_documents(documents: Iterable[Document], work: ChunkFileSettings) -> ChunkFile:
    """The documents as a piece. Exact duplicates among them are tokenized once.

    documents "b" "a" "b", a byte tokenizer whose ids are byte + 3, sha256(b) = 3e23… sha256(a) = ca97…
    -> index: b (start 0, length 1, copies 2), a (start 1, length 1, copies 1); ids: 101 100
    """
    found = _Found()
    for document in documents:
        found.add(document)
    hashes = sorted(found.documents)
    distinct = [found.documents[key] for key in hashes]
    texts = [document.text or "" for document in distinct]
    index = np.zeros(len(hashes), INDEX)
    index["hash"] = np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 4)
    index["utf8_bytes"] = [len(document.data) for document in distinct]
    index["u2581"] = ["\u2581" in text for text in texts]
    index["copies"] = [found.copies[key] for key in hashes]
    index["length"], ids = _tokenize(texts, work)
    index["start"][1:] = np.cumsum(index["length"][:-1])
    signed = minhash_signatures(texts, work.minhash) if work.minhash else Signatures.none(len(texts))
    header = {
        "documents": len(texts),
        "ids": len(ids),
        "empty": found.empty,
        "skipped": dict(sorted(found.skipped.items())),
        "bands": len(signed.keys),
        "hashes": signed.bytes.shape[1],
    }
    return ChunkFile(header, index, signed.keys, signed.bytes, ids)


@dataclass
class _Found:
    """The documents of a chunk by their sha256, and what is no document."""

    documents: dict[bytes, Document] = field(default_factory=dict)
    copies: dict[bytes, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    empty: int = 0

    def add(self, document: Document) -> None:
        if document.text is None:
            self.skipped[document.file] += 1
        elif not document.data:
            self.empty += 1
        else:
            key = hashlib.sha256(document.data).digest()
            self.documents[key] = document
            self.copies[key] = self.copies.get(key, 0) + 1


def _tokenize(texts: list[str], work: ChunkFileSettings) -> tuple[np.ndarray, np.ndarray]:
    """The number of ids of every text, and all ids."""
    encode = _one_thread(work.tokenizer)
    lengths, ids = [np.zeros(0, np.uint64)], [np.zeros(0, work.dtype)]
    for batch in blocks(texts, BATCH_CHARACTERS):
        rows = encode(batch)
        lengths.append(np.fromiter(map(len, rows), np.uint64, len(rows)))
        ids.append(_checked(rows, work))
    return np.concatenate(lengths), np.concatenate(ids)


def _one_thread(tokenizer: Any) -> Callable[[Sequence[str]], list[np.ndarray]]:
    """The tokenizer's bulk path; on one thread where it takes a number: the other cores have their own worker."""
    if "threads" in inspect.signature(tokenizer.encode_batch).parameters:
        return partial(tokenizer.encode_batch, threads=1)
    return tokenizer.encode_batch


def _checked(rows: list[np.ndarray], work: ChunkFileSettings) -> np.ndarray:
    tokenizer = work.tokenizer
    flat = np.concatenate(rows, dtype=np.int64, casting="unsafe")  # an empty list would be one of floats
    if flat.size and (flat.min() < 0 or flat.max() >= tokenizer.vocab_size or (flat == tokenizer.eos_id).any()):
        raise ValueError(
            f"The tokenizer returned ids from {flat.min()} to {flat.max()}: expected ids from 0 to "
            f"{tokenizer.vocab_size - 1}, without the separator {tokenizer.eos_id}. It does not follow the Tokenizer protocol."
        )
    return flat.astype(work.dtype)
