"""Where byte-level BPE may not merge: the split patterns of GPT-2, SmolLM, Llama-3 and Qwen, for RE2 and for Python.

In: the pattern a `tokenizer.json` names. Out: for Python, a function that cuts text; for RE2, the same pattern over classes of
characters, and the class of every character.
TensorFlow's RE2 has no lookahead, an ASCII `\\s` and Unicode tables of its own. So a text becomes a string of classes, one
letter a character, read off the `tokenizers` library itself, and the pattern is written over these letters:

    s t r e v m l d   letters a contraction may end in ('s 't 're 've 'm 'll 'd)      a   any other letter
    0   number        '   apostrophe      .   anything else                           ,   mark (\\p{M})
    _   space         n   \\r and \\n      w   other white space: all white space is followed by white space or the end
    -   space         N   \\r and \\n      W   other white space, followed by something else: the lookahead `\\s+(?!\\S)`

    "It's  10%\\n\\tx" -> "at's_-00.nWa" -> GPT-2: at 's _ -00 . n W a
Source: GPT-2 (Radford et al. 2019); the `tokenizer.json` files of SmolLM, Llama-3, Qwen 2.5 and Qwen 3.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from tokenizers import Regex
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Digits

CONTRACTION_LETTERS = "strevmld"
SPACES = "_nw"
LAST_SPACES = "-NW"
LETTERS = f"[a{CONTRACTION_LETTERS}]"


@dataclass(frozen=True)
class SplitPattern:
    """One model family's pattern.

    original: as `tokenizer.json` has it. classes: the same for RE2, over the letters above.
    any_case: contractions are found in any case ("IT'S", and U+017F for s). marks: \\p{M} are told apart from the rest.
    digits_alone: each digit is cut out before the pattern is looked at, for which the text ends there.
    """

    original: str
    classes: str
    any_case: bool = True
    marks: bool = False
    digits_alone: bool = False


GPT2 = SplitPattern(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf"'(?:s|t|re|ve|m|ll|d)|-?{LETTERS}+|-?0+|-?[.']+|[_nw]+|[-NW]",
    any_case=False,
)

SMOLLM = SplitPattern(
    r"'s|'t|'re|'ve|'m|'ll|'d|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
    rf"'(?:s|t|re|ve|m|ll|d)|0|-?{LETTERS}+|-?[.']+|[_nw]+|[-NW]",
    any_case=False,
    digits_alone=True,
)
"""GPT-2's behind the pre-tokenizer `Digits`, in one."""


def _tiktoken(digits: str, letters: str = r"\p{L}", other: str = r"\p{L}\p{N}") -> str:
    return (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?{letters}+|{digits}| ?[^\s{other}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _tiktoken_classes(digits: str, letters: str = LETTERS, before: str = "[-W.']?") -> str:
    return rf"'(?:s|t|re|ve|m|ll|d)|{before}{letters}+|{digits}|-?[.']+[nN]*|[_nw]*[nN]+|[_nw]+|[-NW]"


LLAMA3 = SplitPattern(_tiktoken(r"\p{N}{1,3}"), _tiktoken_classes("0{1,3}"))
QWEN = SplitPattern(_tiktoken(r"\p{N}"), _tiktoken_classes("0"))
QWEN35 = SplitPattern(
    _tiktoken(r"\p{N}", r"[\p{L}\p{M}]", r"\p{L}\p{M}\p{N}"),
    _tiktoken_classes("0", f"[,{LETTERS[1:]}", "[-W.',]?"),
    marks=True,
)
SPLIT_PATTERNS = (GPT2, SMOLLM, LLAMA3, QWEN, QWEN35)


@lru_cache(maxsize=2)
def _characters(end: int) -> str:
    return "".join(map(chr, [*range(0xD800), *range(0xE000, end)]))


@lru_cache(maxsize=16)
def _matching(regex: str, end: int = 0x110000) -> np.ndarray:
    """Code points below `end` that `tokenizers` takes for the class `regex`: what goes when its runs are taken out."""
    left = Replace(Regex(f"(?:{regex})+"), "").normalize_str(_characters(end))
    found = np.ones(end, bool)
    found[np.frombuffer(left.encode("utf-32-le"), np.uint32)] = False
    found[0xD800:0xE000] = False
    return np.flatnonzero(found)


def _digits() -> list[int]:
    """Code points that `Digits` cuts out: some are younger than the Unicode version of `\\p{N}`."""
    cut = Digits(individual_digits=True).pre_tokenize_str("aa".join(_characters(0x110000)))
    return [ord(piece) for piece, _ in cut if len(piece) == 1]


@lru_cache(maxsize=len(SPLIT_PATTERNS))
def character_classes(pattern: SplitPattern) -> np.ndarray:
    """uint8 [0x110000]: the class letter of each code point."""
    classes = np.full(0x110000, ord("."), np.uint8)
    classes[_matching(r"\p{L}")] = ord("a")
    classes[_digits() if pattern.digits_alone else _matching(r"\p{N}")] = ord("0")
    if pattern.marks:
        classes[_matching(r"\p{M}")] = ord(",")
    classes[_matching(r"\s")] = ord("w")
    contractions = _matching(f"(?i:[{CONTRACTION_LETTERS}])") if pattern.any_case else map(ord, CONTRACTION_LETTERS)
    for point in contractions:
        classes[point] = ord(chr(point).casefold())
    for character, letter in {" ": "_", "\r": "n", "\n": "n", "'": "'"}.items():
        classes[ord(character)] = ord(letter)
    return classes


BASIC = 0x10000
"""The first code point beyond the basic plane."""


@lru_cache(maxsize=len(SPLIT_PATTERNS))
def cutter(pattern: SplitPattern) -> Callable[[Sequence[str]], list[list[str]]]:
    """What cuts texts into the pattern's words, in Python.

    GPT-2: ["It's  10%\n\tx"] -> [["It", "'s", " ", " 10", "%", "\n", "\t", "x"]]

    Python's classes know the basic plane only: ranges beyond it are searched one by one, at every end of a word. So what a text
    has from beyond stands as a character of its class while it is cut.
    """
    words, beyond = re.compile(_in_python(pattern.original)).findall, re.compile("[\U00010000-\U0010ffff]")

    def stand_in(match: re.Match[str]) -> str:
        return _basic(match[0], pattern.digits_alone)

    def careful(text: str) -> list[str]:
        ends = accumulate(map(len, words(beyond.sub(stand_in, text))), initial=0)
        return [text[start:end] for start, end in pairwise(ends)]

    def cut(texts: Sequence[str]) -> list[list[str]]:
        if beyond.search("".join(texts)):
            return [careful(text) if beyond.search(text) else words(text) for text in texts]
        return list(map(words, texts))

    return cut


def _in_python(original: str) -> str:
    r"""A pattern with its classes written out: r" ?\p{N}+" -> " ?[0-9²³¹…]+"."""

    def written(match: re.Match[str]) -> str:
        name = match[0]
        if name.startswith("["):
            return re.sub(r"\\p\{.\}|\\s", lambda inner: _ranges(inner[0]), name)
        return f"[^{_ranges(name.lower())}]" if name.isupper() else f"[{_ranges(name)}]"

    return re.sub(r"\[[^]]*\]|\\p\{.\}|\\[sS]", written, original)


def _ranges(name: str) -> str:
    """The characters of the basic plane in a class of `tokenizers`, for brackets of a Python pattern."""
    points = _matching(name, BASIC)
    runs = np.split(points, np.flatnonzero(np.diff(points) > 1) + 1)
    return "".join(f"\\u{run[0]:04x}-\\u{run[-1]:04x}" for run in runs)


@lru_cache(maxsize=1 << 12)
def _basic(character: str, digits_alone: bool) -> str:
    """One of the basic plane for one beyond, of the same class in every such pattern; there is no white space beyond."""
    if digits_alone and len(Digits(individual_digits=True).pre_tokenize_str(f"a{character}")) == 2:
        return "0"
    classes = {r"\p{L}": "a", r"\p{N}": "0", r"\p{M}": "\u0301"}
    return next((basic for name, basic in classes.items() if not Replace(Regex(name), "").normalize_str(character)), ".")
