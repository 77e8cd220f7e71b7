"""Which characters of a text get ids, and what to do where they are more than the vocabulary.

In: how often the text has each character. Out: a sentence with numbers that work.
Source: the `character_coverage` of SentencePiece: the most frequent characters that make up this share of the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

from tfllm.tokenizers.base import SPECIAL_PIECES

LEAST_COVERAGE = 0.98
"""What `train` accepts."""


def covering(counts: Mapping[str, int], coverage: float) -> list[str]:
    """The most frequent characters that make up so much of the text; ties in code point order.

    a 4, b 3, c 1, 0.8 -> ["a", "b"]
    """
    wanted = coverage * sum(counts.values())
    by_count = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    covered = accumulate((count for _, count in by_count), initial=0)
    return [character for (character, _), before in zip(by_count, covered, strict=False) if before < wanted]


def share_of(counts: Mapping[str, int], number: int) -> float:
    """How much of the text its most frequent `number` characters make up, rounded down to four places.

    a 4, b 3, c 1, 2 -> 0.875
    """
    most = sorted(counts.values(), reverse=True)[: max(number, 0)]
    return math.floor(1e4 * sum(most) / sum(counts.values())) / 1e4


def too_many_characters(size: int, least: int, coverage: float, counts: Mapping[str, int], otherwise: str) -> str:
    """What to say where the characters of `coverage` need `least` ids, more than `size`.

    otherwise: what becomes of characters without ids.
    """
    lower = share_of(counts, len(covering(counts, coverage)) - (least - size))
    ways = [f"Raise it to {least}"]
    if lower >= LEAST_COVERAGE:
        ways.append(f"lower character_coverage from {coverage} to {lower}, so that {otherwise}")
    if size >= len(SPECIAL_PIECES) + 256:
        ways.append("use kind='byte_bpe', whose pieces are made of bytes")
    advice = ", or ".join(ways)
    return f"vocab_size={size} is invalid: expected at least {least}, for so many ids the text's characters need. {advice}."
