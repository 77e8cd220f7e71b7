"""The texts of a corpus, one after the other, in this process: for a tokenizer, or for whoever wants text and no store."""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Iterable, Iterator, Sequence

from tfllm.corpus.chunks import ReadOptions, plan_chunks
from tfllm.corpus.decompression import blocks_of
from tfllm.corpus.documents import not_utf8, read_documents
from tfllm.corpus.formats import PathLike, SourceError
from tfllm.corpus.sources import Source, find_sources, patterns_of

CHUNK_BYTES = 1 << 23


def texts(
    paths: PathLike | Iterable[PathLike],
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
    read_options = ReadOptions(field, separator, invalid_utf8)
    found = find_sources(paths, patterns_of(exclude), field)
    found.skipped.report(shown=False)
    return _texts(found.sources, read_options)


def texts_of(sources: Sequence[Source], read_options: ReadOptions, skipped: list[str]) -> Iterator[str]:
    """The documents of sources; the files of those that are not UTF-8 are added to `skipped`.

    Raises:
        SourceError: as `read_documents`.
    """
    for chunk in plan_chunks(sources, read_options, CHUNK_BYTES):
        for document in read_documents(chunk, read_options):
            if document.text is None:
                skipped.append(document.file)
            else:
                yield document.text


def is_utf8(source: Source, read_options: ReadOptions) -> bool:
    """Whether a text file is UTF-8 to its end; it may be larger than memory.

    Raises:
        SourceError: it is not, and `read_options` does not say to skip it.
    """
    decoder, place, held = codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        for block in blocks_of(source.path, source.compression):
            held = len(decoder.getstate()[0])  # of a character that was cut
            decoder.decode(block)
            place += len(block)
        held = len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        if read_options.invalid_utf8 == "skip":
            return False
        raise SourceError(not_utf8(source.path, error, source.path, place - held)) from error
    return True


def warn_of_skipped(skipped: Sequence[str]) -> None:
    """Say how many documents were left out."""
    if skipped:
        names = list(dict.fromkeys(skipped))
        listed = ", ".join(names[:5]) + ("…" if len(names) > 5 else "")
        warnings.warn(f"skipped {len(skipped)} documents that are no UTF-8 text, in {listed}", stacklevel=3)


def _texts(sources: Sequence[Source], read_options: ReadOptions) -> Iterator[str]:
    skipped: list[str] = []
    yield from texts_of(sources, read_options, skipped)
    warn_of_skipped(skipped)
