"""The files of a corpus. Paths, folders and globs in; the files to read out, and how many files were skipped, by kind.

Text files are read. Other files are skipped and counted. formats.py lists the kinds by name. Where the name does not tell
(`LICENSE`, `Makefile`, `a.log.1`), the first block of the file does: it is text if it is UTF-8 without a NUL.
Files with a scheme (gs://): remote_files.py. How files are read: chunks.py, documents.py.
"""

from __future__ import annotations

import fnmatch
import glob
import itertools
import logging
import os
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfllm.corpus.content_detection import look_into
from tfllm.corpus.formats import NotTextError, PathLike, SourceError, SourceNotFoundError, format_of, unreadable


@dataclass(frozen=True)
class Source:
    """A file of the corpus as it was found: `path` as the caller would write it, how it is read (formats.py), and what
    tells that it has changed."""

    path: str
    kind: str
    size: int
    modified: int
    compression: str = ""
    marked: bool = False
    """Begins with a byte order mark, which is no part of its text. Known of local files only."""


MAX_LISTED_KINDS = 8
"""Kinds that the one-line summary of skipped files names. A manifest lists all."""


@dataclass
class SkippedFiles:
    """Files that a search found and skipped: how many of each kind, and why the first of each kind was skipped."""

    kinds: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, reason: str) -> None:
        self.kinds[kind] += 1
        self.reasons.setdefault(kind, reason)

    def update(self, other: SkippedFiles) -> None:
        self.kinds.update(other.kinds)
        self.reasons = self.reasons | other.reasons

    def __str__(self) -> str:
        """180 files: 120 .pyc, 40 .so, 20 without suffix"""
        most = sorted(self.kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:MAX_LISTED_KINDS]
        total, others = self.kinds.total(), self.kinds.total() - sum(number for _, number in most)
        kinds = [f"{number:,} {kind}" for kind, number in most] + [f"{others:,} of other kinds"] * (others > 0)
        return f"{total:,} file{'s' * (total != 1)}: {', '.join(kinds)}"

    def reason(self) -> str:
        """For an error: the skipped files, and why the first of each kind was skipped; "" if there are none."""
        reasons = "".join(f"\n  {reason}" for reason in list(self.reasons.values())[:3])
        return f" Skipped {self}.{reasons}" if reasons else ""

    def report(self, *, shown: bool) -> None:
        """One line about the skipped files, if there are any: printed to stderr if `shown`, else logged at level INFO."""
        if self.kinds and shown:
            print(f"skipped {self}", file=sys.stderr)
        elif self.kinds:
            logging.getLogger("tfllm").info("skipped %s", self)


class Found(NamedTuple):
    """The files of a corpus, and the files that were skipped."""

    sources: list[Source]
    skipped: SkippedFiles


def find_sources(paths: PathLike | Iterable[PathLike], exclude: Sequence[str] = (), field: str = "text") -> Found:
    """The files of a corpus, each once, sorted by path.

    A folder is searched to its depth for text; `**` in a glob stands for any number of folders. In both, names that begin
    with a dot and token stores are not looked into, nor counted, and links to folders are not gone into, but where a name
    or a `*` of a glob is theirs. What is no text is skipped and counted, and so are JSON files and tables without `field`.
    A file that is named itself is read, or left out by `exclude`, or an error says why not. An `exclude` pattern is
    compared with the name of every file and folder below what was given (below the plain part of a glob), one with a
    slash with its path from there, in which `*` matches slashes too; what is excluded is not looked into.

        find_sources("lib", exclude=["site-packages", "test/bad_*"])
        lib/os.py  lib/json/tool.py  lib/LICENSE  lib/site-packages/pip.py  lib/test/bad_coding.py  lib/x.so
        -> lib/LICENSE  lib/json/tool.py  lib/os.py; skipped 1 file: 1 .so

    Raises:
        SourceNotFoundError: a path is not there, or there is nothing to read in it.
        SourceError: a file is unreadable, or is named and of no format that is read.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise SourceError("No paths were given. Name files, folders or globs such as 'books/**/*.txt'.")
    skipped = SkippedFiles()
    found: dict[str, Source] = {}
    for entry in given:
        text, passed = os.fspath(entry), SkippedFiles()
        sources = list(_sources(text, exclude, field, passed))
        for source in sources:
            found.setdefault(os.path.realpath(source.path), source)
        if not sources and not excluded(Path(text).name, exclude):
            raise SourceNotFoundError(_nothing(text, exclude, passed))
        skipped.update(passed)
    if not found:
        raise SourceNotFoundError(_nothing(os.fspath(given[0]), exclude, skipped))
    every = sorted(found.values(), key=lambda source: source.path)
    if not any(source.size for source in every):
        raise SourceError(f"Every file is empty ({every[0].path} and {len(every) - 1} more). Nothing to read.")
    return Found(every, skipped)


def patterns_of(exclude: str | Sequence[str]) -> list[str]:
    """`exclude` as a list: "test_*" -> ["test_*"]. A ValueError says what is accepted."""
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"exclude={patterns!r} is invalid: expected one pattern or several, as strings.")
    return patterns


def check_unchanged(sources: Sequence[Source]) -> None:
    """Raise SourceError if a file is not what it was when it was found."""
    for source in sources:
        status = _status(source.path)
        if (status.st_size, status.st_mtime_ns) != (source.size, source.modified):
            raise SourceError(f"{source.path} changed while it was read. Call again when nothing writes to it.")


def _sources(text: str, exclude: Sequence[str], field: str, passed: SkippedFiles) -> Iterator[Source]:
    """The files that `text`, as it was given, stands for."""
    if not text or "://" in text:
        raise SourceError(
            f"{text!r} is invalid: expected a file, a folder ('.' is the current one) or a glob on this machine. Download "
            "other files first."
        )
    path = Path(text)
    try:
        is_folder, is_there = path.is_dir(), path.exists() or path.is_symlink()
    except OSError as error:  # of a folder above
        raise unreadable(path, error) from error
    if is_folder:
        searched = _folder_files(str(path), "", exclude)
    elif is_there:
        if not excluded(path.name, exclude):
            yield _inspect(str(path), field)
        return
    elif not glob.has_magic(text):
        raise SourceNotFoundError(f"{text!r} does not exist. Name a file, a folder or a glob such as 'books/**/*.txt'.")
    else:
        plain = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        root = Path(*plain)
        if not root.is_dir():
            return
        searched = _glob_files(str(root), "", path.parts[len(plain) :], exclude)
    for file in searched:
        try:
            yield _inspect(file, field)
        except NotTextError as reason:
            passed.add(reason.kind, str(reason))


def _nothing(text: str, exclude: Sequence[str], passed: SkippedFiles) -> str:
    left_out = f" All may be excluded by {list(exclude)}." if exclude else ""
    return (
        f"{text!r} holds no file to read.{left_out} Give text, JSON lines, JSON, CSV, TSV or Parquet; quote globs, and check "
        f"where they start ({Path.cwd()}).{passed.reason()}"
    )


def _folder_files(folder: str, below: str, exclude: Sequence[str]) -> Iterator[str]:
    for entry, relative in _entries(folder, below, exclude):
        if entry.is_dir(follow_symlinks=False):
            yield from _folder_files(entry.path, relative, exclude)
        elif not entry.is_dir():
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
            seen = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(folder, error) from error
    if holds_store({entry.name for entry in seen}):
        return []
    named = [(entry, f"{below}/{entry.name}".lstrip("/")) for entry in seen]
    return [(entry, relative) for entry, relative in named if not excluded(relative, exclude)]


def holds_store(names: Collection[str]) -> bool:
    """Are these the names of a token store's files, with others perhaps?"""
    tokens = (name.removesuffix("tokens") for name in names if name.endswith(".tokens"))
    return "manifest.json" in names and any(f"{name}offsets" in names for name in tokens)


def excluded(relative: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the file or folder of this path, as `find_sources` says."""
    name = relative.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(relative if "/" in pattern else name, pattern) for pattern in patterns)


def _inspect(path: str, field: str) -> Source:
    format = format_of(path)
    status = _status(path)
    try:
        kind, marked = format.kind, False
        if status.st_size or format.compression:
            kind, marked = look_into(path, format, field)
    except OSError as error:
        raise unreadable(path, error) from error
    return Source(path.removeprefix("./"), kind, status.st_size, status.st_mtime_ns, format.compression, marked)


def _status(path: str) -> os.stat_result:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes as long as the call
    except FileNotFoundError as error:
        raise NotTextError("broken link", f"{path}: {error.strerror}. Repair or exclude it.") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its writer
        raise NotTextError("pipe or device", f"{path} is not a regular file. Exclude it.")
    return status
