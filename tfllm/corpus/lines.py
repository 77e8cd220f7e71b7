"""Lines of a text file, decoded from UTF-8; and the advice for files in another encoding."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from tfllm.corpus.decompression import blocks_of, compression_in
from tfllm.corpus.formats import PathLike, SourceError, format_of

BOM = codecs.BOM_UTF8

LEAST = 6
"""Bytes without a mark that can be told to be UTF-16."""
_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x1f]")
"""What numbers hold, and no text."""
MOSTLY = 0.8
"""UTF-16 without a mark: of every two bytes this share begins, or ends, with a NUL, and few do both."""


def read_lines(path: PathLike, errors: str = "strict") -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers from 1, unpacked, decoded from UTF-8, line ends kept; a byte order mark is dropped.

        b"\xef\xbb\xbfa\nb" -> (1, "a\n"), (2, "b")

    Args:
        errors: what becomes of other bytes, as `bytes.decode` has it.

    Raises:
        SourceError: a line is not UTF-8, or the file cannot be unpacked.
    """
    for number, line in enumerate(split_lines(blocks_of(path, format_of(path).compression)), 1):
        data = line.removeprefix(BOM) if number == 1 else line
        try:
            yield number, data.decode(errors=errors)
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{path}, line {number}: byte {error.start} (0x{data[error.start]:02X}) is not UTF-8. "
                f"{encoding_advice(data, path)}"
            ) from None


def read_characters(path: PathLike, compression: str) -> Iterator[str]:
    """The text of a file in blocks, without its byte order mark; bytes that are no UTF-8 as "surrogateescape" has them."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    for block in blocks_of(path, compression):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Lines, each with its line feed.

    b"a\nb" b"c\n" -> b"a\n" b"bc\n"
    """
    held: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            held.append(block)
            continue
        for line in b"".join([*held, block[:end]]).split(b"\n")[:-1]:
            yield line + b"\n"
        held = [block[end:]]
    if rest := b"".join(held):
        yield rest


def encoding_advice(data: bytes, path: PathLike) -> str:
    """What to do about bytes that are not UTF-8, from the beginning of the file or line that they stand in."""
    if packed := compression_in(data):
        return f"The file is compressed: rename it to {path}.{packed}"
    if encoding := wide_encoding(data):
        return f"It is {encoding}. Convert it: {_iconv(path, encoding)}"
    if b"\0" in data:
        return "It is binary, no text: extract its text to a .txt file"
    return f"Convert the file; if Windows wrote it: {_iconv(path, 'WINDOWS-1252')}"


def wide_encoding(data: bytes) -> str:
    """iconv's name of the UTF-32 or UTF-16 that data begins in, by its byte order mark; of UTF-16 also by the NULs of Latin
    letters; or ""."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # the first begins as UTF-16's
        return "UTF-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if len(data) < LEAST or _CONTROLS.search(data):
        return ""
    high, low = (data[start::2].count(b"\0") / max(1, len(data) // 2) for start in (0, 1))
    return "UTF-16BE" if high > MOSTLY > 1 - MOSTLY > low else "UTF-16LE" if low > MOSTLY > 1 - MOSTLY > high else ""


def _iconv(path: PathLike, encoding: str) -> str:
    name, compression = PurePath(os.fspath(path)).name, format_of(path).compression
    if compression:
        unpack = {"gz": "gzip", "zst": "zstd", "bz2": "bzip2", "xz": "xz"}[compression]
        name, given = name.rpartition(".")[0], f"{unpack} -dc {shlex.quote(os.fspath(path))} | iconv"
    else:
        given = "iconv"
    of = "" if compression else f" {shlex.quote(os.fspath(path))}"
    return f"{given} -f {encoding} -t UTF-8{of} > {shlex.quote(f'utf8-{name}')}"
