"""What a general compressor makes of the same bytes: the yardstick of the recipes."""

from __future__ import annotations

import bz2
import gzip
import lzma
from concurrent.futures import ThreadPoolExecutor

DICTIONARY = 64 << 20


def bits_per_byte(text: bytes, training_text: bytes) -> dict[str, float]:
    """Compressed bits over bytes of `text`, at every compressor's best level.

    `xz_primed` is what xz needs for `text` after it has seen the training text: the size of both, less that of the
    training text alone, with a dictionary that spans 64 MiB.
    """
    with ThreadPoolExecutor() as pool:  # lzma releases the GIL
        sizes = {
            "gzip": pool.submit(lambda: len(gzip.compress(text, 9))),
            "bz2": pool.submit(lambda: len(bz2.compress(text, 9))),
            "xz": pool.submit(_xz, text),
        }
        both, alone = pool.submit(_xz, training_text + text), pool.submit(_xz, training_text)
        found = {name: size.result() for name, size in sizes.items()} | {"xz_primed": both.result() - alone.result()}
    return {name: 8 * size / len(text) for name, size in found.items()}


def _xz(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": DICTIONARY}]
    return len(lzma.compress(data, format=lzma.FORMAT_XZ, filters=filters))
