"""Scripts that are written without spaces between words, as ranges of Unicode code points: first and last."""

from __future__ import annotations

CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Chinese characters, as BERT's tokenizer sets them apart (arXiv 1810.04805)."""

KANA = ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F))
"""Hiragana and katakana."""

SOUTH_EAST_ASIAN = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0x11700, 0x1174F),  # Ahom
)
"""Unicode's line breaking class SA ("complex context"; Unicode Standard Annex 14)."""


def within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Is the character in one of the ranges?"""
    return any(first <= ord(character) <= last for first, last in ranges)
