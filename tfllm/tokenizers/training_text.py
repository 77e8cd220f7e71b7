"""The text that a tokenizer is trained on.

In: the files that a token store is prepared from (tfllm/corpus), or strings. Out: chunks of text, in order, at most `max_bytes`
in all; of a larger corpus an even sample.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tfllm.corpus.chunks import ReadOptions
from tfllm.corpus.formats import PathLike
from tfllm.corpus.lines import read_characters
from tfllm.corpus.sources import Source, find_sources, patterns_of
from tfllm.corpus.texts import is_utf8, texts_of, warn_of_skipped
from tfllm.progress import progress_bar
from tfllm.tokenizers.base import check_text

CHUNK_CHARACTERS = 16384


@dataclass(frozen=True)
class Corpus:
    """Chunks of text to come; `size` is their bytes where that is known before reading."""

    name: str
    chunks: Iterable[str]
    size: int | None = None

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Corpus:
        if isinstance(texts, str):
            raise TypeError("texts is invalid: expected an iterable of strings, got one string. Give [text].")
        return cls("texts", (chunk for text in texts for chunk in _checked(text)))

    @classmethod
    def of_paths(
        cls,
        paths: PathLike | Iterable[PathLike],
        *,
        field: str = "text",
        exclude: str | Sequence[str] = (),
        invalid_utf8: str = "error",
        progress: bool = False,
    ) -> Corpus:
        read_options = ReadOptions(field, invalid_utf8=invalid_utf8)
        sources, skipped = find_sources(paths, patterns_of(exclude), field)
        skipped.report(shown=progress)
        plain = all(source.kind == "text" and not source.compression for source in sources)
        name = sources[0].path + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
        return cls(name, _read_all(sources, read_options), sum(source.size for source in sources) if plain else None)


def sample(corpus: Corpus, max_bytes: int, progress: bool) -> list[str]:
    """An even sample of the chunks, in their order: all of them where they fit in `max_bytes`.

    Each chunk draws a number from a fixed seed; the chunks of the smallest numbers stay: memory holds the sample, no more.
    """
    if max_bytes <= 0:
        raise ValueError(f"max_bytes={max_bytes!r} is invalid: expected a number above 0.")
    draw = random.Random(0)
    heap: list[tuple[float, int, str, int]] = []
    held = 0
    with progress_bar(total=corpus.size, title="reading text", unit="B", unit_scale=True, shown=progress) as bar:
        for index, chunk in enumerate(corpus.chunks):
            size = len(chunk.encode())
            bar.update(size)
            heapq.heappush(heap, (-draw.random(), index, chunk, size))
            held += size
            while held > max_bytes and len(heap) > 1:
                held -= heapq.heappop(heap)[3]
    return [chunk for _, _, chunk, _ in sorted(heap, key=lambda entry: entry[1])]


def _checked(text: str) -> Iterator[str]:
    check_text(text)
    return _cut([text])


def _read_all(sources: Sequence[Source], read_options: ReadOptions) -> Iterator[str]:
    skipped: list[str] = []
    for source in sources:
        if source.kind != "text":
            for text in texts_of([source], read_options, skipped):
                yield from _cut([text])
        # A pass of its own: a file is taken whole or not at all, and may be larger than memory.
        elif is_utf8(source, read_options):
            yield from _cut(read_characters(source.path, source.compression))
        else:
            skipped.append(source.path)
    warn_of_skipped(skipped)


def _cut(blocks: Iterable[str]) -> Iterator[str]:
    """Chunks of one text that end with a line where they can."""
    rest = ""
    for block in _even(blocks):
        block = rest + block
        end = block.rfind("\n") + 1 or len(block)
        yield block[:end]
        rest = block[end:]
    if rest:
        yield rest


def _even(blocks: Iterable[str]) -> Iterator[str]:
    """The same text in blocks of CHUNK_CHARACTERS, but the last."""
    rest = ""
    for block in blocks:
        text = rest + block
        end = len(text) - len(text) % CHUNK_CHARACTERS
        for start in range(0, end, CHUNK_CHARACTERS):
            yield text[start : start + CHUNK_CHARACTERS]
        rest = text[end:]
    if rest:
        yield rest
