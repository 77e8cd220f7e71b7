"""Decompression. In: compressed bytes (.gz, .zst, .bz2, .xz). Out: blocks of plain bytes. Errors name what is damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

from tfllm.corpus.filesystem import open_file
from tfllm.corpus.formats import PathLike, SourceError

BLOCK_BYTES = 1 << 20

MAGIC = {"gz": b"\x1f\x8b", "zst": b"\x28\xb5\x2f\xfd", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00"}
"""The first bytes of compressed files."""

LONGEST_WINDOW = 1 << 31
"""What `zstd --long=31` writes."""


def blocks_of(path: PathLike, compression: str, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The plain bytes of a file, in blocks of about this size.

    Raises:
        SourceError: it cannot be unpacked.
        OSError: it cannot be opened.
    """
    with open_file(os.fspath(path)) as raw:
        yield from decompress(raw, compression, os.fspath(path), size)


def decompress(raw: IO[bytes], compression: str, path: str, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The plain bytes of an open file; `path` is for errors.

    Raises:
        SourceError: it cannot be unpacked: it is cut off, damaged, or compressed otherwise than its name says.
    """
    if not compression:
        while block := raw.read(size):
            yield block
        return
    import zstandard

    try:
        yield from _zstd_blocks(raw) if compression == "zst" else _blocks(raw, compression, size)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise SourceError(f"{path}: cannot be unpacked ({error}). {_advice(path, compression)}") from error


def compression_in(data: bytes) -> str:
    """The compression that the first bytes of a file show, or ""."""
    return next((name for name, magic in MAGIC.items() if data.startswith(magic)), "")


def _blocks(raw: IO[bytes], compression: str, size: int) -> Iterator[bytes]:
    openers: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    stream = openers[compression](raw)
    block = stream.read(size)
    if not block and not raw.tell():  # gzip takes an empty file for nothing compressed
        raise EOFError("it is empty")
    while block:
        yield block
        block = stream.read(size)


def _zstd_blocks(raw: IO[bytes]) -> Iterator[bytes]:
    import zstandard

    # Frame by frame: the library's own stream reader takes the end of a cut-off file for the end of the data.
    frame, packed, begun = None, b"", False
    while packed := packed or raw.read(1 << 14):
        begun = True
        frame = frame or zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW).decompressobj()
        if block := frame.decompress(packed):
            yield block
        packed = frame.unused_data
        frame = None if frame.eof else frame
    if not begun:
        raise EOFError("it is empty")
    if frame is not None:
        raise EOFError("it ends inside a frame")


def _advice(path: str, compression: str) -> str:
    with open_file(path) as raw:
        head = raw.read(8)
    plain = path.rpartition(".")[0]
    if head and not head.startswith(MAGIC[compression]):
        other = compression_in(head)
        if other:
            return f"It is compressed as .{other}: rename it to {plain}.{other}."
        return f"It does not begin as .{compression} does: if it is not compressed, rename it to {plain}; else exclude it."
    return "It is cut off or damaged: fetch or compress it again, or exclude it."
