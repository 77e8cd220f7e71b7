"""Scores of answers to questions: SQuAD's exact match and F1.

Input: predicted and true answers by question. Output: means over questions.
Source: SQuAD's paper (arXiv 1606.05250, section 6.1) and, for questions without an answer, arXiv 1806.03822.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AnswerScores:
    """Means over questions, from 0 to 1; nan where there are no such questions."""

    exact_match: float
    f1: float
    exact_match_answerable: float
    f1_answerable: float
    right_unanswerable: float


def answer_scores(predicted: Mapping[str, str], truth: Mapping[str, Sequence[str]]) -> AnswerScores:
    """Scores of answers by question id. No answer is "" in `predicted` and an empty sequence in `truth`.

        predicted a "the Tower", b "", c "London"; truth a ("Tower", "Tower Bridge"), b (), c ()
        -> exact match 2/3, F1 2/3; answerable 1, 1; unanswerable 1/2

    Of several true answers the best match counts; without any, only no answer is right.
    """
    if missing := [id for id in truth if id not in predicted]:
        raise ValueError(f'{len(missing)} questions have no prediction, {missing[0]!r} first. Give each one; "" for no answer.')
    exact = {id: max(normalized(predicted[id]) == normalized(one) for one in _accepted(truth[id])) for id in truth}
    overlap = {id: max(overlap_f1(predicted[id], one) for one in _accepted(truth[id])) for id in truth}
    answerable = [id for id in truth if _accepted(truth[id]) != [""]]
    others = [id for id in truth if _accepted(truth[id]) == [""]]
    return AnswerScores(
        exact_match=_mean([exact[id] for id in truth]),
        f1=_mean([overlap[id] for id in truth]),
        exact_match_answerable=_mean([exact[id] for id in answerable]),
        f1_answerable=_mean([overlap[id] for id in answerable]),
        right_unanswerable=_mean([exact[id] for id in others]),
    )


def normalized(answer: str) -> str:
    """What SQuAD compares: lower case, no ASCII punctuation, no articles. "The U.S., a  state" -> "us state"."""
    bare = "".join(character for character in answer.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def overlap_f1(predicted: str, truth: str) -> float:
    """F1 of the bags of words. "Ada Byron King", "Ada King" -> precision 2/3, recall 1 -> 0.8. Both empty: 1; one: 0."""
    ours, theirs = normalized(predicted).split(), normalized(truth).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def _accepted(answers: Sequence[str]) -> list[str]:
    """Answers of which something is left to compare; else only none is right."""
    return [answer for answer in answers if normalized(answer)] or [""]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
