"""Scores of predicted word labels: entities in IOB2 tags, and parts of speech.

Input: a sequence of labels per sentence, or words with their characters. Output: precision, recall, F1, accuracy.
Source: seqeval, which counts as conlleval does: an I- tag after another label, or after none, begins an entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seqeval import metrics as entity_metrics
from seqeval.metrics.sequence_labeling import get_entities

Word = tuple[int, int, str]
"""Start, end (characters of the text) and label."""


@dataclass(frozen=True)
class EntityScores:
    """An entity counts where its label and all its words are right."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    """Of tags."""
    f1_by_label: dict[str, float]


def entity_scores(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> EntityScores:
    """Scores of IOB2 tags, a sequence a sentence.

    predicted B-PER I-PER O B-LOC, truth B-PER I-PER O B-ORG -> precision 0.5, recall 0.5, F1 0.5, accuracy 0.75
    """
    _check_lengths(predicted, truth)
    tags = [list(sentence) for sentence in predicted], [list(sentence) for sentence in truth]
    any_entity = any(tag != "O" for side in tags for sentence in side for tag in sentence)
    report = entity_metrics.classification_report(tags[1], tags[0], output_dict=True, zero_division=0) if any_entity else {}
    return EntityScores(
        precision=float(entity_metrics.precision_score(tags[1], tags[0], zero_division=0)),
        recall=float(entity_metrics.recall_score(tags[1], tags[0], zero_division=0)),
        f1=float(entity_metrics.f1_score(tags[1], tags[0], zero_division=0)),
        accuracy=float(entity_metrics.accuracy_score(tags[1], tags[0])),
        f1_by_label={name: float(found["f1-score"]) for name, found in report.items() if not name.endswith(" avg")},
    )


def tag_accuracy(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    """Share of words whose tag is right: what part-of-speech tagging is judged by.

    predicted DET NOUN | VERB, truth DET VERB | VERB -> 2/3
    """
    _check_lengths(predicted, truth)
    right = [
        one == other for ours, theirs in zip(predicted, truth, strict=True) for one, other in zip(ours, theirs, strict=True)
    ]
    return sum(right) / len(right)


def f1_on_text(predicted: Sequence[Sequence[Word]], truth: Sequence[Sequence[Word]]) -> float:
    """F1 of entities by their characters: those that `predict` gives for a text, whatever the words of a file are.

    predicted (0, 1, B-LOC) (1, 4, O), truth (0, 4, B-LOC) -> 0: of "U.S." the entity is "U"

    Args:
        predicted, truth: words of each text, that of `predict` and that of the file: start, end, tag in IOB2.
    """
    ours, theirs = (
        {
            (number, label, words[first][0], words[last][1])
            for number, words in enumerate(side)
            for label, first, last in get_entities([tag for _, _, tag in words])
        }
        for side in (predicted, truth)
    )
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 0.0


def accuracy_on_text(predicted: Sequence[Sequence[Word]], truth: Sequence[Sequence[Word]]) -> float:
    """Share of a file's words of which every part has the word's label.

    predicted (0, 2, VERB) (2, 3, X), truth (0, 3, VERB) -> 0

    Args:
        predicted, truth: words of each text, that of `predict` and that of the file: start, end, label.
    """
    right = total = 0
    for parts, words in zip(predicted, truth, strict=True):
        label_at = {place: label for start, end, label in parts for place in range(start, end)}
        for start, end, label in words:
            right += {label_at[place] for place in range(start, end) if place in label_at} == {label}
            total += 1
    return right / total


def _check_lengths(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> None:
    ours, theirs = [len(sentence) for sentence in predicted], [len(sentence) for sentence in truth]
    if ours != theirs or not sum(theirs):
        raise ValueError(
            f"{sum(ours)} tags of {len(ours)} sentences predicted, {sum(theirs)} of {len(theirs)} true; accepted: equal."
        )
