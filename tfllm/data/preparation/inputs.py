"""The inputs of a preparation: the files of a corpus, or texts in memory.

In: paths or strings. Out: chunks, the identity that the fingerprint is made of, and an entry of the manifest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tfllm.corpus.chunks import Chunk, ReadOptions, plan_chunks, plan_text_chunks
from tfllm.corpus.formats import PathLike, SourceError
from tfllm.corpus.sources import Found, Source, check_unchanged, find_sources
from tfllm.files import is_remote


class Inputs(Protocol):
    """Files or texts."""

    @property
    def size(self) -> int:
        """Bytes, for the progress bar."""

    def identity(self) -> Any:
        """What the fingerprint of the inputs is made of; JSON."""

    def entry(self) -> dict[str, Any]:
        """What the manifest says of them."""

    def chunks(self, read_options: ReadOptions, chunk_bytes: int) -> Iterator[Chunk]:
        """The same inputs give the same chunks."""

    def check_unchanged(self) -> None:
        """Raise SourceError if they are not what they were."""


@dataclass(frozen=True)
class Files:
    """The files of a corpus as they were found."""

    found: Found

    @classmethod
    def at(cls, paths: PathLike | Iterable[PathLike], exclude: Sequence[str], field: str) -> Files:
        """Raises SourceError, as `find_sources`."""
        return cls(find_sources(paths, exclude, field))

    @property
    def size(self) -> int:
        return sum(source.size for source in self.found.sources)

    def identity(self) -> list[list[Any]]:
        """A file that kept its size and time counts as unchanged."""
        return [[_place(source.path), source.size, source.modified, *_read_anew(source)] for source in self.found.sources]

    def entry(self) -> dict[str, Any]:
        passed = dict(sorted(self.found.skipped.kinds.items()))
        return {"files": len(self.found.sources), "bytes": self.size, **({"passed_by": passed} if passed else {})}

    def chunks(self, read_options: ReadOptions, chunk_bytes: int) -> Iterator[Chunk]:
        return plan_chunks(self.found.sources, read_options, chunk_bytes)

    def check_unchanged(self) -> None:
        check_unchanged(self.found.sources)


class Texts:
    """Texts in memory. An iterator is read into memory first."""

    def __init__(self, texts: Iterable[str]):
        if isinstance(texts, (str, bytes)):
            raise TypeError("texts is invalid: expected an iterable of strings, got one string. Give [text].")
        self.texts = texts if isinstance(texts, (list, tuple)) else list(texts)
        digest, size = hashlib.sha256(), 0
        for index, text in enumerate(self.texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{index}]={text!r:.60} is invalid: expected a string. Give strings only.")
            data = text.encode(errors="surrogatepass")
            digest.update(len(data).to_bytes(8) + data)
            size += len(data)
        if not size:
            raise SourceError(f"texts holds {len(self.texts)} texts, all empty. Nothing to prepare.")
        self.size, self.sha256 = size, digest.hexdigest()

    def identity(self) -> dict[str, str]:
        """Their content in its order, whatever it came from."""
        return {"texts": self.sha256}

    def entry(self) -> dict[str, Any]:
        return {"texts": len(self.texts), "bytes": self.size}

    def chunks(self, read_options: ReadOptions, chunk_bytes: int) -> Iterator[Chunk]:
        return plan_text_chunks(self.texts, read_options.field, chunk_bytes)

    def check_unchanged(self) -> None:
        """They are at hand."""


def _place(path: str) -> str:
    return path if is_remote(path) else os.path.realpath(path)


def _read_anew(source: Source) -> list[str]:
    """How a file is read, where the first versions read it otherwise: stores that they made of it hold other documents."""
    name = source.path.lower()
    first = next((kind for kind in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet") if name.endswith(f".{kind}")), "text")
    now = ".".join(filter(None, (source.kind, source.compression)))
    return [now] * (now != first) + ["marked"] * source.marked
