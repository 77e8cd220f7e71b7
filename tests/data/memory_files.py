"""File systems that Beam finds by their schemes, in this process. memory://: files by name, as in an object store;
folders://: the same with folders that are there, as on HDFS."""

import io
import time

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

FILES: dict[str, bytes] = {}
TIMES: dict[str, float] = {}


class Writer(io.BytesIO):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def close(self):
        if not self.closed:
            FILES[self.path], TIMES[self.path] = self.getvalue(), time.time()
        super().close()


class MemoryFiles(FileSystem):
    @classmethod
    def scheme(cls):
        return "memory"

    def join(self, basepath, *paths):
        return "/".join([basepath, *paths])

    def split(self, path):
        return path.rpartition("/")[0], path.rpartition("/")[2]

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return [self.metadata(path) for path in sorted(FILES) if path.startswith(dir_or_prefix)]

    def create(self, path, mime_type=None, compression_type=None):
        return Writer(path)

    def open(self, path, mime_type=None, compression_type=None):
        return io.BytesIO(FILES[path])

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            assert destination not in FILES
            FILES[destination], TIMES[destination] = FILES.pop(source), TIMES.pop(source)

    def exists(self, path):
        return path in FILES

    def size(self, path):
        return len(FILES[path])

    def last_updated(self, path):
        return TIMES[path]

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def checksum(self, path):
        raise NotImplementedError

    def delete(self, paths):
        for path in paths:
            del FILES[path]


class FolderFiles(MemoryFiles):
    """What Beam's HadoopFileSystem tells: a folder exists, as a file of size 0, and lists one level."""

    @classmethod
    def scheme(cls):
        return "folders"

    def has_dirs(self):
        return True

    def exists(self, path):
        return path in FILES or any(name.startswith(f"{path}/") for name in FILES)

    def size(self, path):
        return len(FILES.get(path, b""))

    def last_updated(self, path):
        return TIMES.get(path, 0.0)

    def _list(self, dir_or_prefix):
        if dir_or_prefix in FILES:
            raise BeamIOError("List operation failed", {dir_or_prefix: OSError(f"{dir_or_prefix!r} is not a directory.")})
        below = {name.removeprefix(f"{dir_or_prefix}/").split("/")[0] for name in FILES if name.startswith(f"{dir_or_prefix}/")}
        return [self.metadata(f"{dir_or_prefix}/{name}") for name in sorted(below)]
