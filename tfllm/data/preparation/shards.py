"""The shards of a store, merged from chunk files.

In: chunk files and the near duplicates to leave out. Out: files of ids and of offsets: each document once, in the order of the
sha256, with separators between.

    shard    1 ids 1 ids 1 … ids 1       1 is the separator; it opens and closes every document
    offsets  where every document's ids start, uint64; a document ends one before the next start, or at the shard's last id

A shard holds the documents of one range of hashes. The top 64 bits of a hash give the order and the shard, the next 64 bits
choose between training and validation, so the split does not depend on the number of shards. Nothing here depends on which
process made which chunk file, or in what order. Memory: one shard and its part of the index.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tfllm.corpus.sources import SourceError
from tfllm.data.preparation.chunk_files import ChunkFile, chunk_file_path, names_of
from tfllm.data.preparation.near_duplicates import is_listed
from tfllm.files import write_atomically

SHARD_IDS = 1 << 26
"""Ids a shard is meant to hold when the number of shards is left open: 128 MB of uint16."""


@dataclass(frozen=True)
class ShardSettings:
    """What every worker needs to know."""

    pieces: Path
    number_of_pieces: int
    store: Path
    results: Path
    dtype: str
    separator_id: int
    threshold: int
    """A document whose second hash number is below it is for validation."""
    near_duplicates: np.ndarray
    """The sha256 of those to leave out, "S32", sorted."""


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
    """Counts of documents, to be added up in any order; every copy counts, so no cut of the corpus into chunks matters."""

    documents: int = 0
    near_duplicates: int = 0
    """Documents to leave out; none of the other numbers counts them."""
    train_ids: int = 0
    validation_ids: int = 0
    low: int = 1 << 64
    """The lowest hash number that chooses between training and validation, and that document's ids."""
    low_ids: int = 0
    high: int = -1
    empty: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, index: np.ndarray, goes: np.ndarray, validation: float) -> Totals:
        """Of the documents of an INDEX, those left out that go."""
        near_duplicates = int(index["copies"][goes].sum())
        index = index[~goes]
        if not len(index):
            return cls(near_duplicates=near_duplicates)
        keys, ids = index["hash"][:, 1], (index["length"] + 1) * index["copies"]
        held_out = keys < _threshold(validation)
        low = keys.min()
        return cls(
            documents=int(index["copies"].sum()),
            near_duplicates=near_duplicates,
            train_ids=int(ids[~held_out].sum()),
            validation_ids=int(ids[held_out].sum()),
            low=int(low),
            low_ids=int(ids[keys == low].sum()),
            high=int(keys.max()),
        )

    def __add__(self, other: Totals) -> Totals:
        low = min(self.low, other.low)
        return Totals(
            documents=self.documents + other.documents,
            near_duplicates=self.near_duplicates + other.near_duplicates,
            train_ids=self.train_ids + other.train_ids,
            validation_ids=self.validation_ids + other.validation_ids,
            low=low,
            low_ids=sum(one.low_ids for one in (self, other) if one.low == low),
            high=max(self.high, other.high),
            empty=self.empty + other.empty,
            skipped=self.skipped + other.skipped,
        )


@dataclass(frozen=True)
class ShardPlan:
    """The split settled: a document whose second hash number is below the threshold is for validation."""

    threshold: int
    jobs: tuple[ShardJob, ...]

    def shard_of(self, name: bytes) -> ShardJob:
        """Where a document belongs by its sha256."""
        split = "validation" if int.from_bytes(name[8:16]) < self.threshold else "train"
        of = self._counts[split]
        return ShardJob(split, int.from_bytes(name[:8]) * of >> 64, of)

    @cached_property
    def _counts(self) -> Counter[str]:
        """Shards of each split, counted once, not for every document."""
        return Counter(job.split for job in self.jobs)


def plan_shards(totals: Totals, validation: float, shards: int | None) -> ShardPlan:
    """The split and its shards.

    A fraction that would leave validation empty (a small corpus) gives it the one document with the lowest
    hash number, if there are two documents at least.

    Raises:
        SourceError: nothing is left to train on.
    """
    if not totals.documents:
        raise SourceError(
            f"No document is left: {totals.empty} were empty and {totals.skipped.total()} were not UTF-8. Nothing to prepare."
        )
    threshold, train_ids, validation_ids = _threshold(validation), totals.train_ids, totals.validation_ids
    if validation and threshold <= totals.low < totals.high:
        threshold, train_ids, validation_ids = totals.low + 1, train_ids - totals.low_ids, totals.low_ids
    if not train_ids:
        raise SourceError(
            f"validation={validation} is invalid: expected a fraction that leaves documents for training, and it takes all "
            f"{totals.documents}. Lower it."
        )
    counts = {"train": shards or max(1, -(-train_ids // SHARD_IDS)), "validation": -(-validation_ids // SHARD_IDS)}
    return ShardPlan(threshold, tuple(ShardJob(split, number, of) for split, of in counts.items() for number in range(of)))


def _threshold(validation: float) -> int:
    return min(int(validation * 2**64), 2**64 - 1)


def count_documents(folder: Path, pieces: int, dtype: str, near_duplicates: np.ndarray, validation: float) -> Totals:
    """Add up what is in the pieces."""
    totals = Totals()
    for number in range(pieces):
        piece = ChunkFile.open(chunk_file_path(folder, number), dtype)
        goes = is_listed(names_of(piece.index["hash"]), near_duplicates)
        totals += Totals(empty=piece.header["empty"], skipped=Counter(piece.header["skipped"]))
        totals += Totals.of(piece.index, goes, validation)
    return totals


def write_shard(job: ShardJob, work: ShardSettings) -> ShardRecord:
    """Merge one range of hashes of one split out of all pieces.

    pieces  b: 101   |   a: 100, b: 101 (again)      (sha256(b) < sha256(a), separator 1)
    -> ids 1 101 1 100 1; offsets 1 3
    """
    result = work.results / f"{job.name}.json"
    if result.exists():
        return ShardRecord(**json.loads(result.read_text()))
    index, piece_of = _gather_index(job, work)
    order = in_order(index["hash"])
    index, piece_of = index[order], piece_of[order]
    ids, offsets = empty_shard(index["length"], work.dtype, work.separator_id)
    _copy_ids(ids, index, piece_of, offsets, work)
    write_atomically(work.store / f"{job.name}.tokens", [ids], durable=True)
    write_atomically(work.store / f"{job.name}.offsets", [offsets], durable=True)
    record = describe(job, index, ids, offsets)
    write_atomically(result, [json.dumps(asdict(record)).encode()], durable=True)
    return record


def first_hash(number: int, of: int) -> int:
    """The lowest top 64 bits of a hash that the shard holds."""
    return -(-(number << 64) // of)


def in_order(hashes: np.ndarray) -> np.ndarray:
    """The places of the hashes [N, 4] sorted, of equal ones the first."""
    order = np.lexsort(hashes.T[::-1])
    fresh = np.ones(len(order), bool)
    fresh[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    return order[fresh]


def empty_shard(lengths: np.ndarray, dtype: str, separator_id: int) -> tuple[np.ndarray, np.ndarray]:
    """A shard with room for its documents' ids, and the offsets where each goes.

    lengths 2 1, separator 1  ->  1 1 1 1 1 1,  offsets 1 4
    """
    each = lengths.astype(np.int64) + 1
    return np.full(1 + int(each.sum()), separator_id, dtype), (1 + np.cumsum(each) - each).astype("<u8")


def describe(job: ShardJob, index: np.ndarray, ids: np.ndarray, offsets: np.ndarray) -> ShardRecord:
    """What the manifest says of a finished shard."""
    return ShardRecord(
        file=f"{job.name}.tokens",
        length=len(ids),
        tokens=len(ids) - 1,
        documents=len(index),
        utf8_bytes=int(index["utf8_bytes"].sum()),
        documents_with_u2581=int(index["u2581"].sum()),
        sha256=hashlib.sha256(ids.data).hexdigest(),
        offsets_sha256=hashlib.sha256(offsets.data).hexdigest(),
    )


def _pieces(work: ShardSettings) -> Iterator[tuple[int, ChunkFile]]:
    """One piece open at a time: a big corpus has more of them than a process may hold files."""
    for number in range(work.number_of_pieces):
        yield number, ChunkFile.open(chunk_file_path(work.pieces, number), work.dtype)


def _gather_index(job: ShardJob, work: ShardSettings) -> tuple[np.ndarray, np.ndarray]:
    low, high = (first_hash(place, job.of) for place in (job.number, job.number + 1))
    parts, numbers = [], []
    for number, piece in _pieces(work):
        top = piece.index["hash"][:, 0]
        first = np.searchsorted(top, np.uint64(low))
        last = len(top) if high > 2**64 - 1 else np.searchsorted(top, np.uint64(high))
        part = piece.index[first:last]
        part = part[(part["hash"][:, 1] < np.uint64(work.threshold)) == (job.split == "validation")]
        part = part[~is_listed(names_of(part["hash"]), work.near_duplicates)]
        parts.append(part)
        numbers.append(np.full(len(part), number, np.int64))
    return np.concatenate(parts), np.concatenate(numbers)


def _copy_ids(ids: np.ndarray, index: np.ndarray, piece_of: np.ndarray, starts: np.ndarray, work: ShardSettings) -> None:
    by_piece = np.argsort(piece_of, kind="stable")
    edges = np.searchsorted(piece_of[by_piece], np.arange(work.number_of_pieces + 1))
    for number in range(work.number_of_pieces):
        mine = by_piece[edges[number] : edges[number + 1]]
        if not len(mine):
            continue
        source = ChunkFile.open(chunk_file_path(work.pieces, number), work.dtype).ids
        rows = index[mine]
        for to, start, length in zip(starts[mine].tolist(), rows["start"].tolist(), rows["length"].tolist(), strict=True):
            ids[to : to + length] = source[start : start + length]
