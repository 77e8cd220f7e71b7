"""Fonts for the text in images, and escapes for characters that no installed font has.

Input: a text. Output: a text that the installed fonts can show.
"""

from __future__ import annotations

import functools

FAMILIES = (
    "DejaVu Sans",  # which Matplotlib brings: Latin, Greek, Cyrillic, Hebrew, Arabic
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK TC", "Noto Sans SC", "Noto Sans JP"),
    *("Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("IPAexGothic", "IPAGothic", "TakaoGothic", "VL Gothic", "NanumGothic", "UnDotum", "AR PL UMing CN", "AR PL UKai CN"),
    *("PingFang SC", "Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo", "Heiti SC", "STHeiti"),
    *("Microsoft YaHei", "SimHei", "SimSun", "Yu Gothic", "MS Gothic", "Malgun Gothic"),
    *("Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Hebrew"),
    *("Loma", "Garuda", "Lohit Devanagari", "Lohit Bengali", "Lohit Tamil", "Noto Sans", "FreeSans", "Unifont"),
    *("Arial Unicode MS", "Tahoma", "Nirmala UI", "Thonburi", "Devanagari MT"),
)
"""Font families by preference: the first that has a character draws it."""


@functools.cache
def installed() -> dict[str, frozenset[int]]:
    """The families that Matplotlib finds, with the characters each of them has."""
    from matplotlib import font_manager, ft2font

    there = {entry.name for entry in font_manager.fontManager.ttflist}
    paths = {name: font_manager.findfont(name) for name in FAMILIES if name in there}
    return {name: frozenset(ft2font.FT2Font(path).get_charmap()) for name, path in paths.items()}


def writable(text: str) -> str:
    r"""Replaces characters that no installed font has, and invisible characters, by escapes.

    cat  ->  cat        中  ->  中, or \u4e2d without a font for it        a, tab, b  ->  a\tb
    """
    return "".join(char if _has(char) else char.encode("unicode_escape").decode() for char in text)


@functools.cache
def _has(char: str) -> bool:
    return char.isprintable() and any(ord(char) in characters for characters in installed().values())
