"""Predictions and truths in, numbers out: what fine-tuned models are judged by. On the host, after evaluation.

Source: scikit-learn and SciPy for classes and numbers, seqeval for entities (conlleval's count: a wrong I- opens an entity);
SQuAD's exact match and F1 from its paper (arXiv 1606.05250, section 6.1) and, for no answer, arXiv 1806.03822.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from seqeval import metrics as entity_metrics
from sklearn import metrics

Word = tuple[int, int, str]
"""Start, end (characters) and label."""


@dataclass(frozen=True)
class ClassScores:
    """Of one class a row, all from 0 to 1 but Matthews' coefficient (-1 to 1)."""

    accuracy: float
    macro_f1: float
    """Mean over the classes, those without rows and predictions left out."""
    micro_f1: float
    matthews: float
    macro_precision: float
    """Mean over the same classes of the share of predictions that are right, 0 for one that is never predicted."""
    macro_recall: float
    """Mean over the same classes of the share of rows that are found, 0 for one without rows."""
    by_class: np.ndarray
    """float [3, C]: precision, recall and F1."""
    confusion: np.ndarray
    """int [C, C]: truth by row, prediction by column."""


@dataclass(frozen=True)
class MultiLabelScores:
    """Of any number of classes a row."""

    accuracy: float
    """Rows with every class right."""
    macro_f1: float
    """Mean over the classes, those without rows and predictions left out; nan where that is all of them."""
    micro_f1: float
    macro_precision: float
    macro_recall: float
    """Means over the same classes, as of one class a row."""
    by_class: np.ndarray
    """float [3, C]: precision, recall and F1."""


@dataclass(frozen=True)
class NumberScores:
    """Of numbers. A correlation of constant numbers is nan."""

    pearson: float
    spearman: float
    mean_squared_error: float


@dataclass(frozen=True)
class EntityScores:
    """An entity counts where its label and all its words are right."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    """Of tags."""
    f1_by_label: dict[str, float]


@dataclass(frozen=True)
class AnswerScores:
    """Means over questions, from 0 to 1; nan where there are no such questions."""

    exact_match: float
    f1: float
    exact_match_answerable: float
    f1_answerable: float
    right_unanswerable: float


@dataclass(frozen=True)
class Entity:
    """A run of words with one label; start and end are characters of the text."""

    label: str
    start: int
    end: int
    text: str
    score: float


def class_scores(predicted: ArrayLike, truth: ArrayLike, classes: int) -> ClassScores:
    """Scores of class numbers, int [N] each.

    predicted 0 1 1 1, truth 0 0 1 1 -> accuracy 0.75, macro F1 (2/3 + 4/5) / 2, Matthews 1/√3, confusion 1 1 | 0 2;
        precision 1 and 2/3, recall 1/2 and 1
    """
    predicted, truth = _same(predicted, truth)
    by_class, (precision, recall) = _by_class(predicted, truth, labels=np.arange(classes))
    return ClassScores(
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        macro_f1=float(metrics.f1_score(truth, predicted, average="macro", zero_division=0)),
        micro_f1=float(metrics.f1_score(truth, predicted, average="micro", zero_division=0)),
        matthews=float(metrics.matthews_corrcoef(truth, predicted)),
        macro_precision=precision,
        macro_recall=recall,
        by_class=by_class,
        confusion=metrics.confusion_matrix(truth, predicted, labels=np.arange(classes)),
    )


def multi_label_scores(predicted: ArrayLike, truth: ArrayLike) -> MultiLabelScores:
    """Scores of classes that hold (1) or not (0), [N, C] each.

    predicted 1 1 | 0 1, truth 1 0 | 0 1 -> accuracy 0.5, macro F1 (1 + 2/3) / 2, micro F1 0.8;
        precision 1 and 1/2, recall 1 and 1
    """
    predicted, truth = _same(predicted, truth)
    by_class, (precision, recall) = _by_class(predicted, truth)
    return MultiLabelScores(
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        macro_f1=float(metrics.f1_score(truth, predicted, average="macro", zero_division=np.nan)),
        micro_f1=float(metrics.f1_score(truth, predicted, average="micro", zero_division=0)),
        macro_precision=precision,
        macro_recall=recall,
        by_class=by_class,
    )


def _by_class(predicted: np.ndarray, truth: np.ndarray, **options: Any) -> tuple[np.ndarray, tuple[float, float]]:
    """Precision, recall and F1 of each class, float [3, C], and the first two's means over classes with rows or predictions."""
    *found, rows = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0, **options)
    guesses = metrics.precision_recall_fscore_support(predicted, truth, zero_division=0, **options)[-1]
    there = (rows + guesses) > 0
    return np.stack(found), (_mean(found[0][there]), _mean(found[1][there]))


def number_scores(predicted: ArrayLike, truth: ArrayLike) -> NumberScores:
    """Scores of numbers, float [N] each.

    predicted 1 2 4, truth 1 2 3 -> Pearson 0.982, Spearman 1, mean squared error 1/3
    """
    predicted, truth = _same(predicted, truth)
    constant = len(truth) < 2 or not np.ptp(predicted) or not np.ptp(truth)
    return NumberScores(
        pearson=float("nan") if constant else float(stats.pearsonr(predicted, truth).statistic),
        spearman=float("nan") if constant else float(stats.spearmanr(predicted, truth).statistic),
        mean_squared_error=float(metrics.mean_squared_error(truth, predicted)),
    )


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
            (number, each.label, each.start, each.end)
            for number, words in enumerate(side)
            for each in entities("", *map(list, zip(*words, strict=True)), [1.0] * len(words))  # type: ignore[call-arg]
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


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _same(predicted: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = np.asarray(predicted), np.asarray(truth)
    if ours.shape != theirs.shape or not len(theirs):
        raise ValueError(f"Predictions {ours.shape}, truths {theirs.shape}; accepted: the same shape, with one row at least.")
    return ours, theirs


def _check_lengths(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> None:
    ours, theirs = [len(sentence) for sentence in predicted], [len(sentence) for sentence in truth]
    if ours != theirs or not sum(theirs):
        raise ValueError(
            f"{sum(ours)} tags of {len(ours)} sentences predicted, {sum(theirs)} of {len(theirs)} true; accepted: equal."
        )
