"""The files that a path with a scheme (gs://, s3://, hdfs://) names. A path in; the files to read out, and what was skipped.

Files are listed, not opened: in a folder the suffix tells what is text. A file that is named itself or matched by a glob, and
whose name does not tell (`part-00000`), is looked into, as on a disk.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tfllm.corpus.content_detection import look_into
from tfllm.corpus.filesystem import inside, match, systems
from tfllm.corpus.formats import Format, NotTextError, SourceNotFoundError, format_of, is_named_as_text, kind_of
from tfllm.corpus.sources import Found, SkippedFiles, Source, excluded, holds_store


def find_remote(path: str, exclude: Sequence[str], field: str = "text") -> Found:
    """The files that a path with a scheme stands for: a file, a folder (all below it whose suffix says that they are text,
    token stores apart), a glob in which `*` matches within a name and `**` across folders. Names that begin with a dot are
    skipped, `exclude` is compared as `find_sources` does.

        gs://corpus holds web/a.txt web/b.so web/c/d.txt
        gs://corpus/web, or gs://corpus/web/  ->  web/a.txt web/c/d.txt; skipped 1 file: 1 .so
        gs://corpus/web/*                     ->  web/a.txt web/b.so

    Raises:
        SourceNotFoundError: nothing is there.
        NotTextError: a file is named and of no format that is read.
    """
    plain = re.split(r"[*?\[]", path)[0]
    folder = False
    if plain == path:
        root = path.rstrip("/")  # Beam would match the files right below `root/` and no others
        found = _file(root)
        if folder := not found:
            found = _texts_below(root)
    else:
        root = plain.rpartition("/")[0]
        system = systems().get_filesystem(path)
        found = list(system.match_files(_below(root), path)) if system.has_dirs() else match(path)
    sources, skipped = [], SkippedFiles()
    for one in found:
        if _left_out(one.path.removeprefix(root).lstrip("/") or one.path.rpartition("/")[2], exclude):
            continue
        try:
            if folder and not is_named_as_text(one.path):
                raise NotTextError(kind_of(one.path), f"{one.path}: its suffix does not say that it is text. Name it itself.")
            sources.append(_source(one, field))
        except NotTextError as reason:
            if plain == path and not folder:
                raise
            skipped.add(reason.kind, str(reason))
    if not sources:
        raise SourceNotFoundError(
            f"{path!r} holds no file to read. Name a file, a folder, or a glob such as 'gs://books/**.txt'.{skipped.reason()}"
        )
    return Found(sources, skipped)


def _source(one: Any, field: str) -> Source:
    """Opened only where its name does not say that it is text: `part-00000` may hold JSON lines."""
    kind, compression = format_of(one.path)
    if not is_named_as_text(one.path) and (one.size_in_bytes or compression):
        kind, _ = look_into(one.path, Format(kind, compression), field)
    return Source(one.path, kind, one.size_in_bytes, int(one.last_updated_in_seconds * 1e9), compression)


def _file(path: str) -> list[Any]:
    """The file of this name, if there is one. Asked for a bucket, Beam fails."""
    found = match(path) if "/" in path.partition("://")[2] else []
    return [one for one in found if not _is_folder(one)]


def _below(folder: str) -> list[Any]:
    """All files below a folder, which are listed a level at a time where folders exist (HDFS)."""
    found = []
    for one in inside(folder) or ():
        found += _below(one.path) if _is_folder(one) else [one]
    return found


def _texts_below(folder: str) -> list[Any]:
    """All files below a folder but those in token stores."""
    found, names = _below(folder), defaultdict(set)
    for one in found:
        place, _, name = one.path.rpartition("/")
        names[place].add(name)
    stores = tuple(f"{place}/" for place, inside in names.items() if holds_store(inside))
    return [one for one in found if not one.path.startswith(stores)]


def _is_folder(one: Any) -> bool:
    """Where folders exist they are listed as files of size 0."""
    return not one.size_in_bytes and systems().get_filesystem(one.path).has_dirs() and inside(one.path) is not None


def _left_out(relative: str, exclude: Sequence[str]) -> bool:
    parts = relative.split("/")
    below = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    return any(part.startswith(".") for part in parts) or any(excluded(one, exclude) for one in below)
