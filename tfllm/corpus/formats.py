"""What a file's name says of its format. A path in; a kind of file and a compression out.

.jsonl .jsonlines .ndjson .ldjson   "jsonl"  one JSON object a line
.json .ipynb           "json"     JSON lines, one array of objects, or objects one after another: the content tells
.csv .tsv              "csv" "tsv"  the first line names the columns
.parquet               "parquet"
anything else          "text"; if it begins with a line of JSON that has the field of the text, "jsonl": content_detection.py
.gz .zst .bz2 .xz, or .gzip .zstd .bzip2, after any of them but .parquet: the same, compressed
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import NamedTuple

PathLike = str | os.PathLike[str]

COMPRESSIONS = {"gz": "gz", "gzip": "gz", "zst": "zst", "zstd": "zst", "bz2": "bz2", "bzip2": "bz2", "xz": "xz"}
"""What a name may end with -> the compression that it says."""

KINDS = {
    ".jsonl": "jsonl",
    ".jsonlines": "jsonl",
    ".ndjson": "jsonl",
    ".ldjson": "jsonl",
    ".json": "json",
    ".ipynb": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Files of records, by suffix."""

TEXT_SUFFIXES = frozenset(
    [
        ".txt",
        ".text",
        ".log",
        ".md",
        ".markdown",
        ".rst",
        ".tex",
        ".org",
        ".html",
        ".htm",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".cfg",
        ".ini",
        ".py",
        ".pyi",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".java",
        ".kt",
        ".scala",
        ".go",
        ".rs",
        ".swift",
        ".js",
        ".jsx",
        ".ts",
        ".tsx",
        ".php",
        ".rb",
        ".pl",
        ".lua",
        ".jl",
        ".r",
        ".sh",
        ".sql",
        ".css",
    ]
)
"""Names of text. What bears one is text and must be UTF-8; of other files the content tells whether they are text."""

_UNPACK = "Unpack it, and name the files that were in it."
_FROM_PANDAS = "Write it as JSON lines: pandas.{reader}({name!r}).to_json({stem!r} + '.jsonl', orient='records', lines=True)."
_EXTRACT = "Extract its text to a .txt file."
REFUSED = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".jar", ".whl"), _UNPACK),
    ".arrow": "Write it as JSON lines: datasets.Dataset.from_file({name!r}).to_json({stem!r} + '.jsonl').",
    ".feather": _FROM_PANDAS.replace("{reader}", "read_feather"),
    ".pkl": _FROM_PANDAS.replace("{reader}", "read_pickle"),
    ".pickle": _FROM_PANDAS.replace("{reader}", "read_pickle"),
    ".xlsx": _FROM_PANDAS.replace("{reader}", "read_excel"),
    ".xls": _FROM_PANDAS.replace("{reader}", "read_excel"),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".odt", ".epub"), _EXTRACT),
}
"""Files that hold text but cannot be read here, by suffix, and what to do."""


class SourceError(ValueError):
    """A file cannot be read as asked. The message names the file (and the line) and says what to do."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is no such file or folder, or nothing to read in it."""


class NotTextError(SourceError):
    """A file is no text, nor records of text. A search passes it by, and counts it under `kind`."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[1])


def unreadable(path: PathLike, error: OSError) -> SourceError:
    """The system does not let us: the error for a user."""
    return SourceError(f"{path}: {error.strerror}. Make it readable, or exclude it.")


class Format(NamedTuple):
    """How a file is read, by its name; `compression` is a value of COMPRESSIONS or ""."""

    kind: str
    compression: str = ""


def suffix_of(path: PathLike) -> str:
    """The suffix of a file, without that of its compression: "a/Train.JSONL.gz" -> ".jsonl"."""
    return _split(path)[0]


def format_of(path: PathLike) -> Format:
    """The format that a name stands for.

    "a/Train.JSONL.gz" -> ("jsonl", "gz")    "LICENSE" -> ("text", "")

    Raises:
        NotTextError: the file is of a format that is not read; the message says how to make another of it.
    """
    suffix, compression = _split(path)
    if suffix in REFUSED:
        advice = REFUSED[suffix].format(name=os.fspath(path), stem=PurePath(os.fspath(path)).stem)
        raise NotTextError(suffix, f"{path}: {suffix} files are not read. {advice}")
    kind = KINDS.get(suffix, "text")
    if kind == "parquet" and compression:
        raise NotTextError(
            f".parquet.{compression}",
            f"{path}: Parquet is compressed inside and is not read from .{compression}. Unpack it first.",
        )
    return Format(kind, compression)


def is_named_as_text(path: PathLike) -> bool:
    """Whether the suffix alone says that a file is text or records of text."""
    return suffix_of(path) in TEXT_SUFFIXES or suffix_of(path) in KINDS


def kind_of(path: str) -> str:
    """What files of this kind are called where they are counted.

    "lib/x.SO" -> ".so"    "a.dat.gz" -> ".dat.gz"    "core" -> "without suffix"
    """
    suffix, compression = _split(path)
    return suffix + f".{compression}" * bool(compression) or "without suffix"


def _split(path: PathLike) -> tuple[str, str]:
    """Suffix and compression, in lower case: "A.JSONL.gz" -> ".jsonl", "gz"."""
    parts = os.fspath(path).rpartition("/")[2].lower().lstrip(".").rsplit(".", 2)
    compression = COMPRESSIONS[parts.pop()] if len(parts) > 1 and parts[-1] in COMPRESSIONS else ""
    return f".{parts[-1]}" if len(parts) > 1 and parts[-1] else "", compression
