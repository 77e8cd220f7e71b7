"""Where byte-level BPE may not merge: the split patterns of GPT-2, Llama-3 and Qwen, for RE2.

In: the pattern a `tokenizer.json` names. Out: the same pattern over classes of characters, and the class of every character.
TensorFlow's RE2 has no lookahead, an ASCII `\\s` and Unicode tables of its own. So a text becomes a string of classes, one
letter a character, read off the `tokenizers` library itself, and the pattern is written over these letters:

    s t r e v m l d   letters a contraction may end in ('s 't 're 've 'm 'll 'd)      a   any other letter
    0   number        '   apostrophe      .   anything else                           ,   mark (\\p{M})
    _   space         n   \\r and \\n      w   other white space: all white space is followed by white space or the end
    -   space         N   \\r and \\n      W   other white space, followed by something else: the lookahead `\\s+(?!\\S)`
    <   a mask token's first character    >   its further characters

    "It's  10%\\n\\tx" -> "at's_-00.nWa" -> GPT-2: at 's _ -00 . n W a
Source: GPT-2 (Radford et al. 2019); the `tokenizer.json` files of Llama-3, Qwen 2.5 and Qwen 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tokenizers import Regex
from tokenizers.normalizers import Replace

CONTRACTION_LETTERS = "strevmld"
SPACES = "_nw"
LAST_SPACES = "-NW"
MASK, MASK_REST = 0x110000, 0x110001
"""Code points past Unicode's last, for a mask token."""
LETTERS = f"[a{CONTRACTION_LETTERS}]"


@dataclass(frozen=True)
class SplitPattern:
    """One model family's pattern.

    original: as `tokenizer.json` has it. classes: the same for RE2, over the letters above.
    any_case: contractions are found in any case ("IT'S", and U+017F for s). marks: \\p{M} are told apart from the rest.
    """

    original: str
    classes: str
    any_case: bool = True
    marks: bool = False


GPT2 = SplitPattern(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf"'(?:s|t|re|ve|m|ll|d)|-?{LETTERS}+|-?0+|-?[.']+|[_nw]+|[-NW]",
    any_case=False,
)


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
SPLIT_PATTERNS = (GPT2, LLAMA3, QWEN, QWEN35)


@lru_cache(maxsize=1)
def _characters() -> str:
    return "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))


@lru_cache(maxsize=8)
def _matching(regex: str) -> np.ndarray:
    """Code points that `tokenizers` takes for the class `regex`: what goes when its runs are taken out."""
    left = Replace(Regex(f"(?:{regex})+"), "").normalize_str(_characters())
    found = np.ones(0x110000, bool)
    found[np.frombuffer(left.encode("utf-32-le"), np.uint32)] = False
    found[0xD800:0xE000] = False
    return np.flatnonzero(found)


@lru_cache(maxsize=len(SPLIT_PATTERNS))
def character_classes(pattern: SplitPattern) -> np.ndarray:
    """uint8 [0x110002]: the class letter of each code point, and of the mask token's two."""
    classes = np.full(MASK_REST + 1, ord("."), np.uint8)
    classes[_matching(r"\p{L}")] = ord("a")
    classes[_matching(r"\p{N}")] = ord("0")
    if pattern.marks:
        classes[_matching(r"\p{M}")] = ord(",")
    classes[_matching(r"\s")] = ord("w")
    contractions = _matching(f"(?i:[{CONTRACTION_LETTERS}])") if pattern.any_case else map(ord, CONTRACTION_LETTERS)
    for point in contractions:
        classes[point] = ord(chr(point).casefold())
    for character, letter in {" ": "_", "\r": "n", "\n": "n", "'": "'"}.items():
        classes[ord(character)] = ord(letter)
    classes[[MASK, MASK_REST]] = [ord("<"), ord(">")]
    return classes
