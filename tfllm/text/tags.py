"""Labels of words: which label sets name entities in the IOB2 scheme (B-… begins an entity, I-… continues it, O is outside)."""

from __future__ import annotations

import re
from collections.abc import Iterable


def is_iob2(labels: Iterable[str]) -> bool:
    """True if all labels are O, B-… or I-…, and at least one is not O.

    B-PER I-PER O -> True        O -> False        NOUN VERB -> False
    """
    found = set(labels)
    return bool(found - {"O"}) and all(re.fullmatch(r"O|[BI]-.+", label) for label in found)
