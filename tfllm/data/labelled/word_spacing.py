"""Words of a sentence in, the spaces that ordinary typography has between them out; pure Python.

For files that give words and not the text they were cut from (CoNLL). A model that is served reads text, so it has to learn
from text. Where a mark may stand either way (a dash, a slash), the space stays.
Source: the Penn Treebank's splitting of words (Marcus et al. 1993), read backwards; brackets and quotes are -LRB-, `` and ''.
Moses' detokenizer does the like, as a string, for one language that it is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tfllm.data.labelled.conll_files import Sentence
from tfllm.text.unicode_scripts import CHINESE, KANA, SOUTH_EAST_ASIAN, within

Spaces = Literal["restored", "single"]

PENN = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "``": '"',
    "''": '"',
}
"""What the Penn Treebank writes in place of what the text says; and \\/ for /, \\* for *."""

QUOTES = {
    '"': {'"'},
    "``": {"''", '"'},
    "''": {"''"},
    "`": {"'", "’"},
    "'": {"'"},
    "“": {"”", '"'},
    "”": {"”"},
    "„": {"“", "”", '"'},
    "‘": {"’"},
    "’": {"’"},
    "‚": {"‘", "’"},
    "«": {"»"},
    "»": {"«", "»"},
    "‹": {"›"},
    "›": {"‹", "›"},
}
"""What opens a quotation, and what closes it: “English”, „deutsch“, ”svenska”, «italiano», »dansk«."""
ALWAYS_OPEN = {"``", "`", "“", "„", "‘", "‚", "«", "‹"}

_ENDS = ("COMMA", "COLON", "FULL STOP", "QUESTION MARK", "EXCLAMATION MARK", "DANDA", "SHAD", "ELLIPSIS")
"""How Unicode's names of marks end that stand right after a word, in every script: ARABIC COMMA, DEVANAGARI DOUBLE DANDA."""
OPENS = re.compile(r"[(\[{¿¡]")
CLITIC = re.compile(r"n['’]t|['’](s|re|ve|ll|d|m)", re.IGNORECASE)
"""English: do n't, it 's."""
ELISION = re.compile(r"([cdjlmnst]|\w*qu|\w*ll|un|quest|sant|entr)['’]", re.IGNORECASE)
"""French and Italian: l' eau, qu' il, dell' arte."""
FULL_WIDTH = ((0x3000, 0x303F), (0xFF00, 0xFF65))
"""Chinese and Japanese punctuation, and wide letters."""


def restore(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Words as a text spells them, and whether white space follows each; after the last it does.

        He went to Bonn ( Germany ) , not to " Rome " .  ->  He went to Bonn (Germany), not to "Rome".
        `` Do n't , '' it 's -LRB- 10 % -RRB-            ->  "Don't," it's (10%)
        私 は パリ に 住む 。                              ->  私はパリに住む。

    A sentence of single characters, a Chinese or Thai one among them, is a file of characters: it has no spaces at all.
    """
    ties = _ties(words)
    spelled = tuple(map(_spelled, words))
    if all(len(word) == 1 for word in words) and any(_is_dense(word) for word in words):
        return spelled, (False,) * (len(words) - 1) + (True,)
    spaced = [
        not (before_tied[1] or tied[0] or _are_joined(before, word))
        for before, word, before_tied, tied in zip(spelled, spelled[1:], ties, ties[1:], strict=False)
    ]
    return spelled, (*spaced, True)


def _ties(words: Sequence[str]) -> list[tuple[bool, bool]]:
    """Of each word: stands it right after the word before it, and right before the next?"""
    ties, open_file = [], list[str]()
    for place, word in enumerate(words):
        before, after = words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else ""
        if word in ("'", "’") and before.endswith(tuple("sSxXzZ")) and not (open_file and word in QUOTES[open_file[-1]]):
            ties.append((True, False))  # the boys ' house
        elif word in QUOTES:
            opens = not (open_file and word in QUOTES[open_file[-1]]) and _opens(word, words[place + 1 :], first=not place)
            if opens:
                open_file.append(word)
            elif open_file and word in QUOTES[open_file[-1]]:
                open_file.pop()
            ties.append((not opens, opens))
        else:
            ties.append(_tied(_spelled(word), before, after))
    return ties


def _closes(word: str) -> bool:
    """Stands a word right after the one before it?  , ) ... ؟ । -> True     ¿ ( -> False"""
    return word in (",", ";", ":", ")", "]", "}") or all(mark in ".!?" or (mark > "\x7f" and _ends(mark)) for mark in word)


def _ends(mark: str) -> bool:
    name = unicodedata.name(mark, "")
    return unicodedata.category(mark) == "Po" and name.endswith(_ENDS) and "INVERTED" not in name


def _spelled(word: str) -> str:
    return PENN.get(word) or word.replace("\\/", "/").replace("\\*", "*")


def _tied(word: str, before: str, after: str) -> tuple[bool, bool]:
    """Of a word that is no quote: stands it right after the word before it, and right before the next?"""
    if _closes(word) or CLITIC.fullmatch(word) or (word in ("%", "‰", "٪") and before[-1:].isdigit()):
        return True, False
    if OPENS.fullmatch(word) or (ELISION.fullmatch(word) and after[:1].isalpha()):
        return False, True
    return False, unicodedata.category(word[-1:] or " ") == "Sc" and after[:1].isdigit()


def _opens(quote: str, rest: Sequence[str], *, first: bool) -> bool:
    """Does a quote open a quotation, where none is open that it closes?"""
    if quote in ALWAYS_OPEN or any(word in QUOTES[quote] for word in rest):
        return True
    return first or (quote in ('"', "'") and not all(map(_closes, rest)))


def _are_joined(before: str, after: str) -> bool:
    """Has the script no space between these two? Chinese and kana beside anything, Thai and its like beside each other."""
    last, first = before[-1:] or " ", after[:1] or " "
    east_asian = CHINESE + KANA + FULL_WIDTH
    if within(last, east_asian) or within(first, east_asian):
        return not any(unicodedata.name(character, "").startswith("HANGUL") for character in (last, first))
    return within(last, SOUTH_EAST_ASIAN) and within(first, SOUTH_EAST_ASIAN)


def _is_dense(word: str) -> bool:
    return within(word, CHINESE + KANA + SOUTH_EAST_ASIAN)


def with_spaces(sentences: Sequence[Sentence], spaces: Spaces) -> list[Sentence]:
    """Sentences with the spaces of ordinary typography, or with one after each word."""
    if spaces == "single":
        return [replace(sentence, spaced=(True,) * len(sentence.words)) for sentence in sentences]
    if spaces != "restored":
        raise ValueError(f"spaces={spaces!r} is invalid: expected 'restored', 'single', or None for the spaces of the file.")
    restored = [restore(sentence.words) for sentence in sentences]
    return [
        replace(sentence, words=words, spaced=spaced) for sentence, (words, spaced) in zip(sentences, restored, strict=True)
    ]
