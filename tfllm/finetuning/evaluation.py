"""How a model does on labelled rows: an evaluator for each task that is fine-tuned, and the names of what it computes.

Enters: a model, rows of its task, the model as a graph function (`forward`), a batch size. Leaves: an `Evaluation`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfllm import features
from tfllm.data.labelled import Labelled, Questions, Tagged
from tfllm.prediction.question_answering import best_spans
from tfllm.tasks.spec import Metrics
from tfllm.text.tags import is_iob2
from tfllm.train import scores
from tfllm.train.callbacks.evaluation import Evaluation
from tfllm.train.callbacks.images import MAX_WITH_NAMES, confusion_matrix_image


def _outputs(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Iterator[np.ndarray]:
    """The model's outputs, batch by batch, rows of padding left out."""
    left = len(rows)
    for batch in rows.batches(batch_size, shuffle=False, repeat=False):
        yield np.asarray(forward(batch))[:left]
        left -= batch_size


def evaluate_classes(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    outputs, truth = np.concatenate(list(_outputs(model, rows, forward, batch_size))), rows.row_features[features.LABELS]
    if model.multi_label:
        return _of_classes(scores.multi_label_scores(outputs > 0, truth > 0.5), model.labels)
    found = scores.class_scores(outputs.argmax(-1), truth, len(model.labels))
    evaluation = _of_classes(found, model.labels, ("by_class", "confusion"))
    if len(model.labels) <= MAX_WITH_NAMES:  # a larger one would be most of the run's history
        evaluation.tables["confusion"] = found.confusion.tolist()
    return evaluation._replace(images={"confusion": lambda: confusion_matrix_image(found.confusion, model.labels)})


def class_metrics(model: Any) -> Metrics:
    """What `evaluate_classes` computes."""
    names = ("accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall")
    return Metrics(names, "val_micro_f1") if model.multi_label else Metrics((*names, "matthews"), "val_accuracy")


def _of_classes(found: Any, labels: Sequence[str], arrays: Sequence[str] = ("by_class",)) -> Evaluation:
    """Numbers as scores; precision, recall and F1 of each label as tables."""
    numbers = {name: value for name, value in dataclasses.asdict(found).items() if name not in arrays}
    by_class = zip(("precision", "recall", "f1"), found.by_class.tolist(), strict=True)
    return Evaluation(numbers, tables={f"{name}_by_label": dict(zip(labels, row, strict=True)) for name, row in by_class})


def evaluate_numbers(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    outputs = np.concatenate(list(_outputs(model, rows, forward, batch_size)))
    return Evaluation(dataclasses.asdict(scores.number_scores(outputs, rows.row_features[features.LABELS])))


def evaluate_words(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    assert isinstance(rows, Tagged)
    classes = [row for part in _outputs(model, rows, forward, batch_size) for row in part.argmax(-1)]
    predicted = rows.by_sentence(classes)
    truth = [list(sentence.labels) for sentence in rows.records]
    on_text = rows.by_text(classes), rows.truth_by_text()
    if not is_iob2(model.labels):
        accuracies = scores.tag_accuracy(predicted, truth), scores.accuracy_on_text(*on_text)
        return Evaluation(dict(zip(("accuracy", "accuracy_on_text"), accuracies, strict=True)))
    found = dataclasses.asdict(scores.entity_scores(predicted, truth)) | {"f1_on_text": scores.f1_on_text(*on_text)}
    by_label = dict.fromkeys((label[2:] for label in model.labels if label != "O"), 0.0) | found.pop("f1_by_label")
    return Evaluation(found | {f"f1_{label}": value for label, value in by_label.items()})


def word_metrics(model: Any) -> Metrics:
    """What `evaluate_words` computes: of entities also the F1 of each kind."""
    if not is_iob2(model.labels):
        return Metrics(("accuracy", "accuracy_on_text"), "val_accuracy")
    kinds = sorted({f"f1_{label[2:]}" for label in model.labels if label != "O"})
    return Metrics(("precision", "recall", "f1", "f1_on_text", "accuracy", *kinds), "val_f1")


def evaluate_answers(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    assert isinstance(rows, Questions)
    longest = model.longest_answer
    parts = [best_spans(part, longest) | {"none": part[:, :, 0].sum(1)} for part in _outputs(model, rows, forward, batch_size)]
    starts, ends, best, none = (np.concatenate([part[name] for part in parts]) for name in ("start", "end", "score", "none"))
    answers = rows.answers(starts, ends, best, none)
    predicted = {question.id: answer.text for question, answer in zip(rows.records, answers, strict=True)}
    truth = {question.id: question.answers for question in rows.records}
    found = dataclasses.asdict(scores.answer_scores(predicted, truth))
    found["oracle_exact_match"] = float(rows.exact.mean())
    return Evaluation({name: value for name, value in found.items() if not math.isnan(value)})


def evaluate_vectors(model: Any, rows: Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    """How often a text's partner is the nearest of all second texts, and the mean of one over its rank; ties rank last.

    Equal second texts are one. A text's other partners and its own equal are left out of its ranking, as in training
    (`wrong_partners`); Bordes et al. 2013, section 4.2, call it filtered.
    """
    vectors = np.concatenate(list(_outputs(model, rows, forward, batch_size)))
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    firsts, seconds = rows.row_features.get(features.TEXT_NUMBERS, np.arange(len(vectors))).reshape(-1, 2).T
    # Pairs by their second text, and where each distinct one begins.
    order = np.argsort(seconds, kind="stable")
    distinct, begins = np.unique(seconds[order], return_index=True)
    candidates = vectors[1::2][order[begins]]
    ranks = []
    for begin in range(0, len(firsts), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        asked = firsts[block, None]
        partners = np.logical_or.reduceat(asked == firsts[order], begins, axis=1)
        own = (vectors[0::2][block] * vectors[1::2][block]).sum(1, keepdims=True)
        better = ~(vectors[0::2][block] @ candidates.T < own - 1e-6)
        ranks.append(1 + (better & ~partners & (asked != distinct)).sum(1))
    rank = np.concatenate(ranks)
    return Evaluation({"recall_at_1": float((rank == 1).mean()), "mean_reciprocal_rank": float((1 / rank).mean())})


_BLOCK = 1024
"""Texts whose cosines with all others are held at a time."""
