"""Where documents come from. Paths, folders and globs in; the list of files to read out, checked.

    .jsonl .jsonl.gz .jsonl.zst   one JSON object a line; the text is its string `field`
    .parquet                      one document a row; the text is its string column `field`
    any other file                plain text: the file is a document, or `separator` splits it; bytes as they
                                  are, no newline is translated and nothing is stripped

How they are read: chunks.py, documents.py.
"""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = (
    ".txt .text .md .markdown .rst .tex .org .html .htm .xml .csv .tsv .json .yaml .yml .toml .cfg .ini "
    ".py .pyi .c .h .cc .cpp .hpp .cs .java .kt .scala .go .rs .swift .js .jsx .ts .tsx .php .rb .pl .lua "
    ".jl .r .sh .sql .css .jsonl .jsonl.gz .jsonl.zst .parquet"
)
FOLDER_SUFFIXES = tuple(_SUFFIXES.split())
"""What a folder is searched for. A file named itself, or matched by a glob, is read whatever its suffix."""


class SourceError(ValueError):
    """The corpus cannot be read as asked. The message names the file (and the line) and says what to do."""


@dataclass(frozen=True)
class Source:
    """A file of the corpus as it was found: `path` as the caller would write it, and what tells that it has
    changed."""

    path: str
    kind: str
    size: int
    modified: int


def kind_of(path: str) -> str:
    """How a file is read: "text", "jsonl", "jsonl.gz", "jsonl.zst" or "parquet".

    Raises:
        SourceError: for a compressed file that is not JSON lines.
    """
    name = path.lower()
    for kind in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet"):
        if name.endswith("." + kind):
            return kind
    if name.endswith((".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".tgz")):
        raise SourceError(f"{path}: compressed files are read as .jsonl.gz and .jsonl.zst only. Unpack it first.")
    return "text"


def find_sources(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], exclude: Sequence[str] = ()) -> list[Source]:
    """The files of a corpus, each once, sorted by path.

    A folder is searched to its depth for FOLDER_SUFFIXES; `**` in a glob stands for any number of folders. In both,
    names that begin with a dot and token stores are passed over, and links to folders are not gone into, but where a name
    or a `*` of a glob is theirs. An `exclude` pattern is
    compared with the name of every file and folder below what was given (below the plain part of a glob), one with a
    slash with its path from there, in which `*` matches slashes too; what is excluded is not looked into.

        find_sources("lib", exclude=["site-packages", "test/bad_*"])
        lib/os.py  lib/json/tool.py  lib/site-packages/pip.py  lib/test/bad_coding.py  lib/x.so
        -> lib/json/tool.py  lib/os.py

    Raises:
        SourceError: a path is missing or unreadable, or there is nothing in it.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise SourceError("No paths were given. Name files, folders or globs such as 'books/**/*.txt'.")
    found: dict[str, str] = {}
    for entry in given:
        text = os.fspath(entry)
        files = list(_expand(text, exclude))
        for path in files:
            found.setdefault(os.path.realpath(path), str(Path(path)))
        if not files:
            left_out = f" All may be excluded by {list(exclude)}." if exclude else ""
            raise SourceError(
                f"{text!r} holds no file to read.{left_out} Folders are searched for {_SUFFIXES}; quote globs, and mind "
                f"where they start ({Path.cwd()})."
            )
    sources = [_inspect(path) for path in sorted(found.values())]
    if not any(source.size for source in sources):
        raise SourceError(f"Every file is empty ({sources[0].path} and {len(sources) - 1} more). Nothing to read.")
    return sources


def check_unchanged(sources: Sequence[Source]) -> None:
    """Raise SourceError if a file is not what it was when it was found."""
    for source in sources:
        if _inspect(source.path) != source:
            raise SourceError(f"{source.path} changed while it was read. Call again when nothing writes to it.")


def _expand(text: str, exclude: Sequence[str]) -> Iterator[str]:
    """The files that `text`, as it was given, stands for."""
    path = Path(text)
    if path.is_dir():
        yield from _folder_files(text, "", exclude)
    elif path.exists() or path.is_symlink():
        if not excluded(path.name, exclude):
            yield text
    elif not glob.has_magic(text):
        raise SourceError(f"{text!r} does not exist. Name a file, a folder or a glob such as 'books/**/*.txt'.")
    else:
        plain = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        root = Path(*plain)
        if root.is_dir():
            yield from _glob_files(str(root), "", path.parts[len(plain) :], exclude)


def _folder_files(folder: str, below: str, exclude: Sequence[str]) -> Iterator[str]:
    for entry, relative in _entries(folder, below, exclude):
        if entry.is_dir(follow_symlinks=False):
            yield from _folder_files(entry.path, relative, exclude)
        elif entry.name.lower().endswith(FOLDER_SUFFIXES) and not entry.is_dir():
            yield entry.path


def _glob_files(
    folder: str, below: str, pattern: Sequence[str], exclude: Sequence[str], *, deep: bool = False
) -> Iterator[str]:
    """Not glob.glob: that passes over folders it may not read, and cannot leave out a branch."""
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        yield from _glob_files(folder, below, rest or ["*"], exclude, deep=True)
    for entry, relative in _entries(folder, below, exclude):
        if head == "**":
            if entry.is_dir(follow_symlinks=False):
                yield from _glob_files(entry.path, relative, pattern, exclude)
        elif fnmatch.fnmatchcase(entry.name, head):
            if not entry.is_dir():
                if not rest:
                    yield entry.path
            elif rest:
                yield from _glob_files(entry.path, relative, rest, exclude, deep=deep)
            elif not deep:
                yield from _folder_files(entry.path, relative, exclude)


def _entries(folder: str, below: str, exclude: Sequence[str]) -> list[tuple[os.DirEntry[str], str]]:
    """What a folder holds, with its path from where the search began; without hidden and excluded names. Nothing of a store."""
    try:
        with os.scandir(folder) as scan:
            named = [(entry, f"{below}/{entry.name}".lstrip("/")) for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}. Make it readable, or exclude it.") from error
    if holds_store({entry.name for entry, _ in named}):
        return []
    return [(entry, relative) for entry, relative in named if not excluded(relative, exclude)]


def holds_store(names: Collection[str]) -> bool:
    """Are these the names of a token store's files, with others perhaps?"""
    tokens = (name.removesuffix("tokens") for name in names if name.endswith(".tokens"))
    return "manifest.json" in names and any(f"{name}offsets" in names for name in tokens)


def excluded(relative: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the file or folder of this path, as `find_sources` says."""
    name = relative.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(relative if "/" in pattern else name, pattern) for pattern in patterns)


def _inspect(path: str) -> Source:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
        try:
            status = os.fstat(file)
        finally:
            os.close(file)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}. Make it readable, or exclude it.") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path} is not a regular file. Exclude it.")
    return Source(path=path, kind=kind_of(path), size=status.st_size, modified=status.st_mtime_ns)
