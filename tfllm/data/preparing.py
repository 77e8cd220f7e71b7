"""Raw text in, a token store out: documents -> pieces (ids, sorted by hash) -> shards -> manifest -> a rename.

Every step is a function of its inputs, and every file is written whole or not at all. Pieces and shards wait
in a work folder beside `out`, which carries the fingerprint of the inputs and settings: killed and called
again, a preparation goes on with what is finished, and the store has the same bytes whatever the processes
and interruptions were.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfllm.data.chunks import Chunk, Reading, plan
from tfllm.data.pieces import Piecework, make_piece, piece_path
from tfllm.data.shards import SHARD_IDS, ShardJob, ShardRecord, Shardwork, Totals, sum_up, write_shard
from tfllm.data.sources import Source, SourceError, check_unchanged, find_sources
from tfllm.data.store import FORMAT, Store, manifest_checksum
from tfllm.data.workers import run
from tfllm.data.working import check_place, existing, fingerprint_of, finish, working

LEAST_CHUNK, MOST_CHUNK = 1 << 20, 1 << 25
"""Bytes of a chunk: small enough to share out, large enough that a terabyte makes only some ten thousand pieces."""

FEW_IDS = 1 << 24
"""Below it the shards are written here: a worker costs more to start."""

FEW_DOCUMENTS = 10
"""Fewer for validation, and the caller is told."""


def prepare(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tokenizer: Any,
    out: str | os.PathLike[str],
    *,
    field: str = "text",
    separator: str | None = None,
    exclude: str | Sequence[str] = (),
    validation: float = 0.005,
    shards: int | None = None,
    processes: int | None = None,
    invalid_utf8: str = "error",
    progress: bool = True,
) -> Store:
    """Tokenize a corpus into a token store.

    Documents are ordered and sharded by the sha256 of their text; exact duplicates are removed; further bits
    of the hash choose the documents for validation, so a document stays on its side when others come or go.
    Interrupted, it leaves nothing that looks finished and goes on when called again; finished, it returns the
    store at once.

        "greek.txt" holds "alpha--beta--alpha"; separator "--", bytes as ids (byte + 3), validation 0
        -> train-00000-of-00001.tokens  1 100 111 115 107 100 1 101 104 119 100 1
           train-00000-of-00001.offsets 1 7
        (sha256 8ed3… alpha, f44e… beta; one duplicate removed)

    Args:
        paths: files, folders, globs (sources.py says what is read how).
        tokenizer: follows `tfllm.tokenizers.Tokenizer`; must pickle when there is more than one process.
        out: the store's folder; a folder `.NAME.preparing` beside it holds the work until then.
        field: the string field of JSON lines, the column of Parquet.
        separator: splits plain text files into documents; None makes every file one document.
        exclude: patterns of files to leave out, such as "site-packages" or "test_*.py".
        validation: fraction of the documents held out. Above 0, and with two documents, at least one is.
        shards: files of the training split; None: one for every 67 million ids. A worker holds one in memory, and a
            file shorter than a row is not trained on.
        processes: workers; None: all cores this process may use. One runs in this very process.
        invalid_utf8: "error", or "skip" such documents (files where a file is a document) and list them.
        progress: show a bar, in bytes of the files.

    Raises:
        SourceError: the corpus cannot be read as asked, or no document is left.
        StoreError: `out` is a file or holds something else, or a preparation is at work on it.
        WriteError: the disk is full or refuses.
    """
    settings: dict[str, Any] = {
        "field": field,
        "separator": separator,
        "exclude": [exclude] if isinstance(exclude, str) else list(exclude),
        "validation": float(validation),
        "shards": shards,
        "invalid_utf8": invalid_utf8,
    }
    _check_settings(settings, processes)
    folder = Path(out)
    check_place(folder)
    sources = find_sources(paths, settings["exclude"])
    identity = _tokenizer_entry(tokenizer)
    fingerprint = fingerprint_of(sources, settings, identity)
    if folder.exists() and any(folder.iterdir()):
        return existing(folder, tokenizer, settings, fingerprint)
    with working(folder, fingerprint) as work:
        task = _Task(work, tokenizer, identity, settings, sources, processes or len(os.sched_getaffinity(0)), progress)
        pieces = task.make_pieces()
        manifest = task.make_shards(pieces, fingerprint)
        finish(work, folder, manifest)
    store = Store.open(folder, tokenizer)
    _report(store, tokenizer)
    return store


class _Task:
    """One run of `prepare`: what its two phases share."""

    def __init__(
        self,
        work: Path,
        tokenizer: Any,
        identity: dict[str, Any],
        settings: dict[str, Any],
        sources: list[Source],
        processes: int,
        progress: bool,
    ):
        self.work, self.tokenizer, self.identity, self.settings = work, tokenizer, identity, settings
        self.sources, self.processes, self.progress = sources, processes, progress
        self.dtype = "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"

    def make_pieces(self) -> int:
        """Phase one: every chunk a piece. Returns their number."""
        reading = Reading(self.settings["field"], self.settings["separator"], self.settings["invalid_utf8"])
        total = sum(source.size for source in self.sources)
        chunk_bytes = min(max(total // 1024, LEAST_CHUNK), MOST_CHUNK)
        piecework = Piecework(self.tokenizer, reading, self.work / "pieces", self.dtype)
        pieces = 0
        with tqdm(total=total, unit="B", unit_scale=True, desc="tokenizing", disable=not self.progress) as bar:

            def missing() -> Iterator[Chunk]:
                nonlocal pieces
                for chunk in plan(self.sources, reading, chunk_bytes):
                    pieces = chunk.number + 1
                    if piece_path(piecework.folder, chunk.number).exists():
                        bar.update(chunk.size)
                    else:
                        yield chunk

            processes = min(self.processes, 1 + (total >> 20))  # a worker costs half a second
            for size in run(partial(make_piece, work=piecework), missing(), processes=processes):
                bar.update(size)
        check_unchanged(self.sources)
        return pieces

    def make_shards(self, pieces: int, fingerprint: str) -> dict[str, Any]:
        """Phase two: every range of hashes a shard. Returns the manifest."""
        totals = sum_up(self.work / "pieces", pieces, self.dtype, self.settings["validation"])
        self._check_totals(totals)
        counts = {
            "train": self.settings["shards"] or max(1, -(-totals.train_ids // SHARD_IDS)),
            "validation": -(-totals.validation_ids // SHARD_IDS),
        }
        jobs = [ShardJob(split, number, of) for split, of in counts.items() for number in range(of)]
        shardwork = Shardwork(
            pieces=self.work / "pieces",
            number_of_pieces=pieces,
            store=self.work / "store",
            results=self.work / "results",
            dtype=self.dtype,
            separator_id=self.tokenizer.eos_id,
            threshold=totals.threshold,
        )
        records = []
        with tqdm(total=len(jobs), unit="shard", desc="sharding", disable=not self.progress) as bar:
            processes = 1 if totals.train_ids < FEW_IDS else self.processes
            for record in run(partial(write_shard, work=shardwork), jobs, processes=processes):
                records.append(record)
                bar.update()
        return self._manifest(totals, sorted(records, key=lambda record: record.file), fingerprint)

    def _check_totals(self, totals: Totals) -> None:
        if not totals.documents:
            raise SourceError(
                f"No document is left: {totals.empty} were empty and {sum(totals.skipped.values())} were not UTF-8, in "
                f"{len(self.sources)} files ({self.sources[0].path} …). Nothing to prepare."
            )
        if not totals.train_ids:
            raise SourceError(f"All {totals.documents} documents fall to validation={self.settings['validation']}. Lower it.")

    def _manifest(self, totals: Totals, records: list[ShardRecord], fingerprint: str) -> dict[str, Any]:
        kept = sum(record.documents for record in records)
        manifest = {
            "format": FORMAT,
            "dtype": np.dtype(self.dtype).name,
            "tokenizer": self.identity,
            "settings": self.settings,
            "fingerprint": fingerprint,
            "inputs": {"files": len(self.sources), "bytes": sum(source.size for source in self.sources)},
            "duplicates_removed": totals.duplicates + totals.documents - kept,
            "empty_documents": totals.empty,
            "documents_with_u2581": sum(record.documents_with_u2581 for record in records),
            "skipped_documents": sum(totals.skipped.values()),
            "skipped_files": [{"file": file, "documents": n} for file, n in sorted(totals.skipped.items())],
            "splits": {split: _split_entry(split, records) for split in ("train", "validation")},
        }
        return manifest | {"checksum": manifest_checksum(manifest)}


def _split_entry(split: str, records: list[ShardRecord]) -> dict[str, Any]:
    mine = [asdict(record) for record in records if record.file.startswith(f"{split}-")]
    totals = {key: sum(record[key] for record in mine) for key in ("documents", "tokens", "utf8_bytes")}
    return {**totals, "shards": mine}


def _check_settings(settings: dict[str, Any], processes: int | None) -> None:
    accepted = {
        "field": bool(settings["field"]) or "the name of a field",
        "separator": settings["separator"] != "" or "None, or the text between documents",
        "exclude": all(isinstance(item, str) for item in settings["exclude"]) or "patterns",
        "validation": 0 <= settings["validation"] < 1 or "a fraction from 0 up to, not including, 1",
        "shards": settings["shards"] is None or 0 < settings["shards"] < 100_000 or "None, or 1 to 99999",
        "invalid_utf8": settings["invalid_utf8"] in ("error", "skip") or "'error' or 'skip'",
    }
    for name, answer in accepted.items():
        if answer is not True:
            raise ValueError(f"{name}={settings[name]!r} is not accepted; give {answer}.")
    if processes is not None and processes < 1:
        raise ValueError(f"processes={processes} is not accepted; give None (all cores), or 1 or more.")


def _tokenizer_entry(tokenizer: Any) -> dict[str, Any]:
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint(),
        "separator_id": tokenizer.eos_id,
    }


def _report(store: Store, tokenizer: Any) -> None:
    """Warn of what the caller may not expect."""
    manifest = store.manifest
    held_out = manifest["splits"]["validation"]["documents"]
    if manifest["settings"]["validation"] and held_out < FEW_DOCUMENTS:
        everything = held_out + manifest["splits"]["train"]["documents"]
        warnings.warn(
            f"Validation has {held_out} of {everything} documents: too few for figures to trust. Give a larger validation=… "
            f"(now {manifest['settings']['validation']:g}) or more documents (separator=… splits a file into several); "
            "validation=0 holds out none.",
            stacklevel=3,
        )
    if manifest["skipped_documents"]:
        warnings.warn(
            f"{manifest['skipped_documents']} documents are not UTF-8 and were skipped, in "
            f"{len(manifest['skipped_files'])} files such as {manifest['skipped_files'][0]['file']}; "
            f"{store.folder / 'manifest.json'} lists them.",
            stacklevel=3,
        )
    if manifest["documents_with_u2581"] and tokenizer.decode(tokenizer.encode("\u2581")) != "\u2581":
        warnings.warn(
            f"{manifest['documents_with_u2581']} documents hold U+2581 (▁), which this tokenizer does not give back: "
            "their text is not decoded exactly.",
            stacklevel=3,
        )
