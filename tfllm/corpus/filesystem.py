"""Files by path, on this machine or behind a scheme (gs://, s3://, hdfs://): opened, listed and written whole.

What has a scheme goes through Apache Beam's file systems, which each need their part of Beam (`apache-beam[gcp]`,
`[aws]`, `[azure]`); a plain path needs nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tfllm.files import is_remote, write_atomically


def open_file(path: str) -> IO[bytes]:
    """The file, to read bytes from any place of it; as it is, not unpacked."""
    if not is_remote(path):
        return open(path, "rb")  # noqa: PTH123 - a Path for each of a million files takes as long as the call
    from apache_beam.io.filesystem import CompressionTypes

    file: IO[bytes] = systems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def separator_ends(file: IO[bytes], separator: bytes, start: int) -> Iterator[int]:
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
    with systems().create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for part in parts:
            file.write(memoryview(part).cast("B") if memoryview(part).nbytes else b"")
    move(partial, path)


def exists(path: str) -> bool:
    """Whether the file is there; for a path with a scheme."""
    return bool(systems().exists(path))


def move(path: str, to: str) -> None:
    """Rename, over what may be there; for paths with a scheme."""
    if exists(to):
        systems().delete([to])
    systems().rename([path], [to])


def remove(paths: Sequence[str]) -> None:
    """Delete the files; for paths with a scheme."""
    systems().delete(list(paths))


def remove_folder(folder: str) -> None:
    """Delete all below the folder, and the folder where there are folders; for a path with a scheme."""
    if not systems().get_filesystem(folder).has_dirs():
        remove([one.path for one in inside(folder) or ()])
    elif exists(folder):
        remove([folder])


def names_in(folder: str) -> list[str]:
    """Names of the files in the folder, not of those further below; for a path with a scheme."""
    names = [one.path.removeprefix(f"{folder}/") for one in inside(folder) or ()]
    return [name for name in names if "/" not in name]


def inside(folder: str) -> list[Any] | None:
    """What a folder lists; None where folders exist and this is a file."""
    from apache_beam.io.filesystem import BeamIOError

    system = systems().get_filesystem(folder)
    try:
        # What `match` begins with, which takes a [ in a name for a glob.
        return list(system._list(folder if system.has_dirs() else f"{folder}/"))
    except BeamIOError as error:
        if "not a directory" not in str(error).lower():
            raise
        return None


def match(pattern: str) -> list[Any]:
    """What Beam knows of the files that match; for a pattern with a scheme."""
    found: list[Any] = systems().match([pattern])[0].metadata_list
    return found


def systems() -> Any:
    """Beam's file systems."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
