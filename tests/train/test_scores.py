"""Scores against cases worked by hand, and entities against seqeval's own reading of tags."""

import math
import random

import numpy as np
import pytest
from entity_reference import Entity, entities
from seqeval.metrics.sequence_labeling import get_entities

from tfllm.train import scores


def test_classes_as_in_the_docstring():
    found = scores.class_scores([0, 1, 1, 1], [0, 0, 1, 1], 2)
    assert found.accuracy == found.micro_f1 == 0.75
    assert math.isclose(found.macro_f1, (2 / 3 + 4 / 5) / 2)
    assert math.isclose(found.matthews, 1 / 3**0.5)
    np.testing.assert_array_equal(found.confusion, [[1, 1], [0, 2]])
    np.testing.assert_allclose(found.by_class, [[1, 2 / 3], [1 / 2, 1], [2 / 3, 4 / 5]])
    assert math.isclose(found.macro_precision, 5 / 6) and found.macro_recall == 0.75
    assert scores.class_scores([0, 1], [0, 0], 3).confusion.shape == (3, 3)


def test_several_classes_as_in_the_docstring():
    found = scores.multi_label_scores([[1, 1], [0, 1]], [[1, 0], [0, 1]])
    assert (found.accuracy, found.micro_f1) == (0.5, 0.8)
    assert math.isclose(found.macro_f1, (1 + 2 / 3) / 2)
    np.testing.assert_allclose(found.by_class, [[1, 1 / 2], [1, 1], [1, 2 / 3]])
    assert (found.macro_precision, found.macro_recall) == (0.75, 1)


def test_classes_that_are_nowhere_are_left_out_of_the_mean():
    rows = [[1, 0, 0], [0, 1, 0]]
    assert scores.multi_label_scores(rows, rows).macro_f1 == 1
    assert scores.class_scores([0, 1], [0, 1], 3).macro_f1 == 1
    # One that is only predicted, or only true, counts.
    for predicted, truth in ((rows, [[1, 0, 0], [0, 0, 0]]), ([[1, 0, 0], [0, 0, 0]], rows)):
        found = scores.multi_label_scores(predicted, truth)
        assert (found.macro_f1, found.macro_precision, found.macro_recall) == (0.5, 0.5, 0.5)
    found = scores.class_scores([0, 2], [0, 1], 4)  # class 1 is never predicted, 2 never true, 3 neither
    assert found.macro_f1 == found.macro_precision == found.macro_recall == 1 / 3
    np.testing.assert_array_equal(found.by_class[:2], [[1, 0, 0, 0], [1, 0, 0, 0]])
    nothing = scores.multi_label_scores([[0, 0]], [[0, 0]])
    assert math.isnan(nothing.macro_f1) and math.isnan(nothing.macro_precision) and math.isnan(nothing.macro_recall)


def test_numbers_as_in_the_docstring():
    found = scores.number_scores([1, 2, 4], [1, 2, 3])
    assert math.isclose(found.pearson, 3 / (2 * (14 / 3)) ** 0.5)
    assert math.isclose(found.spearman, 1)
    assert math.isclose(found.mean_squared_error, 1 / 3)
    assert math.isnan(scores.number_scores([1, 1], [1, 2]).pearson)


def test_entity_scores_as_in_the_docstring():
    truth, predicted = ["B-PER", "I-PER", "O", "B-ORG"], ["B-PER", "I-PER", "O", "B-LOC"]
    found = scores.entity_scores([predicted], [truth])
    assert (found.precision, found.recall, found.f1, found.accuracy) == (0.5, 0.5, 0.5, 0.75)
    assert found.f1_by_label == {"PER": 1, "ORG": 0, "LOC": 0}
    half = scores.entity_scores([["B-PER", "O", "O", "O"]], [truth])
    assert half.f1 == 0  # a part of an entity is no entity
    assert scores.entity_scores([["O"]], [["O"]]).f1 == 0
    assert math.isclose(scores.tag_accuracy([["DET", "NOUN"], ["VERB"]], [["DET", "VERB"], ["VERB"]]), 2 / 3)


@pytest.mark.parametrize("pair", [([["O"]], [["O", "O"]]), ([["O"]], [["O"], ["O"]]), ([], [])])
def test_lengths_must_agree(pair):
    for score in (scores.entity_scores, scores.tag_accuracy):
        with pytest.raises(ValueError, match="accepted: equal"):
            score(*pair)
    with pytest.raises(ValueError, match="accepted: the same shape"):
        scores.class_scores([0], [0, 1], 2)
    with pytest.raises(ValueError, match="accepted: one a word"):
        entities("a", [0], [1], ["O", "O"], [1.0])


def test_entities_as_in_the_docstring():
    found = entities("Ada Byron, London", [0, 4, 9, 11], [3, 9, 10, 17], ["B-PER", "I-PER", "O", "I-LOC"], [0.9, 0.8, 1.0, 0.7])
    assert found == [Entity("PER", 0, 9, "Ada Byron", 0.8), Entity("LOC", 11, 17, "London", 0.7)]


def test_entities_are_those_that_seqeval_counts():
    draw = random.Random(0)
    for _ in range(500):
        tags = draw.choices(["O", "B-X", "I-X", "B-Y", "I-Y"], k=draw.randrange(12))
        words = range(len(tags))
        found = entities("w" * len(tags), words, [word + 1 for word in words], tags, [1.0] * len(tags))
        assert [(one.label, one.start, one.end - 1) for one in found] == get_entities(tags)


def test_answers_as_in_the_docstring():
    found = scores.answer_scores({"a": "the Tower", "b": "", "c": "London"}, {"a": ("Tower", "Tower Bridge"), "b": (), "c": ()})
    assert math.isclose(found.exact_match, 2 / 3)
    assert math.isclose(found.f1, 2 / 3)
    assert (found.exact_match_answerable, found.f1_answerable, found.right_unanswerable) == (1, 1, 0.5)
    assert scores.normalized("The U.S., a  state") == "us state"
    assert math.isclose(scores.overlap_f1("Ada Byron King", "Ada King"), 0.8)


@pytest.mark.parametrize(
    ("predicted", "truth", "exact", "f1"),
    [
        ("Denver Broncos", "the Denver Broncos.", 1, 1),
        ("in 1066", "1066", 0, 2 / 3),  # precision 1/2, recall 1
        ("on Friday, the 9th", "Friday 9th", 0, 0.8),  # precision 2/3, recall 1
        ("New York New Jersey", "New York", 0, 2 / 3),  # a repeated word counts once: precision 2/4, recall 1
        ("cat", "dog", 0, 0),
        ("", "dog", 0, 0),
        ("anthem", "an them", 0, 0),  # articles are whole words
        ("10-12", "1012", 1, 1),  # punctuation is removed, not replaced
        ("“quoted”", "quoted", 0, 0),  # ASCII punctuation only
    ],
)
def test_answers_worked_by_hand(predicted, truth, exact, f1):
    found = scores.answer_scores({"q": predicted}, {"q": [truth]})
    assert found.exact_match == exact
    assert math.isclose(found.f1, f1)
    assert math.isnan(found.right_unanswerable)


def test_no_answer_is_all_or_nothing():
    found = scores.answer_scores({"a": "", "b": "x", "c": "the"}, {"a": [], "b": [], "c": ["a."]})
    # "the" and "a." leave nothing to compare, so they are no answer.
    assert (found.right_unanswerable, found.exact_match, found.f1) == (2 / 3, 2 / 3, 2 / 3)
    with pytest.raises(ValueError, match="1 questions have no prediction, 'b' first"):
        scores.answer_scores({"a": ""}, {"a": [], "b": []})
