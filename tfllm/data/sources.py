"""Where documents come from. Paths, folders and globs in; the list of files to read out, checked.

    .jsonl .jsonl.gz .jsonl.zst   one JSON object a line; the text is its string `field`
    .parquet                      one document a row; the text is its string column `field`
    any other file                plain text: the file is a document, or `separator` splits it; bytes as they
                                  are, no newline is translated and nothing is stripped

How they are read: chunks.py.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterable, Sequence
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

    A folder is searched to its depth for FOLDER_SUFFIXES; names that begin with a dot are passed over and
    links to folders are not followed. A glob may hold `**`. An `exclude` pattern without a slash is compared
    with every part of the path below the folder that was given (or below the part of the glob that is plain),
    one with a slash with that whole relative path; `*` matches slashes too.

        find_sources("lib", exclude=["site-packages", "test/bad_*"])
        lib/os.py  lib/json/tool.py  lib/site-packages/pip.py  lib/test/bad_coding.py  lib/x.so
        -> lib/json/tool.py  lib/os.py

    Raises:
        SourceError: a path is missing or unreadable, a glob or folder holds nothing, or nothing is left.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise SourceError("No paths were given. Name files, folders or globs such as 'books/**/*.txt'.")
    found: dict[str, str] = {}
    for entry in given:
        text = os.fspath(entry)
        root, files = _expand(text)
        if not files:
            raise SourceError(f"{text!r} holds no file to read. Folders are searched for {_SUFFIXES}.")
        for path in files:
            if not _excluded(os.path.relpath(path, root), exclude):
                found.setdefault(os.path.realpath(path), path)
    if not found:
        raise SourceError(f"Every file is excluded by {list(exclude)}. Loosen `exclude`.")
    sources = [_inspect(path) for path in sorted(found.values())]
    if not any(source.size for source in sources):
        raise SourceError(f"Every file is empty ({sources[0].path} and {len(sources) - 1} more). Nothing to read.")
    return sources


def check_unchanged(sources: Sequence[Source]) -> None:
    """Raise SourceError if a file is not what it was when it was found."""
    for source in sources:
        if _inspect(source.path) != source:
            raise SourceError(f"{source.path} changed while it was read. Call again when nothing writes to it.")


def _expand(text: str) -> tuple[str, list[str]]:
    """The folder that exclusions are relative to, and the files `text` stands for."""
    path = Path(text)
    if path.is_dir():
        return text, list(_walk(text))
    if path.exists() or path.is_symlink():
        return str(path.parent), [text]
    if not glob.has_magic(text):
        raise SourceError(f"{text!r} does not exist. Name a file, a folder or a glob such as 'books/**/*.txt'.")
    plain: list[str] = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    files: list[str] = []
    for match in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not Path(match).is_dir():
            files.append(match)
        elif "**" not in text:
            files.extend(_walk(match))
    if not files:
        raise SourceError(f"{text!r} matches no file. Quote the glob and mind where it starts ({Path.cwd()}).")
    return str(Path(*plain)) if plain else ".", files


def _walk(folder: str) -> Iterable[str]:
    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: {error.strerror}. Make it readable, or exclude it.") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(FOLDER_SUFFIXES):
                yield str(Path(parent, name))


def _excluded(relative: str, patterns: Sequence[str]) -> bool:
    whole = Path(relative).as_posix()
    return any(
        fnmatch.fnmatchcase(whole, pattern)
        or ("/" not in pattern and any(fnmatch.fnmatchcase(part, pattern) for part in Path(relative).parts))
        for pattern in patterns
    )


def _inspect(path: str) -> Source:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise SourceError(f"{path} is not a regular file. Exclude it.")
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}. Make it readable, or exclude it.") from error
    return Source(path=path, kind=kind_of(path), size=status.st_size, modified=status.st_mtime_ns)
