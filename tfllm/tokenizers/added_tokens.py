"""Tokens beside a vocabulary's pieces, which are found in a text before all else: what they are, and which texts hold one.

In: tokens as Hugging Face's files name them. Out: `Patterns` to find (`added_tokens_graph` does so in a graph, the `tokenizers`
library in Python), and `Finder`, which tells bulk encoding which texts it may cut into words.
Source: `AddedVocabulary` of the `tokenizers` library. Tokens that are not normalized are found first, in the text as it is,
then the normalized ones in what is between, normalized. Of those that begin leftmost the longest is found. It is cut out, so
that neither words nor merges go across it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tokenizers
from tokenizers.models import WordLevel

WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Of Unicode, for brackets of a pattern: what `lstrip` and `rstrip` take along."""
FEW = 8
"""So many are looked for one by one sooner than all at once."""


@dataclass(frozen=True)
class AddedToken:
    """A token beside the pieces of a vocabulary.

    special: it decodes to nothing. lstrip, rstrip: it takes the white space before or behind it along. single_word: it is found
    only where no letter, mark, digit or underscore stands beside it. normalized: it is looked for in the normalized text,
    itself normalized: where that is lower-cased, "covid" is found in "COVID".
    """

    id: int
    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any], id: int | None = None) -> AddedToken:
        """From Hugging Face's fields; what they leave out is as in its `AddedToken`."""
        flags = {name: bool(fields.get(name, False)) for name in ("special", "lstrip", "rstrip", "single_word")}
        normalized = fields.get("normalized")
        return cls(
            fields["id"] if id is None else id,
            fields["content"],
            **flags,
            normalized=not flags["special"] if normalized is None else normalized,
        )


@dataclass(frozen=True)
class Patterns:
    """What is looked for, and the token that it stands for: `raw` in the text as it is, `normal` in the normalized text."""

    raw: Mapping[str, AddedToken]
    normal: Mapping[str, AddedToken]


def patterns_of(tokens: Iterable[AddedToken], normalize: Callable[[str], str] = str) -> Patterns:
    """What of `tokens` is looked for. Of equal ones the first is found, special ones before others.

    "<num>", "Covid" (normalized), lower-cased -> raw "<num>", normal "covid"

    Raises ValueError for a token of which nothing is left, and for two that `tokenizers` fails at, side by side in a text.
    """
    raw: dict[str, AddedToken] = {}
    normal: dict[str, AddedToken] = {}
    for token in sorted(tokens, key=lambda token: not token.special):
        content = normalize(token.content) if token.normalized else token.content
        if not content:
            raise ValueError(
                f"the added token {token.content!r} of id {token.id} is empty, or normalized to nothing: remove it"
            )
        (normal if token.normalized else raw).setdefault(content, token)
    for found in (raw, normal):
        taking = [content for content, token in found.items() if token.rstrip]
        taken = [content for content, token in found.items() if token.lstrip and content[0].isspace()]
        if taking and taken:
            raise ValueError(
                f"the added token {taking[0]!r} with rstrip takes white space that {taken[0]!r} with lstrip begins with: "
                "`tokenizers` fails at texts with both. Leave one of the two settings out"
            )
    return Patterns(raw, normal)


def check_apart(tokens: Sequence[AddedToken], pieces: Mapping[str, int]) -> None:
    """Raises ValueError where two added tokens, or a token and another piece, have one id, or one content has two."""
    names = {id: piece for piece, id in pieces.items()}
    ids: dict[str, int] = {}
    for token in tokens:
        if names.setdefault(token.id, token.content) != token.content:
            raise ValueError(f"the added token {token.content!r} has the id {token.id}, which is that of {names[token.id]!r}")
        if ids.setdefault(token.content, token.id) != token.id:
            raise ValueError(f"the added token {token.content!r} has two ids, {ids[token.content]} and {token.id}")


def library_id(content: str, ids: dict[str, int]) -> int:
    """The id that the `tokenizers` library gives an added token: that of its piece, else the number after all ids so far.

    "[PAD]" of {"a": 0, "[PAD]": 1} -> 1        "[E1]" -> 2, and {"a": 0, "[PAD]": 1, "[E1]": 2}

    Args:
        ids: of the pieces and of the added tokens before this one; the token is put in.
    """
    return ids.setdefault(content, len(ids))


def check_library_id(token: AddedToken, ids: dict[str, int]) -> None:
    """Raises ValueError where a token has another id than `library_id`, and puts it into `ids`."""
    if token.id != (given := library_id(token.content, ids)):
        raise ValueError(
            f"the added token {token.content!r} has the id {token.id}, and `tokenizers` gives it {given}: ids of "
            "added tokens continue after the vocabulary. Save the tokenizer again in Transformers"
        )


@lru_cache(maxsize=1)
def word_characters() -> str:
    """Those beside which no `single_word` token is found, for brackets of a pattern.

    Asked of `tokenizers` itself: Python, RE2 and its own split patterns take other characters for those of a word.
    """
    token, fence = "x", "\ue000"
    asked = tokenizers.Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    asked.add_tokens(
        [tokenizers.AddedToken(content, single_word=content == token, normalized=False) for content in (token, fence)]
    )
    points = [*range(0xD800), *range(0xE001, 0x40000), *range(0xE0000, 0xE1000)]
    texts = ("".join(f"{chr(point)}{token}{fence}" for point in points[at : at + 4096]) for at in range(0, len(points), 4096))
    ids = [id for row in asked.encode_batch_fast(list(texts)) for id in row.ids if id]
    starts = np.flatnonzero(np.array([asked.token_to_id(fence), *ids]) == asked.token_to_id(fence))[:-1]
    alone = np.array(ids)[starts] == asked.token_to_id(fence)  # the token was not found
    return ranges(np.array(points)[alone].tolist())


def ranges(points: Iterable[int]) -> str:
    """Ascending code points for brackets of a pattern: 97 98 99 120 -> "a-cx-x"."""
    runs: list[list[int]] = []
    for point in points:
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


class Finder:
    """Which texts hold one of some tokens, alone or inside a word: the others may be cut into words without looking for any.

    raw "<num>", texts "a b" "c<num>" -> 1

    Args:
        raw: contents looked for in the texts.
        normal: contents looked for, normalized, in the normalized texts.
        normalizer: of the `tokenizers` library.
    """

    def __init__(self, raw: Sequence[str], normal: Sequence[str] = (), normalizer: Any = None):
        self._few = raw if len(raw) <= FEW and not normal else None
        self._libraries = [_library(*each) for each in ((raw, None), (normal, normalizer)) if each[0]]

    def holding(self, texts: Sequence[str]) -> set[int]:
        """The places of those texts."""
        if self._few is not None:
            joined = "".join(texts)
            if not any(content in joined for content in self._few):
                return set()
        rows = (library.encode_batch_fast(list(texts)) for library in self._libraries)
        return {place for row in rows for place, found in enumerate(row) if any(found.ids)}


def _library(contents: Sequence[str], normalizer: Any) -> tokenizers.Tokenizer:
    """Gives 0 for text, and other ids for the tokens in it."""
    text = "?" + "".join(contents)  # the name of none of them
    library = tokenizers.Tokenizer(WordLevel({text: 0}, unk_token=text))
    library.normalizer = normalizer
    library.add_tokens([tokenizers.AddedToken(content, normalized=normalizer is not None) for content in contents])
    return library
