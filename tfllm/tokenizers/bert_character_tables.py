"""What becomes of each Unicode code point in BERT's cleaning, as the `tokenizers` library has it.

In: `TextSettings`. Out: `Tables`, made by asking the library, so that its Unicode tables are the only ones; those in TensorFlow
(ICU, RE2) and in Python are of other versions. BERT's normalization goes character by character but for one thing, the order
of combining marks, for which the tables say what is a mark and of which class.
Source: BertNormalizer and BertPreTokenizer of `tokenizers`; canonical ordering: Unicode Standard, section 3.11.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from tfllm.tokenizers.added_tokens import ranges

CODES = 0x110000
PAGE = 256
ASKED = (range(0x40000), range(0xE0000, 0xE1000))
PRIVATE = (slice(0xF0000, 0xFFFFE), slice(0x100000, 0x10FFFE))
"""Deleted. All else that is not asked is not assigned, and stays as it is: asking, too, would take a second more."""

# A rule is added to its code point. The sum: bits 0-20 the first result (from CODES on: its place in a row of results).
RESULT = (1 << 21) - 1
ALONE = 1 << 21  # a word of its own
COUNT = 22  # bits 22-24: how many results
MARK = 1 << 25  # a result is a combining mark
STARTS = 1 << 26  # marks are not ordered across it
SAME = (1 << COUNT) + STARTS

HIGHEST = "\u0345"
"""The mark of the highest combining class, 240, and the only one of it."""


@dataclass(frozen=True)
class TextSettings:
    """What BERT's checkpoints differ in. Ideographs are words of their own with `split_cjk`."""

    lowercase: bool
    strip_accents: bool
    split_cjk: bool

    def normalizer(self) -> Any:
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_cjk,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )


@dataclass(frozen=True)
class Tables:
    """The rule of code point c is `rules[pages[c // PAGE] + c % PAGE]`: pages that are alike are kept once.

    "É", lower-cased, without accents -> 1 result, "e"; "각" -> 3 results; "," -> itself, alone; U+0301 -> no result
    """

    pages: np.ndarray
    """int32 [CODES / PAGE]."""
    rules: np.ndarray
    """int32 [R]."""
    results: np.ndarray
    """int32 [L]: code points of rules with several results, row after row."""
    marks: np.ndarray
    """int32 [M], ascending: combining marks that stay. Empty where accents stay, for then none are put in order."""
    mark_classes: np.ndarray
    """int32 [M]: their canonical combining classes, which Unicode never changes."""
    spaces: str
    """All white space."""
    ideographs: str
    """Those that get spaces around them, as ranges for brackets of a pattern."""


@lru_cache
def tables_of(settings: TextSettings | None) -> Tables:
    """Every code point alone through `tokenizers`: about a second, once a process. None: the text is normalized already."""
    # A bar comes back as it is, and from nothing else.
    characters = [chr(code) for code in chain(*ASKED) if not 0xD800 <= code < 0xE000 and code != ord("|")]
    outputs = _each(settings.normalizer(), characters) if settings else characters
    changed = {before: after for before, after in zip(characters, outputs, strict=True) if before != after}
    seen = {*characters, "|"}.difference(changed).union(*changed.values())
    first_marks = _marks()
    marks = sorted(first_marks & seen) if settings and settings.strip_accents else []
    rules, results = _rules(changed)
    for bit, those in ((ALONE, _punctuation(seen)), (MARK, set(marks))):
        rules[[ord(character) for character in those if character not in changed]] += bit
        rules[[ord(character) for character, output in changed.items() if not those.isdisjoint(output)]] += bit
    rules[[ord(mark) for mark in first_marks]] &= ~STARTS
    places: dict[bytes, int] = {}
    pages = [places.setdefault(page.tobytes(), len(places)) for page in rules.reshape(-1, PAGE)]
    return Tables(
        pages=PAGE * np.array(pages, np.int32),
        rules=np.frombuffer(b"".join(places), np.int32),
        results=results,
        marks=np.array([ord(mark) for mark in marks], np.int32),
        mark_classes=np.array([unicodedata.combining(mark) for mark in marks], np.int32),
        spaces=" " + "".join(character for character, output in changed.items() if output == " "),
        ideographs=ranges(ord(character) for character, output in changed.items() if output.strip(" ") not in ("", output)),
    )


def _rules(changed: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Rules int32 [CODES] but for ALONE of punctuation and MARK, and the results of those with several."""
    rules, results = np.full(CODES, SAME, np.int32), [0]
    for private in PRIVATE:
        rules[private] = 0
    for character, output in changed.items():
        result = output.strip(" ")
        first = ord(result) if len(result) == 1 else CODES + len(results)
        if len(result) > 1:
            results += map(ord, result)
        # An ideograph comes back between spaces.
        alone = ALONE if result != output else 0
        rules[ord(character)] = first - ord(character) + (len(result) << COUNT) + STARTS + alone if result else 0
    # What is stripped as an accent has parted marks before; what was cleaned away was not there.
    deleted = [character for character, output in changed.items() if not output]
    cleaned = _each(TextSettings(False, False, False).normalizer(), deleted)
    rules[[ord(character) for character, kept in zip(deleted, cleaned, strict=True) if kept]] = STARTS
    return rules, np.array(results, np.int32)


def _each(normalizer: Any, texts: Iterable[str]) -> list[str]:
    """`normalizer` on each text, many in one call."""
    texts = list(texts)
    joined = ("|".join(texts[start : start + 4096]) for start in range(0, len(texts), 4096))
    return [output for some in joined for output in normalizer.normalize_str(some).split("|")]


def _punctuation(characters: Iterable[str]) -> set[str]:
    """Those that BERT sets apart. What Unicode has not assigned is none, so it need not be asked."""
    cut = pre_tokenizers.BertPreTokenizer()
    assigned = [character for character in characters if unicodedata.category(character) != "Cn"]
    joined = ("a" + "a".join(assigned[start : start + 4096]) + "a" for start in range(0, len(assigned), 4096))
    return {piece for some in joined for piece, _ in cut.pre_tokenize_str(some) if len(piece) == 1} - {"a"}


def _marks() -> set[str]:
    """Characters whose decomposition begins with a mark that is put in order: they go before a mark of a higher class."""
    candidates = [chr(code) for code in chain(*ASKED) if unicodedata.category(chr(code))[0] == "M"]
    outputs = _each(normalizers.NFD(), ("a" + HIGHEST + mark for mark in candidates))
    return {mark for mark, output in zip(candidates, outputs, strict=True) if output[1] != HIGHEST} | {HIGHEST}
