"""The texts of a corpus, read here and one after the other: for whatever wants text and not a store, such as a tokenizer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence

from tfllm.data.preparation.chunks import Reading, plan
from tfllm.data.preparation.documents import read
from tfllm.data.preparation.manifests import settings_of
from tfllm.data.preparation.sources import Source, find_sources

CHUNK_BYTES = 1 << 23


def texts(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    field: str = "text",
    separator: str | None = None,
    exclude: str | Sequence[str] = (),
    invalid_utf8: str = "error",
) -> Iterator[str]:
    """The documents that `prepare` would read of the same files, duplicates and all, in the order of the files.

    >>> tokenizer = tfllm.tokenizers.train(texts=tfllm.data.texts(["web.jsonl.zst", "wiki.parquet"]))

    Args:
        paths, field, separator, exclude: as `prepare` has them.
        invalid_utf8: "error", or "skip" such documents (files where a file is a document) and warn at the end.

    Raises:
        SourceError: the corpus cannot be read as asked; what is wrong inside a file is said when it is reached.
        ValueError: a setting is not accepted.
    """
    settings = settings_of(
        field=field,
        separator=separator,
        exclude=exclude,
        validation=0.0,
        shards=None,
        invalid_utf8=invalid_utf8,
        near_duplicates=None,
    )
    return _texts(find_sources(paths, settings["exclude"]), Reading(field, separator, invalid_utf8))


def _texts(sources: Sequence[Source], reading: Reading) -> Iterator[str]:
    skipped = []
    for chunk in plan(sources, reading, CHUNK_BYTES):
        for document in read(chunk, reading):
            if document.text is None:
                skipped.append(document.file)
            else:
                yield document.text
    if skipped:
        names = ", ".join(dict.fromkeys(skipped[:5])) + ("…" if len(skipped) > 5 else "")
        warnings.warn(f"skipped {len(skipped)} documents that are no UTF-8 text, in {names}", stacklevel=2)
