"""Piece files in, the shards of a store out: documents in the order of their sha256, each once, with
separators between.

    shard    1 ids 1 ids 1 … ids 1       1 is the separator; opens and closes every document
    offsets  where every document's ids start, uint64; it ends one before the next start, or at the shard's
    last id

A shard holds the documents of one range of hashes: the top 64 bits order and shard them, the next 64 bits
choose between training and validation, so the split does not depend on the number of shards. Nothing here
depends on which process made which piece or in what order. Memory: one shard and its part of the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfllm.data.pieces import Piece, piece_path
from tfllm.files import write_atomically

SHARD_IDS = 1 << 26
"""Ids a shard is meant to hold when the number of shards is left open: 128 MB of uint16."""


@dataclass(frozen=True)
class Shardwork:
    """What every worker needs to know."""

    pieces: Path
    number_of_pieces: int
    store: Path
    results: Path
    dtype: str
    separator_id: int
    threshold: int
    """A document whose second hash number is below it is for validation."""


@dataclass(frozen=True)
class ShardJob:
    split: str
    number: int
    of: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}"


@dataclass(frozen=True)
class ShardRecord:
    """A shard as the manifest lists it. `length` counts all ids, `tokens` those that are targets: length -
    1."""

    file: str
    length: int
    tokens: int
    documents: int
    utf8_bytes: int
    documents_with_u2581: int
    sha256: str
    offsets_sha256: str


@dataclass(frozen=True)
class Totals:
    """The pieces summed up; ids and documents still count duplicates of different pieces."""

    documents: int
    train_ids: int
    validation_ids: int
    threshold: int
    empty: int
    duplicates: int
    skipped: dict[str, int]


def sum_up(folder: Path, pieces: int, dtype: str, validation: float) -> Totals:
    """Count what is there and settle the split.

    A fraction that would leave validation empty (a small corpus) gives it the one document with the lowest
    hash number, if there are two documents at least.
    """
    low, high, documents = None, None, 0
    threshold = min(int(validation * 2**64), 2**64 - 1)
    ids = {True: 0, False: 0}
    empty = duplicates = 0
    skipped: dict[str, int] = {}
    lowest_ids = 0
    for number in range(pieces):
        piece = Piece.open(piece_path(folder, number), dtype)
        empty += piece.header["empty"]
        duplicates += piece.header["duplicates"]
        for file, count in piece.header["skipped"].items():
            skipped[file] = skipped.get(file, 0) + count
        if not len(piece.index):
            continue
        keys, lengths = piece.index["hash"][:, 1], piece.index["length"] + 1
        documents += len(keys)
        for side in (True, False):
            ids[side] += int(lengths[(keys < threshold) == side].sum())
        place = int(keys.argmin())
        if low is None or int(keys[place]) < low:
            low, lowest_ids = int(keys[place]), int(lengths[place])
        high = max(high or 0, int(keys.max()))
    if validation and low is not None and low >= threshold and low != high:
        threshold = low + 1
        ids = {True: lowest_ids, False: ids[False] - lowest_ids}
    return Totals(documents, ids[False], ids[True], threshold, empty, duplicates, skipped)


def write_shard(job: ShardJob, work: Shardwork) -> ShardRecord:
    """Merge one range of hashes of one split out of all pieces.

    pieces  b: 101   |   a: 100, b: 101 (again)      (sha256(b) < sha256(a), separator 1)
    -> ids 1 101 1 100 1; offsets 1 3
    """
    result = work.results / f"{job.name}.json"
    if result.exists():
        return ShardRecord(**json.loads(result.read_text()))
    index, piece_of = _gather_index(job, work)
    order = np.lexsort(index["hash"].T[::-1])
    fresh = np.ones(len(order), bool)
    hashes = index["hash"][order]
    fresh[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    order = order[fresh]
    lengths = index["length"][order].astype(np.int64)
    starts = 1 + np.cumsum(lengths + 1) - (lengths + 1)
    ids = np.full(1 + int((lengths + 1).sum()), work.separator_id, work.dtype)
    _copy_ids(ids, index[order], piece_of[order], starts, work)
    offsets = starts.astype("<u8")
    write_atomically(work.store / f"{job.name}.tokens", [ids], durable=True)
    write_atomically(work.store / f"{job.name}.offsets", [offsets], durable=True)
    record = ShardRecord(
        file=f"{job.name}.tokens",
        length=len(ids),
        tokens=len(ids) - 1,
        documents=len(order),
        utf8_bytes=int(index["utf8_bytes"][order].sum()),
        documents_with_u2581=int(index["u2581"][order].sum()),
        sha256=hashlib.sha256(ids.data).hexdigest(),
        offsets_sha256=hashlib.sha256(offsets.data).hexdigest(),
    )
    write_atomically(result, [json.dumps(asdict(record)).encode()])
    return record


def _pieces(work: Shardwork) -> Iterator[tuple[int, Piece]]:
    """One piece open at a time: a big corpus has more of them than a process may hold files."""
    for number in range(work.number_of_pieces):
        yield number, Piece.open(piece_path(work.pieces, number), work.dtype)


def _gather_index(job: ShardJob, work: Shardwork) -> tuple[np.ndarray, np.ndarray]:
    low, high = (-(-(place << 64) // job.of) for place in (job.number, job.number + 1))
    parts, numbers = [], []
    for number, piece in _pieces(work):
        top = piece.index["hash"][:, 0]
        first = np.searchsorted(top, np.uint64(low))
        last = len(top) if high > 2**64 - 1 else np.searchsorted(top, np.uint64(high))
        part = piece.index[first:last]
        part = part[(part["hash"][:, 1] < np.uint64(work.threshold)) == (job.split == "validation")]
        parts.append(part)
        numbers.append(np.full(len(part), number, np.int64))
    return np.concatenate(parts), np.concatenate(numbers)


def _copy_ids(ids: np.ndarray, index: np.ndarray, piece_of: np.ndarray, starts: np.ndarray, work: Shardwork) -> None:
    by_piece = np.argsort(piece_of, kind="stable")
    edges = np.searchsorted(piece_of[by_piece], np.arange(work.number_of_pieces + 1))
    for number in range(work.number_of_pieces):
        mine = by_piece[edges[number] : edges[number + 1]]
        if not len(mine):
            continue
        source = Piece.open(piece_path(work.pieces, number), work.dtype).ids
        rows = index[mine]
        for to, start, length in zip(starts[mine].tolist(), rows["start"].tolist(), rows["length"].tolist(), strict=True):
            ids[to : to + length] = source[start : start + length]
