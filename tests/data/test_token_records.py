"""Records of tokens and tags, as Hugging Face's datasets write them: what is read, and what is named."""

import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tfllm.data.labelled import tagging
from tfllm.data.labelled.conll_files import Sentence
from tfllm.data.labelled.token_records import LABEL_COLUMNS, read_tokens
from tfllm.tokenizers import ByteTokenizer

RECORDS = [
    {"id": "0", "tokens": ["EU", "rejects", "German", "call", "."], "ner_tags": [3, 0, 7, 0, 0]},
    {"id": "1", "tokens": ["Peter", "Blackburn"], "ner_tags": [1, 2]},
]
NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
"""Of `conll2003`'s `ner_tags`, in their order."""
TAGS = [("B-ORG", "O", "B-MISC", "O", "O"), ("B-PER", "I-PER")]


def forms(folder):
    """The records in every form, with the place of the second."""
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder / "t.jsonl").write_text(lines)
    (folder / "t.json").write_text(json.dumps(RECORDS, indent=1))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), folder / "t.parquet")
    yield folder / "t.jsonl", f"{folder}/t.jsonl, line 2"
    yield folder / "t.json", f"{folder}/t.json, record 2"
    yield folder / "t.parquet", f"{folder}/t.parquet, row 2"
    yield RECORDS, "record 2"
    yield [{name: np.array(value) for name, value in record.items() if name != "id"} for record in RECORDS], "record 2"


def refuses(message, records, **options):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_tokens(records, **options)


def test_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"tokens": ["EU", "rejects"], "ner_tags": ["I-ORG", "O"]}\n')
    sentence = Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.jsonl, line 1")
    assert read_tokens("train.jsonl") == [sentence]
    (tmp_path / "train.jsonl").write_text('{"tokens": ["EU", "rejects"], "ner_tags": [1, 0]}\n')
    assert read_tokens("train.jsonl", names=["O", "B-ORG"]) == [sentence]


def test_every_form_says_the_same(tmp_path):
    for source, place in forms(tmp_path):
        found = read_tokens(source, names=NAMES)
        assert [sentence.words for sentence in found] == [tuple(record["tokens"]) for record in RECORDS]
        assert [sentence.labels for sentence in found] == TAGS
        assert found[1].place == place
        rows = tagging(source, ByteTokenizer(), labels=NAMES)
        assert rows.labels == tuple(NAMES)  # a number stays the number of its class
        assert [sentence.text for sentence in rows.records] == ["EU rejects German call.", "Peter Blackburn"]
        assert [labels for _, _, labels in rows.truth_by_text()[1]] == ["B-PER", "I-PER"]


def test_advice_on_numbers_is_followed(tmp_path):
    for source, place in forms(tmp_path):
        with pytest.raises(ValueError, match=r"word 1: the label is the number 3, not a name") as error:
            tagging(source, ByteTokenizer())
        assert "labels=[…]" in str(error.value) and "dataset.features['ner_tags'].feature.names" in str(error.value)
        with pytest.raises(
            ValueError, match=r"word 3: the label is the number 7: expected 0 to 6, since labels=\[…\] has 7 names"
        ):
            tagging(source, ByteTokenizer(), labels=NAMES[:-2])
        assert place


@pytest.mark.parametrize("column", LABEL_COLUMNS)
def test_names_of_the_label_column(column):
    (sentence,) = read_tokens([{"tokens": ["a", "b"], column: ["NOUN", "VERB"], "lemmas": ["a", "b"]}])
    assert sentence.labels == ("NOUN", "VERB")


def test_several_columns_of_labels_are_named_and_the_advice_works():
    record = {"tokens": ["EU"], "pos_tags": ["NNP"], "ner_tags": ["B-ORG"], "upos": ["PROPN"], "form": ["eu"]}
    message = (
        "record 1: of the columns 'tokens', 'pos_tags', 'ner_tags', 'upos', 'form', 'ner_tags' and 'pos_tags' may hold the "
        "labels. Name one: column='ner_tags'."
    )
    refuses(message, [record])
    assert read_tokens([record], column="ner_tags")[0].labels == ("B-ORG",)
    assert read_tokens([record], column="upos", word_column="form")[0] == Sentence(("eu",), ("PROPN",), (True,), "record 1")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a"], "upos": ["X"]}, "none of 'ner_tags', 'tags', 'labels', 'pos_tags' may hold the labels. Name one"),
        ({"words": ["a"], "tags": ["X"]}, "there is no column 'tokens', only 'words', 'tags'. Name it: word_column=…"),
        ({"tokens": ["a", "b"], "tags": ["X"]}, "2 words and 1 labels: expected one label for each word"),
        ({"tokens": "a b", "tags": ["X", "X"]}, "the column 'tokens' is 'a b': expected a list"),
        ({"tokens": ["a"], "tags": "X"}, "the column 'tags' is 'X': expected a list"),
        ({"tokens": [], "tags": []}, "the column 'tokens' is []: expected a list of one word or more"),
        ({"tokens": None, "tags": []}, "the column 'tokens' is None: expected a list"),
        ({"tokens": ["a", " "], "tags": ["X", "X"]}, "record 1, word 2: no word, or no label: ' ', 'X'"),
        ({"tokens": ["a", 3], "tags": ["X", "X"]}, "record 1, word 2: no word, or no label: 3, 'X'"),
        ({"tokens": ["a"], "tags": [""]}, "record 1, word 1: no word, or no label: 'a', ''"),
        ({"tokens": ["a"], "tags": [None]}, "record 1, word 1: the label is None: expected a string, or a number with labels"),
        ({"tokens": ["a"], "tags": [1.0]}, "record 1, word 1: the label is 1.0: expected a string, or a number with labels"),
        ({"tokens": ["a"], "tags": [True]}, "record 1, word 1: the label is True: expected"),
        (
            {"tokens": ["a"], "tags": [-100]},
            "record 1, word 1: the label is the number -100: expected 0 to 1, since labels=[…] has 2 names",
        ),
        ({"tokens": ["a"], "tags": [["X"]]}, "record 1, word 1: the label is ['X']: expected"),
        ({"tokens": ["a", "b"], "tags": ["B-X", "b-X"]}, "record 1, word 2 ('b'): the tag is 'b-X'"),
        ({"tokens": ["a\ud800"], "tags": ["X"]}, "record 1: character 1 is the lone surrogate U+D800"),
        (["a"], "record 1 is ['a']: expected a mapping"),
    ],
)
def test_what_is_wrong_is_named(record, message):
    refuses(message, [record], names=["O", "B-X"])


def test_columns_have_names():
    refuses("the records given: column=2 is invalid: expected the name of a column", RECORDS, column=2)
    refuses("the records given: word_column=1 is invalid: expected the name of a column", RECORDS, word_column=1)
    refuses("the records given holds no record", [])


def test_other_schemes():
    names = ["O", "B-PER", "I-PER", "E-PER", "S-PER"]
    strings = [{"tokens": ["Ada", "Lovelace", "met", "Bob"], "tags": ["B-PER", "E-PER", "O", "S-PER"]}]
    rows = tagging(strings, ByteTokenizer(), labels=names)
    assert (rows.labels, rows.records[0].labels) == (("O", "B-PER", "I-PER"), ("B-PER", "I-PER", "O", "B-PER"))
    numbers = [{"tokens": ["Ada", "Lovelace", "met", "Bob"], "tags": [1, 3, 0, 4]}]
    refuses("word 1: the label is the number 1, but labels=[…] names tags of another scheme than IOB2", numbers, names=names)
