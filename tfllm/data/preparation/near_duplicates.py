"""Texts in, the near duplicates among them out: MinHash signatures, candidates by bands, components of links.

    text -> words -> shingles (sets of WORDS words in a row) -> a signature (HASHES minima of hashed shingles)
    two signatures agree in about as many of their hashes as the sets overlap (Jaccard similarity)
    a band is a few hashes of a signature; texts that share one band are candidates, and linked if their signatures
    agree in `threshold` of all hashes; of texts that links join, the one with the lowest sha256 stays

Broder 1997; bands as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3. For language
models: Lee et al. 2022 (arXiv 2107.06499, shingles of 5 words), GPT-3 (arXiv 2005.14165, appendix A), RefinedWeb
(arXiv 2306.01116, case and punctuation ignored). The minima are datasketch's, integer arithmetic on NumPy arrays:
the same on every machine. It is pinned, and a test holds a signature: another would be another store.

Links are followed: A near B and B near C leaves one of the three, though A and C may be less alike than `threshold`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

WORDS = 5
HASHES = 128
CAUGHT = 0.99
"""Share of the pairs exactly at the threshold that meet in a band, at least; of more similar ones nearly all."""

ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts without spaces (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each counts as a word, since a
whole sentence would be one otherwise."""

MARKS = "\u0300-\u036f\u0900-\u0dff"
"""Accents and the vowel signs of India's scripts, which belong to the word before them; Python's `\\w` leaves them out."""

_WORD = re.compile(f"[{ALONE}]|[^\\W{ALONE}]+(?:[{MARKS}]+[^\\W{ALONE}]*)*")
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: spreads neighbours (Knuth 6.4)
_SLICE = 1024  # shingles at a time: [1024, HASHES] stays in the cache


@dataclass(frozen=True)
class MinHashSettings:
    """What counts as near, and how candidates are found. `rows` hashes make a band."""

    threshold: float
    words: int = WORDS
    hashes: int = HASHES
    rows: int = field(init=False)
    bands: int = field(init=False)

    def __post_init__(self) -> None:
        rows = next(rows for rows in range(self.hashes, 0, -1) if self.caught(self.threshold, rows) >= CAUGHT or rows == 1)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "bands", self.hashes // rows)

    def caught(self, similarity: float, rows: int) -> float:
        """The chance that two texts of this similarity meet in a band."""
        return 1 - (1 - similarity**rows) ** (self.hashes // rows)

    @property
    def least(self) -> int:
        """Hashes that must agree."""
        return int(np.ceil(self.threshold * self.hashes))


@dataclass(frozen=True)
class Signatures:
    """Of N texts: `keys` uint64 [bands, N], one number a band; `bytes` uint8 [N, hashes], the low byte of each hash.

    Hashes that differ have the same low byte once in 256 times: by so much, 0.001 at a similarity of 0.8, they agree
    too often; a quarter of the space is worth it (b-bit minwise hashing, Li and König 2010).
    """

    keys: np.ndarray
    bytes: np.ndarray

    @classmethod
    def none(cls, texts: int) -> Signatures:
        """For those who look for no near duplicates: no band, no hash."""
        return cls(np.zeros((0, texts), np.uint64), np.zeros((texts, 0), np.uint8))


def shingle_words(text: str) -> list[str]:
    """The words that shingles are made of: lower case, no punctuation.

    "Don't panic: 你好!"  ->  don  t  panic  你  好
    """
    return _WORD.findall(text.lower())


def minhash_signatures(texts: Sequence[str], minhash: MinHashSettings) -> Signatures:
    """Signatures of texts, whatever else is in the list.

    A text of fewer words than a shingle is one shingle, all its words; one without any (only punctuation), the text
    itself. So short texts are near when they are equal but for case and punctuation.

        "One, two, three four five six" and "one two three FOUR five six!"  ->  two equal rows
    """
    numbers = _Numbers()
    minima = np.zeros((len(texts), minhash.hashes), np.uint32)
    for row, text in enumerate(texts):
        minima[row] = _minima(_shingles(text, minhash.words, numbers), minhash.hashes)
    keys = np.zeros((minhash.bands, len(texts)), np.uint64)
    for row in range(minhash.rows):
        keys = keys * _ODD + minima[:, row : minhash.bands * minhash.rows : minhash.rows].T
    return Signatures(keys, minima.astype(np.uint8))


class _Numbers(dict[str, int]):
    """A word's number: 64 bits of a hash that is the same everywhere (Python's own is salted)."""

    def __missing__(self, word: str) -> int:
        number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = number
        return number


def _shingles(text: str, words: int, numbers: _Numbers) -> np.ndarray:
    """uint32 [shingles], a hash of each, repeated ones too."""
    found = shingle_words(text) or [text]
    each = np.array([numbers[word] for word in found], np.uint64)
    words = min(words, len(each))
    last = len(each) - words + 1
    shingles = each[:last]
    for place in range(1, words):
        shingles = shingles * _ODD + each[place : place + last]
    return (shingles >> np.uint64(32)).astype(np.uint32)


def _minima(shingles: np.ndarray, hashes: int) -> np.ndarray:
    """uint32 [hashes]: the least of the shingles under each of datasketch's permutations."""
    sketch = _empty(hashes).copy()
    for start in range(0, len(shingles), _SLICE):
        sketch.update_batch(shingles[start : start + _SLICE].tolist())
    return sketch.hashvalues


@cache
def _empty(hashes: int) -> Any:
    from datasketch import MinHash  # half a second, for those who ask for it

    return MinHash(hashes, seed=1, scheme="affine32", hashfunc=int)  # shingles come hashed


def find_links(keys: np.ndarray, names: np.ndarray, rows: np.ndarray, minhash: MinHashSettings) -> np.ndarray:
    """Links enough to join what is near, among texts that share a band.

        keys 7 7 7 9 9   names a b c d e   b near a, c near b but not a, e not near d
        -> a b, b c

    Args:
        keys: [N], sorted; equal ones share a band.
        names: "S32" [N], the texts' sha256.
        rows: uint8 [N, hashes], their signatures.

    Returns:
        "S32" [L, 2].
    """
    if not len(keys):
        return np.zeros((0, 2), "S32")
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    ends = np.append(starts[1:], len(keys))
    first = np.repeat(starts, ends - starts)
    near = np.concatenate(
        [
            (rows[place : place + _SLICE] == rows[first[place : place + _SLICE]]).sum(axis=1) >= minhash.least
            for place in range(0, len(keys), _SLICE)
        ]
    )
    links = [np.stack([names[first[near]], names[near]], axis=1)]
    for bucket in np.flatnonzero(np.minimum.reduceat(near, starts) == 0):
        members = np.arange(starts[bucket], ends[bucket])
        links += _search(members[near[members]][1:], members[~near[members]], names, rows, minhash.least)
    return np.concatenate(links)


def _search(reached: np.ndarray, rest: np.ndarray, names: np.ndarray, rows: np.ndarray, least: int) -> list[np.ndarray]:
    """The links from what the first of a band was near to, onward, and among what it was not."""
    links, waiting = [], reached.tolist()
    while len(rest):
        if not waiting:
            waiting, rest = [int(rest[0])], rest[1:]
        one = waiting.pop()
        near = (rows[rest] == rows[one]).sum(axis=1) >= least
        links.append(np.stack([np.full(near.sum(), names[one], "S32"), names[rest[near]]], axis=1))
        waiting += rest[near].tolist()
        rest = rest[~near]
    return links


def join_links(links: np.ndarray) -> np.ndarray:
    """Follow links: each text's, to the lowest that can be reached. Join joined ones with more at will.

        c b, b d, e e  ->  b c, b d

    Returns:
        "S32" [K, 2], sorted by the second; the second goes, the first stays.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, ends = np.unique(links, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    _, lowest = np.unique(component, return_index=True)
    stays = names[lowest[component]]
    return np.stack([stays, names], axis=1)[stays != names]


def is_listed(names: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """bool [N]: which of the names are in the sorted list.

    a c e, listed b c  ->  no yes no
    """
    if not len(listed):
        return np.zeros(len(names), bool)
    place = np.minimum(np.searchsorted(listed, names), len(listed) - 1)
    return listed[place] == names
