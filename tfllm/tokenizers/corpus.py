"""The text a tokenizer is trained on: paths or strings in, an even sample of bounded size out.

In: files, folders, globs, or strings. Out: chunks of text, in order, at most `max_bytes` in all.
"""

from __future__ import annotations

import glob
import heapq
import io
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from tfllm.tokenizers.base import check_text

CHUNK_CHARACTERS = 16384
RECORDS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


@dataclass(frozen=True)
class Corpus:
    """Chunks of text to come; `size` is their bytes where that is known before reading."""

    name: str
    chunks: Iterable[str]
    size: int | None = None

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Corpus:
        if isinstance(texts, str):
            raise TypeError("texts is one string; accepted: an iterable of strings, as [text]")
        return cls("texts", (chunk for text in texts for chunk in _checked(text)))

    @classmethod
    def of_paths(cls, paths: str | Path | Sequence[str | Path], invalid_utf8: str = "error") -> Corpus:
        if invalid_utf8 not in ("error", "skip"):
            raise ValueError(f"invalid_utf8 is {invalid_utf8!r}; accepted: 'error', 'skip'")
        paths = [paths] if isinstance(paths, str | Path) else list(paths)
        files = files_of(paths)
        for file in files:
            if file.name.lower().endswith(RECORDS):
                raise ValueError(f"{file} is no plain text: give texts=tfllm.data.texts(…), which reads such files, too")
        size = sum(file.stat().st_size for file in files)
        return cls(", ".join(map(str, paths)), _read_all(files, invalid_utf8 == "skip"), size)


def files_of(paths: Sequence[str | Path]) -> list[Path]:
    """Files of paths, folders (all below, sorted, none hidden) and globs (`**` goes down), each once.

    ["b.txt", "texts", "*.txt"] -> ["b.txt", "texts/1.txt", "texts/2.txt", "a.txt"]
    """
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = (entry for entry in sorted(path.rglob("*")) if entry.is_file())
            found = [entry for entry in inside if not any(part.startswith(".") for part in entry.relative_to(path).parts)]
        elif path.is_file():
            found = [path]
        else:
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            found = [Path(match) for match in matches if Path(match).is_file()]
        if not found:
            what = "the folder holds no file" if path.is_dir() else "no such file or folder, and no file matches it as a glob"
            raise FileNotFoundError(f"{path}: {what}")
        files.update(dict.fromkeys(found))
    return list(files)


def sample(corpus: Corpus, max_bytes: int, progress: bool) -> list[str]:
    """An even sample of the chunks, in their order: all of them where they fit in `max_bytes`.

    Each chunk draws a number from a fixed seed; the chunks of the smallest numbers stay: memory holds the sample, no more.
    """
    if max_bytes <= 0:
        raise ValueError(f"max_bytes is {max_bytes}; accepted: more than 0")
    draw = random.Random(0)
    heap: list[tuple[float, int, str, int]] = []
    held = 0
    with tqdm(total=corpus.size, desc="reading text", unit="B", unit_scale=True, disable=not progress) as bar:
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
    return _cut(io.StringIO(text, newline=""))


def _cut(file: TextIO) -> Iterator[str]:
    """Chunks that end with a line where they can."""
    rest = ""
    while block := file.read(CHUNK_CHARACTERS):
        block = rest + block
        end = block.rfind("\n") + 1 or len(block)
        yield block[:end]
        rest = block[end:]
    if rest:
        yield rest


def _read_all(files: Sequence[Path], skip_invalid: bool) -> Iterator[str]:
    skipped = []
    for path in files:
        try:
            # A pass of its own: a file is taken whole or not at all, and may be larger than memory.
            with path.open(encoding="utf-8", newline="") as file:
                while file.read(1 << 20):
                    pass
        except UnicodeDecodeError as error:
            if not skip_invalid:
                raise ValueError(
                    f"{path} is no UTF-8 text ({error.reason}): convert it, leave it out, or set invalid_utf8='skip'"
                ) from error
            skipped.append(path)
            continue
        with path.open(encoding="utf-8", newline="") as file:
            yield from _cut(file)
    if skipped:
        names = ", ".join(map(str, skipped[:5])) + ("…" if len(skipped) > 5 else "")
        warnings.warn(f"skipped {len(skipped)} files that are no UTF-8 text: {names}", stacklevel=2)
