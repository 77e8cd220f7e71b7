"""Scores of predicted classes and numbers.

Input: predictions and truths as arrays, on the host. Output: accuracy, F1, correlations and their like.
Source: scikit-learn and SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn import metrics


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


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _same(predicted: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = np.asarray(predicted), np.asarray(truth)
    if ours.shape != theirs.shape or not len(theirs):
        raise ValueError(f"Predictions {ours.shape}, truths {theirs.shape}; accepted: the same shape, with one row at least.")
    return ours, theirs
