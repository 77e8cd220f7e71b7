"""The near duplicates among all documents of a corpus.

In: chunk files. Out: the sha256 of the documents to leave out, sorted, 32 bytes each.
Jobs divide the documents by band and by range of the band's keys. Documents that share a band meet in one job, and a job holds
some million documents at most, whatever their number in all. Each job writes the links that it finds. Then the links are joined
into connected components: some 300 bytes of memory for every document that has a near duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tfllm.data.preparation.chunk_files import ChunkFile, chunk_file_path, names_of
from tfllm.data.preparation.near_duplicates import MinHashSettings, find_links, join_links
from tfllm.data.preparation.worker_pool import run
from tfllm.files import write_atomically
from tfllm.progress import progress_bar

PART_DOCUMENTS = 1 << 21
"""Documents of a job: 24 bytes each, and 160 more for those that share a band."""

FEW_DOCUMENTS = 1 << 16
"""Below it the links are looked for here: a worker costs more to start."""

LEAST_JOIN = 1 << 20
"""Links that wait before they are joined with those before them."""


@dataclass(frozen=True)
class LinkSettings:
    """What every worker needs to know."""

    pieces: Path
    number_of_pieces: int
    folder: Path
    dtype: str
    minhash: MinHashSettings


@dataclass(frozen=True)
class LinkJob:
    band: int
    part: int
    of: int

    @property
    def name(self) -> str:
        return f"{self.band:03d}-{self.part:05d}-of-{self.of:05d}.links"


def find_near_duplicates(work: LinkSettings, *, processes: int, progress: bool) -> np.ndarray:
    """The sha256 of every document that goes, "S32", sorted. Finished jobs are not done again."""
    result = work.folder / "near_duplicates"
    if not result.exists():
        documents = sum(len(piece.index) for piece in _pieces(work))
        parts = -(-documents // PART_DOCUMENTS)
        jobs = [LinkJob(band, part, parts) for band in range(work.minhash.bands) for part in range(parts)]
        missing = [job for job in jobs if not (work.folder / job.name).exists()]
        processes = 1 if documents < FEW_DOCUMENTS else processes
        with progress_bar(total=len(missing), title="linking", unit="job", shown=progress) as bar:
            for _ in run(partial(write_links, work=work), missing, processes=processes):
                bar.update()
        write_atomically(result, [_joined(work.folder / job.name for job in jobs).view(np.uint8)], durable=True)
    return np.fromfile(result, "S32")


def _pieces(work: LinkSettings) -> Iterator[ChunkFile]:
    for number in range(work.number_of_pieces):
        yield ChunkFile.open(chunk_file_path(work.pieces, number), work.dtype)


def write_links(job: LinkJob, work: LinkSettings) -> None:
    """Link the documents of one range of keys of one band."""
    keys, piece_of, row_of = _gather(job, work)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    shared = np.zeros(len(keys), bool)
    shared[1:] = keys[1:] == keys[:-1]
    shared[:-1] |= shared[1:]
    order = order[shared]
    links = find_links(keys[shared], *_look_up(piece_of[order], row_of[order], work), work.minhash)
    write_atomically(work.folder / job.name, [links[links[:, 0] != links[:, 1]].view(np.uint8)], durable=True)


def _look_up(piece_of: np.ndarray, row_of: np.ndarray, work: LinkSettings) -> tuple[np.ndarray, np.ndarray]:
    """The names "S32" [N] and signatures [N, hashes] of documents."""
    names = np.zeros(len(row_of), "S32")
    rows = np.zeros((len(row_of), work.minhash.hashes), np.uint8)
    by_piece = np.argsort(piece_of, kind="stable")
    numbers, starts = np.unique(piece_of[by_piece], return_index=True)
    for number, mine in zip(numbers.tolist(), np.split(by_piece, starts[1:]), strict=False):  # one empty part if N is 0
        piece = ChunkFile.open(chunk_file_path(work.pieces, number), work.dtype)
        names[mine] = names_of(piece.index["hash"][row_of[mine]])
        rows[mine] = piece.signatures[row_of[mine]]
    return names, rows


def _gather(job: LinkJob, work: LinkSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The job's keys, and where each is from: piece and row."""
    low, high = -(-(job.part << 64) // job.of), -(-((job.part + 1) << 64) // job.of) - 1
    keys, pieces, rows = [], [], []
    for number, piece in enumerate(_pieces(work)):
        all_keys = piece.keys[job.band]
        mine = np.flatnonzero((all_keys >= low) & (all_keys <= high))
        keys.append(all_keys[mine])
        pieces.append(np.full(len(mine), number, np.int32))
        rows.append(mine.astype(np.int32))
    return np.concatenate(keys), np.concatenate(pieces), np.concatenate(rows)


def _joined(files: Iterator[Path]) -> np.ndarray:
    joined = np.zeros((0, 2), "S32")
    waiting: list[np.ndarray] = []
    for file in files:
        waiting.append(np.fromfile(file, "S32").reshape(-1, 2))
        if sum(map(len, waiting)) > max(LEAST_JOIN, len(joined)):
            joined, waiting = join_links(np.concatenate([joined, *waiting])), []
    return np.ascontiguousarray(join_links(np.concatenate([joined, *waiting]))[:, 1])
