"""`prepare`: a token store from raw text, on all cores of one machine.

    documents -> chunk files (ids, sorted by hash) -> links of near duplicates -> shards -> manifest -> rename

Every step is a function of its inputs, and every file is written whole or not at all. Chunk files and shards wait in a work
folder beside `out`, in a subfolder named by the fingerprint of the inputs and settings. Killed and called again, a preparation
continues with the files that are finished. The store has the same bytes for any number of processes and of interruptions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import tokenizers
from tfllm.corpus.chunks import Chunk, ReadOptions
from tfllm.corpus.formats import PathLike, SourceError
from tfllm.data.preparation.chunk_files import ChunkFileSettings, chunk_file_path, write_chunk_file
from tfllm.data.preparation.inputs import Files, Inputs, Texts
from tfllm.data.preparation.manifest import id_dtype, manifest_of, minhash_settings_of, report, settings_of, tokenizer_entry
from tfllm.data.preparation.near_duplicate_graph import LinkSettings, find_near_duplicates
from tfllm.data.preparation.shards import ShardSettings, count_documents, plan_shards, write_shard
from tfllm.data.preparation.work_dir import check_out, fingerprint_of, open_finished_store, open_work_dir, publish_store
from tfllm.data.preparation.worker_pool import run
from tfllm.data.store import Store
from tfllm.progress import progress_bar

LEAST_CHUNK, MOST_CHUNK = 1 << 20, 1 << 25
"""Bytes of a chunk: small enough to share out, large enough that a terabyte makes only some ten thousand pieces."""

FEW_IDS = 1 << 24
"""Below it the shards are written here: a worker costs more to start."""


def prepare(
    paths: PathLike | Iterable[PathLike] = (),
    tokenizer: Any = None,
    out: PathLike = "",
    *,
    texts: Iterable[str] | None = None,
    field: str = "text",
    separator: str | None = None,
    exclude: str | Sequence[str] = (),
    validation: float = 0.005,
    shards: int | None = None,
    processes: int | None = None,
    invalid_utf8: str = "error",
    near_duplicates: float | None = None,
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
        paths: files, folders, globs: text, JSON lines, JSON, CSV, TSV and Parquet, compressed or not (docs/data.md says what
            is read how, and what is skipped).
        tokenizer: follows `tfllm.tokenizers.Tokenizer`, or the path of its folder; must pickle for more than
            one process.
        out: the store's folder; a folder `.NAME.preparing` beside it holds the work until then.
        texts: the documents themselves, in place of `paths`. They are held in memory, those of an iterator, too, and known
            again by their content.
        field: the string field of JSON records, the column of tables and Parquet.
        separator: splits plain text files into documents; None makes every file one document.
        exclude: patterns of files to leave out, such as "site-packages" or "test_*.py".
        validation: fraction of the documents held out. Above 0, and with two documents, at least one is.
        shards: files of the training split; None: one for every 67 million ids. A worker holds one in memory, and a
            file shorter than a row is not trained on.
        processes: workers; None: all cores this process may use. One runs in this very process.
        invalid_utf8: "error", or "skip" such documents (files where a file is a document) and list them.
        near_duplicates: remove documents this similar, 0.8 say: the estimated Jaccard similarity of their sets of five
            words in a row (near_duplicates.py). Of those that links of such similarity join, the one with the lowest
            hash stays, be it for training or validation. None: exact duplicates only.
        progress: show a bar, in bytes of the files, and one line about the files that were skipped.

    Raises:
        ValueError, TypeError: a setting is not accepted; both `paths` and `texts`, or none of them.
        SourceError: the corpus cannot be read as asked, or no document is left.
        StoreError: `out` is a file, the current folder or a mount point, or holds something else, or a preparation is at
            work on it.
        WriteError: the disk is full or refuses.
    """
    settings = settings_of(
        field=field,
        separator=separator,
        exclude=exclude,
        validation=validation,
        shards=shards,
        invalid_utf8=invalid_utf8,
        near_duplicates=near_duplicates,
    )
    _check_given(paths, texts, tokenizer, out, {"field": field, "separator": separator, "exclude": exclude})
    tokenizer = tokenizers.get(tokenizer)
    if processes is not None and processes < 1:
        raise ValueError(f"processes={processes} is invalid: expected None (all cores), or 1 or more.")
    folder = check_out(out)
    inputs = Texts(texts) if texts is not None else Files.at(paths, settings["exclude"], field)
    if isinstance(inputs, Files):
        inputs.found.skipped.report(shown=progress)
    identity = tokenizer_entry(tokenizer)
    fingerprint = fingerprint_of(inputs, settings, identity)
    if folder.exists() and any(folder.iterdir()):
        return open_finished_store(folder, tokenizer, settings, fingerprint)
    with open_work_dir(folder, fingerprint) as work:
        task = _Preparation(work, tokenizer, identity, settings, inputs, processes or len(os.sched_getaffinity(0)), progress)
        pieces = task.write_chunk_files()
        manifest = task.make_shards(pieces, task.near_duplicates(pieces), fingerprint)
        publish_store(work, folder, manifest)
    store = Store.open(folder, tokenizer)
    report(store.manifest, tokenizer, out)
    return store


def _check_given(paths: Any, texts: Any, tokenizer: Any, out: PathLike, of_files: dict[str, Any]) -> None:
    if tokenizer is None or not os.fspath(out):
        raise TypeError("prepare needs a tokenizer and a folder: prepare(paths, tokenizer, out)")
    given = isinstance(paths, os.PathLike) or bool(paths)
    if given and texts is not None:
        raise ValueError("Both paths and texts were given. Give one of them.")
    if not given and texts is None:
        raise SourceError("No paths were given. Name files, folders or globs such as 'books/**/*.txt', or give texts=[…].")
    for name, value in of_files.items() if texts is not None else ():
        if value and (name, value) != ("field", "text"):
            raise ValueError(f"{name}={value!r} is invalid: expected no {name} with texts, because it is for files. Remove it.")


class _Preparation:
    """One run of `prepare`: what its two phases share."""

    def __init__(
        self,
        work: Path,
        tokenizer: Any,
        identity: dict[str, Any],
        settings: dict[str, Any],
        inputs: Inputs,
        processes: int,
        progress: bool,
    ):
        self.work, self.tokenizer, self.identity, self.settings = work, tokenizer, identity, settings
        self.inputs, self.processes, self.progress = inputs, processes, progress
        self.dtype, self.minhash = id_dtype(tokenizer), minhash_settings_of(settings)

    def write_chunk_files(self) -> int:
        """Phase one: every chunk a piece. Returns their number."""
        read_options = ReadOptions(self.settings["field"], self.settings["separator"], self.settings["invalid_utf8"])
        total = self.inputs.size
        chunk_bytes = min(max(total // 1024, LEAST_CHUNK), MOST_CHUNK)
        chunk_settings = ChunkFileSettings(self.tokenizer, read_options, self.work / "pieces", self.dtype, self.minhash)
        pieces = 0
        with progress_bar(total=total, title="tokenizing", unit="B", unit_scale=True, shown=self.progress) as bar:

            def missing() -> Iterator[Chunk]:
                nonlocal pieces
                for chunk in self.inputs.chunks(read_options, chunk_bytes):
                    pieces = chunk.number + 1
                    if chunk_file_path(chunk_settings.folder, chunk.number).exists():
                        bar.update(chunk.size)
                    else:
                        yield chunk

            processes = min(self.processes, 1 + (total >> 20))  # a worker costs half a second
            for size in run(partial(write_chunk_file, work=chunk_settings), missing(), processes=processes):
                bar.update(size)
        self.inputs.check_unchanged()
        return pieces

    def near_duplicates(self, pieces: int) -> np.ndarray:
        """Phase two, where asked for: the sha256 of the documents to leave out, "S32", sorted."""
        if self.minhash is None:
            return np.zeros(0, "S32")
        link_settings = LinkSettings(self.work / "pieces", pieces, self.work / "links", self.dtype, self.minhash)
        return find_near_duplicates(link_settings, processes=self.processes, progress=self.progress)

    def make_shards(self, pieces: int, near_duplicates: np.ndarray, fingerprint: str) -> dict[str, Any]:
        """Phase three: every range of hashes a shard. Returns the manifest."""
        validation = self.settings["validation"]
        totals = count_documents(self.work / "pieces", pieces, self.dtype, near_duplicates, validation)
        settled = plan_shards(totals, validation, self.settings["shards"])
        shard_settings = ShardSettings(
            pieces=self.work / "pieces",
            number_of_pieces=pieces,
            store=self.work / "store",
            results=self.work / "results",
            dtype=self.dtype,
            separator_id=self.tokenizer.eos_id,
            threshold=settled.threshold,
            near_duplicates=near_duplicates,
        )
        records = []
        with progress_bar(total=len(settled.jobs), title="sharding", unit="shard", shown=self.progress) as bar:
            processes = 1 if totals.train_ids < FEW_IDS else self.processes
            for record in run(partial(write_shard, work=shard_settings), settled.jobs, processes=processes):
                records.append(record)
                bar.update()
        return manifest_of(
            totals,
            records,
            settings=self.settings,
            identity=self.identity,
            dtype=self.dtype,
            inputs=self.inputs,
            fingerprint=fingerprint,
        )
