"""The token store: a folder of token ids, which training reads by memory mapping.

In: a folder that `prepare` made. Out: `Store`, its splits, its documents and its checks.

    manifest.json                     format, dtype, tokenizer, settings, counts, shards, its own checksum
    train-00000-of-00002.tokens       1 doc 1 doc 1 … doc 1, little-endian uint16 (up to 65,536 ids) or uint32
    train-00000-of-00002.offsets      uint64: where each document's ids start
    validation-00000-of-00001.tokens  …

1 stands for the separator id. It opens and closes every document, so every token of a document, and its end, is a target that
has the tokens before it as context. This module uses NumPy only and does not import TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import tokenizers

FORMAT = 1


class StoreError(ValueError):
    """A store is damaged, unfinished or not the one that was meant. The message names the file and what to
    do."""


@dataclass(frozen=True)
class Split:
    """One side of a store.

    `lengths` are ids a shard, separators too. `tokens` are the targets: every document's ids and its end.
    `utf8_bytes` is the size of the documents as text.
    """

    name: str
    paths: tuple[Path, ...]
    lengths: tuple[int, ...]
    documents: int
    tokens: int
    utf8_bytes: int


@dataclass(frozen=True, eq=False)
class Store:
    """A finished token store. Make one with `prepare`, open it with `Store.open`."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, tokenizer: Any = None, verify: bool = False) -> Store:
        """Open a store and check it.

        Args:
            folder: what `prepare` was given as `out`.
            tokenizer: the one it will be used with, or the path of its folder; another than it was made with is an error.
            verify: read everything and compare checksums (sizes are always compared).

        Raises:
            StoreError: unfinished, damaged, or made with another tokenizer.
        """
        folder = Path(folder)
        store = cls(folder, _read_manifest(folder))
        for record in store._records():
            _check_size(folder / record["file"], record["length"] * store.dtype.itemsize)
            _check_size(offsets_path(folder / record["file"]), record["documents"] * 8)
        if tokenizer is not None:
            store.check_tokenizer(tokenizer)
        if verify:
            store.verify()
        return store

    def __repr__(self) -> str:
        sizes = [f"{name} {each['documents']} documents" for name, each in self.manifest["splits"].items()]
        return f"Store({str(self.folder)!r}, {', '.join(sizes)}, {sum(each['length'] for each in self._records())} ids)"

    @property
    def dtype(self) -> np.dtype:
        """The ids' dtype on disk."""
        return np.dtype(self.manifest["dtype"]).newbyteorder("<")

    @property
    def separator_id(self) -> int:
        """The id that opens and closes every document."""
        return int(self.manifest["tokenizer"]["separator_id"])

    @property
    def fingerprint(self) -> str:
        """sha256 hex of the tokenizer and all ids: what a checkpoint notes as the data it was trained on."""
        parts = [self.manifest["tokenizer"]["fingerprint"], *(record["sha256"] for record in self._records())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def split(self, name: str = "train") -> Split:
        """The files and counts of "train" or "validation".

        Raises:
            StoreError: there is no such split, or no document is in it.
        """
        splits = self.manifest["splits"]
        if name not in splits:
            raise StoreError(f"{self.folder} has no split {name!r}; there are {sorted(splits)}.")
        entry = splits[name]
        if not entry["documents"]:
            raise StoreError(
                f"{self.folder} has no document in split {name!r} ({self.manifest['settings']['validation']:g} of the "
                "documents are for validation). Prepare it again with a larger validation=…, or give more documents "
                "(separator=… splits a file into several)."
            )
        return Split(
            name=name,
            paths=tuple(self.folder / record["file"] for record in entry["shards"]),
            lengths=tuple(record["length"] for record in entry["shards"]),
            documents=entry["documents"],
            tokens=entry["tokens"],
            utf8_bytes=entry["utf8_bytes"],
        )

    def documents(self, split: str = "train") -> Iterator[np.ndarray]:
        """The ids of every document, without separators, in the order of the store.

        1 5 6 1 7 1  ->  [5 6]  [7]
        """
        for path in self.split(split).paths:
            offsets = np.fromfile(offsets_path(path), "<u8").astype(np.int64)
            ids = np.asarray(np.memmap(path, self.dtype, "r"))
            for start, end in zip(offsets, np.append(offsets, len(ids))[1:], strict=True):
                yield ids[start : end - 1]

    def texts(self, split: str, tokenizer: Any) -> Iterator[str]:
        """The text of every document, decoded: what was read, as far as the tokenizer gives texts back.

        Raises:
            StoreError: the tokenizer is another one.
        """
        tokenizer = tokenizers.get(tokenizer)
        self.check_tokenizer(tokenizer)
        for ids in self.documents(split):
            yield tokenizer.decode(ids.tolist())

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise StoreError unless `tokenizer` is the one the store was made with."""
        tokenizer = tokenizers.get(tokenizer)
        mine, theirs = self.manifest["tokenizer"], tokenizer.fingerprint()
        if theirs != mine["fingerprint"]:
            raise StoreError(
                f"{self.folder} was prepared with another tokenizer: {mine['kind']} with {mine['vocab_size']} entries "
                f"({mine['fingerprint'][:12]}…), this one is {tokenizer.kind} with {tokenizer.vocab_size} "
                f"({theirs[:12]}…). Load the tokenizer it was made with, or prepare the text again, in another folder."
            )

    def verify(self) -> None:
        """Read every file and compare its sha256; raise StoreError for the first that differs."""
        for record in self._records():
            path = self.folder / record["file"]
            for file, expected in ((path, record["sha256"]), (offsets_path(path), record["offsets_sha256"])):
                with file.open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
                if found != expected:
                    raise StoreError(f"{file} is damaged: sha256 {found[:12]}…, the manifest says {expected[:12]}…. {_REMEDY}")

    def _records(self) -> list[dict[str, Any]]:
        return [record for entry in self.manifest["splits"].values() for record in entry["shards"]]


def get_store(store: Store | str | Path) -> Store:
    """The store itself, or the one at a path: what functions that take a store begin with.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(store, (str, Path)):
        return Store.open(store)
    if not isinstance(store, Store):
        raise TypeError(
            f"store={store!r:.80} must be a Store (tfllm.data.prepare, tfllm.data.Store.open) or the path of its folder, "
            f"got {type(store).__name__}"
        )
    return store


_REMEDY = "Copy the store again, or delete it and prepare it anew."


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """sha256 hex over everything in the manifest but the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def work_dir_of(out: Path) -> Path:
    """Where a preparation keeps its finished pieces until `out` is whole."""
    return out.parent / f".{out.name}.preparing"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(_absent(folder)) from error
    except (ValueError, OSError) as error:
        raise StoreError(f"{path} cannot be read ({error}). {_REMEDY}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise StoreError(f"{path} has format {found!r}; this version reads {FORMAT}. Delete the store, and prepare it anew.")
    if manifest.get("checksum") != manifest_checksum(manifest):
        raise StoreError(f"{path} was changed or damaged: its checksum does not fit. {_REMEDY}")
    return manifest


def _absent(folder: Path) -> str:
    if work_dir_of(folder).is_dir():
        return f"{folder} is not finished: its preparation was interrupted. Call prepare again; it goes on where it was."
    if folder.is_dir():
        return f"{folder} has no manifest.json: it is not a token store. Make one with tfllm.data.prepare, in another folder."
    return f"{folder} does not exist. Make a token store with tfllm.data.prepare."


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise StoreError(f"{path} is missing. {_REMEDY}")
    found = path.stat().st_size
    if found != expected:
        raise StoreError(f"{path} has {found} bytes, the manifest says {expected}. {_REMEDY}")


def offsets_path(path: Path) -> Path:
    """The file of bounds beside a file of tokens."""
    return path.with_suffix(".offsets")
