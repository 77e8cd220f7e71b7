"""Values of label columns: other conventions' values are read as what they are, or refused with advice that works."""

import re

import numpy as np
import pytest

from tfllm import features
from tfllm.data.labelled import tagging, text_classification
from tfllm.data.labelled.label_values import check_names, read_label, read_labels, read_number
from tfllm.data.labelled.text_files import read_texts
from tfllm.tokenizers import ByteTokenizer


def refuses(message, read, *args, **kwargs):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(*args, **kwargs)


def test_one_label():
    """As in the docstring; whole numbers as pandas writes them in a column with gaps."""
    for value, label in (
        (" pos ", "pos"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("-2.00", "-2"),
        (np.float32(3), "3"),
        (True, "true"),
        ("True", "True"),
        ("007", "007"),
        ("1e3", "1e3"),
        (2**60 + 1, "1152921504606846977"),
        ("v1.5", "v1.5"),
        ("None", "None"),
        ("[neutral]", "[neutral]"),
        ("(other)", "(other)"),
    ):
        assert read_label(value, "line 1") == label
    for value, message in (
        (None, "the label is None: expected a string"),
        ("", "Fill it in, or remove the row"),
        (" ", "the label is ' '"),
        (float("nan"), "the label is nan"),
        ("nan", "the label is 'nan'"),
        ("NaN", "the label is 'NaN'"),
        ("<NA>", "the label is '<NA>'"),
        ("N/A", "remove the row, or name all labels with labels=[…]"),
        ("NULL", "the label is 'NULL'"),
        ("#N/A", "the label is '#N/A'"),
        (float("inf"), "the label is inf"),
        (0.5, "the label is 0.5: expected a string, a whole number, true or false. Use regression for numbers"),
        ("0.5", "Use regression for numbers, or name all labels with labels=[…]"),
        (["a"], "a list. Read several labels a row with multi_label=True"),
        ("['joy']", "a list. Read several labels a row"),
        ("['joy' 'anger']", "a list. Read several labels a row"),
        ("[0, 1, 0]", "a list. Read several labels a row"),
        ("0 1 0", "a list. Read several labels a row"),
        ({"name": "pos"}, "the label is {'name': 'pos'}: expected a string"),
        (np.array([0, 1]), "a list. Read several labels a row"),
    ):
        refuses(f"line 1: the label is {str(value)[:2]!r}"[:20], read_label, value, "line 1")
        refuses(message, read_label, value, "line 1")
    # "Or name all labels": then they are names, whatever they look like.
    for value in ("nan", 0.5, "0.5", "-1", "0 1 0"):
        assert read_label(value, "line 1", [str(value)]) == str(value)
    refuses("the label is None", read_label, None, "line 1", ["None"])


NAMES = ("anger", "joy", "love")


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (["joy", "anger"], ("joy", "anger")),
        ("['joy', 'anger']", ("joy", "anger")),
        ('["joy", "anger"]', ("joy", "anger")),
        ("('joy',)", ("joy",)),
        (str(np.array(["joy", "anger"])), ("joy", "anger")),
        (str(np.array(["joy", "it's, so"], object)), ("joy", "it's, so")),
        (str(np.array(["joy " * 20, "love " * 20])), ("joy " * 19 + "joy", "love " * 19 + "love")),
        (str(np.array([3, 12])), ("3", "12")),
        (str(["joy", 'say "it\'s"']), ("joy", 'say "it\'s"')),
        ("['joy', '', 'love']", ("joy", "love")),
        ("joy|anger|joy", ("joy", "anger")),
        ("joy", ("joy",)),
        ("[]", ()),
        ("", ()),
        ([], ()),
        ([0, 1, 0], ("joy",)),
        ([0.0, 1.0, 1.0], ("joy", "love")),
        ([True, False, False], ("anger",)),
        (np.array([0, 0, 0]), ()),
        ("[0, 1, 0]", ("joy",)),
        ("[0. 1. 1.]", ("joy", "love")),
        ("[0 1 0]", ("joy",)),
        ("0,1,0", ("joy",)),
        ("0|1|0", ("joy",)),
    ],
)
def test_several_labels(value, labels):
    assert read_labels(value, "line 1", NAMES) == labels


def test_lists_of_zeros_and_ones_want_names():
    for value in ([0, 1, 0], "[0, 1, 0]", "0 1 0", [0, 1], "0|1"):
        refuses("values of 0 and 1. If there is one value for each label", read_labels, value, "line 1")
        refuses("values of 0 and 1. If there is one value for each label", read_labels, value, "line 1", ("a", "b", "c", "d"))
    rows = [{"text": "a", "label": [0, 1, 0]}, {"text": "b", "label": "[1, 1, 0]"}]
    found = text_classification(rows, ByteTokenizer(), multi_label=True, labels=NAMES)
    assert found.row_features[features.LABELS].tolist() == [[0, 1, 0], [1, 1, 0]]
    # Numbers of labels, as GoEmotions has them: the other half of the advice.
    numbers = [str(number) for number in range(4)]
    assert read_labels([0, 1], "line 1", numbers) == ("0", "1")
    assert read_labels([3, 1], "line 1") == ("3", "1")
    assert read_labels([0], "line 1") == ("0",)
    refuses("2 values of 0 and 1", read_labels, [0, 1], "line 1", ("0", "1"))


def test_lists_that_cannot_be_read():
    for value in (
        "[joy, anger]",
        "[joy anger]",
        "['it''s']",
        "['joy' 'anger', 'love']",
        "{'joy': 1}",
        "[joy,\n love]",
        "array(['joy'])",
        3,
        None,
        {"joy": 1},
    ):
        refuses("line 1: the labels are", read_labels, value, "line 1")
    assert read_labels("[joy, anger]", "line 1", ["[joy, anger]"]) == ("[joy, anger]",)
    refuses("the label is 0.9", read_labels, [0.9, 0.1], "line 1")
    refuses("the label is [", read_labels, [["joy"]], "line 1")


def names(*labels, several=None):
    check_names({label: f"line {number}" for number, label in enumerate(labels, 1)}, several=several)


def test_names_of_another_convention():
    refuses("line 2: the label is 'Pos', at line 1 it is 'pos'. Write both alike, or name all labels", names, "pos", "Pos")
    refuses("line 2: the label is 'very  good', at line 1", names, "very good", "very  good")
    refuses("line 2: the label is '01', at line 1 it is '1'", names, "1", "01")
    for none in (["-1"], ["-1", "0"], ["-1", "0", "1", "2"], ["-1", "pos"], ["-"], ["entailment", "-"]):
        refuses('which means "no label" in files of GLUE and SNLI. Remove such rows', names, *none)
    for kept in (["-1", "0", "1"], ["-1", "+1"], ["-2", "-1", "0", "1", "2"], ["-", "+"], ["a-b", "b"], ["joy,anger"], ["a|b"]):
        names(*kept)
    refuses("which looks like 2 labels. Read several labels a row with multi_label=True", names, "a", "b", "a|b")
    refuses("which looks like 2 labels. Write 'joy|anger'", names, "joy, anger", several=False)
    refuses("which looks like 2 labels. Write 'joy|anger'", names, "joy", "joy;anger", "anger", several=True)
    refuses("which looks like 2 labels. Write 'joy|anger'", names, "joy", "joy anger", "anger", several=False)
    refuses("line 1: each row has one label, 0 or 1. Remove multi_label=True", names, "1", "0", several=False)
    names("Arts, Entertainment", "Sports", several=True)
    for joined in ("joy/anger", "joy+anger", "joy & anger", "joy|anger"):
        refuses("which looks like 2 labels. Write 'joy|anger', or name", names, "joy", "anger", joined, several=True)
    refuses("Write 'joy|anger', and read several labels a row with multi_label=True", names, "joy", "anger", "joy/anger")
    names("sci", "fi", "sci-fi", "joy_fi", "A", "A+", "and/or")
    refuses(
        "line 1: the label is '010', which looks like 3 values of 0 and 1. Write [0, 1, 0]", names, "010", "100", several=False
    )
    refuses("line 2: the label is '1', at line 1 it is 'true'. Write both alike", names, "true", "1")
    names("true", "false", "10", "100", several=True)


def test_what_nobody_named_is_looked_at_in_files_and_what_was_named_is_not(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,pos\nb,Pos\n")
    refuses("t.csv, line 3: the label is 'Pos', at", text_classification, tmp_path / "t.csv", ByteTokenizer())
    rows = text_classification(tmp_path / "t.csv", ByteTokenizer(), labels=["pos", "Pos"])
    assert rows.row_features[features.LABELS].tolist() == [0, 1]
    refuses(
        "Write 'pos'; or read",
        text_classification,
        [{"text": "a", "label": "POS "}],
        ByteTokenizer(),
        labels=["neg", "pos"],
    )
    for read, rows in ((text_classification, [{"text": "a", "label": "p"}]), (tagging, [{"tokens": ["a"], "tags": ["p"]}])):
        refuses("labels='np' is invalid: expected distinct, non-empty strings", read, rows, ByteTokenizer(), labels="np")
        assert read(rows, ByteTokenizer(), labels=iter("np")).labels == ("n", "p")
    ints = text_classification([{"text": "a", "label": 1}, {"text": "b", "label": "0"}], ByteTokenizer(), labels=("0", "1"))
    assert ints.row_features[features.LABELS].tolist() == [1, 0]


def test_a_label_that_the_training_data_lack_is_named_and_the_advice_works(tmp_path):
    """Naming all labels where the training data are read: of texts, and of words."""
    training, held_out = [{"text": "a", "label": "x"}], [{"text": "b", "label": "y"}]
    read = text_classification(training, ByteTokenizer())
    refuses(
        "record 1: the label is 'y': expected one of these 1: 'x'",
        text_classification,
        held_out,
        ByteTokenizer(),
        labels=read.labels,
    )
    read = text_classification(training, ByteTokenizer(), labels=["x", "y"])
    assert text_classification(held_out, ByteTokenizer(), labels=read.labels).row_features[features.LABELS].tolist() == [1]
    (tmp_path / "train.txt").write_text("EU B-ORG\nwon O\n")
    (tmp_path / "test.txt").write_text("Ada B-PER\nwon O\n\n. O\n")
    words = tagging(tmp_path / "train.txt", ByteTokenizer())
    message = "test.txt, line 1, word 1: the label is 'B-PER': expected one of these 3: 'B-ORG', 'I-ORG', 'O'"
    refuses(message, tagging, tmp_path / "test.txt", ByteTokenizer(), labels=words.labels)
    words = tagging(tmp_path / "train.txt", ByteTokenizer(), labels=[*words.labels, "B-PER"])
    assert len(tagging(tmp_path / "test.txt", ByteTokenizer(), labels=words.labels)) == 2
    (tmp_path / "nothing.txt").write_text("won O\n. O\n")
    assert tagging(tmp_path / "nothing.txt", ByteTokenizer(), labels=words.labels).labels == words.labels


def test_texts_with_different_labels_are_counted():
    rows = [{"text": text, "label": label} for text, label in (("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("b", "x"))]
    with pytest.warns(
        UserWarning,
        match="1 texts have different labels in different rows; the first, 'a', is 'x' at record 1 and 'y' at record 3",
    ):
        text_classification(rows, ByteTokenizer())


def test_numbers():
    for value, number in ((2, 2.0), (" 0.5 ", 0.5), ("1e-3", 1e-3), (np.float32(0.5), 0.5)):
        assert read_number(value, "y", "line 1") == number
    for value in ("nan", "inf", float("nan"), "", None, "two", True, [1], "1_000"):
        refuses("line 1: the column 'y' is", read_number, value, "y", "line 1")
        refuses("expected a finite number. Correct it, or remove the row", read_number, value, "y", "line 1")
    for value in (1e39, "-1e39", 3.41e38, 2**128):
        refuses("expected a number up to 3.4e+38, the largest of float32. Scale the numbers", read_number, value, "y", "line 1")
    assert read_number(float(np.finfo(np.float32).max), "y", "line 1") == np.finfo(np.float32).max
    for value in ("0,5", "1,234.5"):
        refuses("Write it with a point, and no comma", read_number, value, "y", "line 1")
    assert read_texts([{"text": "a", "y": "0.5"}], number="y")[0].number == 0.5
