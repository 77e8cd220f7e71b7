"""Entities of IOB2 tags in plain Python: what the graph's entities are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entity:
    """A run of words with one label; start and end are characters of the text."""

    label: str
    start: int
    end: int
    text: str
    score: float


def entities(
    text: str, starts: Sequence[int], ends: Sequence[int], tags: Sequence[str], scores: Sequence[float]
) -> list[Entity]:
    """Entities of one text from its words' characters, tags and scores. An entity's score is its weakest word's.

        text "Ada Byron, London", starts 0 4 9 11, ends 3 9 10 17, tags B-PER I-PER O I-LOC, scores .9 .8 1 .7
        -> Entity("PER", 0, 9, "Ada Byron", 0.8), Entity("LOC", 11, 17, "London", 0.7)

    An I- after another label, or after none, opens an entity, as seqeval counts it.
    """
    if not len(starts) == len(ends) == len(tags) == len(scores):
        raise ValueError(
            f"{len(starts)} starts, {len(ends)} ends, {len(tags)} tags, {len(scores)} scores; accepted: one a word."
        )
    found: list[Entity] = []
    before = "O"
    for start, end, tag, score in zip(starts, ends, tags, scores, strict=True):
        if tag.startswith("I-") and before[1:] == tag[1:]:
            last = found.pop()
            found.append(Entity(last.label, last.start, int(end), text[last.start : end], min(last.score, float(score))))
        elif tag != "O":
            found.append(Entity(tag[2:], int(start), int(end), text[start:end], float(score)))
        before = tag
    return found
