"""Files by path, on this machine or behind a scheme (gs://, s3://, hdfs://): opened, found and written whole.

What has a scheme goes through Apache Beam's file systems, which each need their part of Beam (`apache-beam[gcp]`,
`[aws]`, `[azure]`); a plain path needs nothing.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tfllm.data.preparation.sources import FOLDER_SUFFIXES, Source, SourceError, excluded, holds_store, kind_of
from tfllm.files import is_remote, write_atomically


def opened(path: str) -> IO[bytes]:
    """The file, to read bytes from any place of it; as it is, not unpacked."""
    if not is_remote(path):
        return Path(path).open("rb")
    from apache_beam.io.filesystem import CompressionTypes

    file: IO[bytes] = _systems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def ends_in(file: IO[bytes], separator: bytes, start: int) -> Iterator[int]:
    """Where separators end, found from `start` on, left to right."""
    file.seek(start)
    held = b""
    while block := file.read(1 << 20):
        held += block
        place = 0
        while (found := held.find(separator, place)) >= 0:
            place = found + len(separator)
            yield start + place
        place = max(place, len(held) - len(separator) + 1)  # what may begin a separator
        start, held = start + place, held[place:]


def write_whole(path: str, parts: Sequence[Any]) -> None:
    """Write the buffers to `path` under another name, then rename: there whole or not at all, whoever else tries."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), parts, durable=True)
        return
    from apache_beam.io.filesystem import CompressionTypes

    partial = f"{path}.{uuid.uuid4().hex}.partial"
    with _systems().create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for part in parts:
            file.write(memoryview(part).cast("B") if memoryview(part).nbytes else b"")
    move(partial, path)


def exists(path: str) -> bool:
    """Whether the file is there; for a path with a scheme."""
    return bool(_systems().exists(path))


def move(path: str, to: str) -> None:
    """Rename, over what may be there; for paths with a scheme."""
    if exists(to):
        _systems().delete([to])
    _systems().rename([path], [to])


def remove(paths: Sequence[str]) -> None:
    """Delete the files; for paths with a scheme."""
    _systems().delete(list(paths))


def remove_folder(folder: str) -> None:
    """Delete all below the folder, and the folder where there are folders; for a path with a scheme."""
    if not _systems().get_filesystem(folder).has_dirs():
        remove([one.path for one in _inside(folder) or ()])
    elif exists(folder):
        remove([folder])


def names_in(folder: str) -> list[str]:
    """Names of the files in the folder, not of those further below; for a path with a scheme."""
    names = [one.path.removeprefix(f"{folder}/") for one in _inside(folder) or ()]
    return [name for name in names if "/" not in name]


def find_remote(path: str, exclude: Sequence[str]) -> list[Source]:
    """The files that a path with a scheme stands for: a file, a folder (all below it, by FOLDER_SUFFIXES, token stores
    apart), a glob in which `*` matches within a name and `**` across folders. Names that begin with a dot are passed
    over, `exclude` is compared as `find_sources` does.

        gs://corpus holds web/a.txt web/b.so web/c/d.txt
        gs://corpus/web, or gs://corpus/web/  ->  web/a.txt web/c/d.txt
        gs://corpus/web/*                     ->  web/a.txt web/b.so

    Raises:
        SourceError: nothing is there.
    """
    plain = re.split(r"[*?\[]", path)[0]
    if plain == path:
        root = path.rstrip("/")  # Beam would match the files right below `root/` and no others
        found = _file(root) or [one for one in _texts_below(root) if one.path.lower().endswith(FOLDER_SUFFIXES)]
    else:
        root = plain.rpartition("/")[0]
        system = _systems().get_filesystem(path)
        found = list(system.match_files(_below(root), path)) if system.has_dirs() else _match(path)
    sources = [
        Source(one.path, kind_of(one.path), one.size_in_bytes, int(one.last_updated_in_seconds * 1e9))
        for one in found
        if not _left_out(one.path.removeprefix(root).lstrip("/") or one.path.rpartition("/")[2], exclude)
    ]
    if not sources:
        raise SourceError(f"{path!r} holds no file to read. Name a file, a folder, or a glob such as 'gs://books/**.txt'.")
    return sources


def _file(path: str) -> list[Any]:
    """The file of this name, if there is one. Asked for a bucket, Beam fails."""
    found = _match(path) if "/" in path.partition("://")[2] else []
    return [one for one in found if not _is_folder(one)]


def _below(folder: str) -> list[Any]:
    """All files below a folder, which are listed a level at a time where folders exist (HDFS)."""
    found = []
    for one in _inside(folder) or ():
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
    return not one.size_in_bytes and _systems().get_filesystem(one.path).has_dirs() and _inside(one.path) is not None


def _inside(folder: str) -> list[Any] | None:
    """What a folder lists; None where folders exist and this is a file."""
    from apache_beam.io.filesystem import BeamIOError

    system = _systems().get_filesystem(folder)
    try:
        # What `match` begins with, which takes a [ in a name for a glob.
        return list(system._list(folder if system.has_dirs() else f"{folder}/"))
    except BeamIOError as error:
        if "not a directory" not in str(error).lower():
            raise
        return None


def _match(pattern: str) -> list[Any]:
    found: list[Any] = _systems().match([pattern])[0].metadata_list
    return found


def _left_out(relative: str, exclude: Sequence[str]) -> bool:
    parts = relative.split("/")
    below = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    return any(part.startswith(".") for part in parts) or any(excluded(one, exclude) for one in below)


def _systems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
