"""The advice of every message about records of labelled words, followed as a user would."""

import pytest
from advice import follow

from tfllm.data.labelled.token_records import read_tokens

GOOD = {"tokens": ["EU", "won"], "ner_tags": ["B-ORG", "O"]}
NUMBERS = GOOD | {"ner_tags": [1, 0]}


def read(record, **options):
    found = read_tokens([GOOD, GOOD | record] if record else [GOOD], **options)
    return {(each.words, each.labels) for each in found} == {(("EU", "won"), ("B-ORG", "O"))}


@pytest.mark.parametrize(
    ("words", "wrong", "right", "first", "then"),
    [
        (" is invalid: expected the name of a column. Give one", {}, {}, dict(column=1), dict(column="ner_tags")),
        (" may hold the labels. Name one: ", {"tags": ["O", "O"]}, {"tags": ["O", "O"]}, {}, dict(column="ner_tags")),
        (": expected one label for each word.", {"ner_tags": ["O"]}, {"ner_tags": ["B-ORG", "O"]}, {}, {}),
        (". Name it: ", {}, {}, dict(word_column="words"), dict(word_column="tokens")),
        (" word or more. Correct it, or remove the record.", {"tokens": []}, {}, {}, {}),
        (" word or more. Correct it, or remove the record.", {"tokens": "EU won"}, GOOD, {}, {}),
        (": expected a string, or a number with labels=[…].", {"ner_tags": [None, "O"]}, GOOD, {}, {}),
        (": expected a string, or a number with labels=[…].", {"ner_tags": [1.5, 0]}, NUMBERS, {}, dict(names=["O", "B-ORG"])),
        (", not a name. Give the names in the order of ", NUMBERS, NUMBERS, {}, dict(names=["O", "B-ORG"])),
        (". Name all labels, or remove the record.", NUMBERS, NUMBERS, dict(names=["O"]), dict(names=["O", "B-ORG"])),
        (". Name all labels, or remove the record.", NUMBERS, {}, dict(names=["O"]), dict(names=["O"])),
        ("Fill it in, or name other columns: ", {"tokens": ["", "won"]}, GOOD, {}, {}),
        ("Fill it in, or name other columns: ", {"ner_tags": ["", "O"], "b": ["B-ORG", "O"]}, {}, {}, dict(column="ner_tags")),
    ],
)  # fmt: skip
def test_records_of_words(words, wrong, right, first, then):
    follow(words, lambda: read(wrong, **first), lambda: read(right, **then))


def test_other_columns_and_names():
    record = {"tokens": ["", ""], "words": ["EU", "won"], "tags": ["B-ORG", "O"]}
    follow(
        "Fill it in, or name other columns: ", lambda: read_tokens([record]), lambda: read_tokens([record], word_column="words")
    )
    numbers = {"tokens": ["EU"], "ner_tags": [1]}
    follow("dataset.features[", lambda: read_tokens([numbers]), lambda: read_tokens([numbers], names=["O", "B-ORG"]))
    spelled = lambda: read_tokens([numbers | {"ner_tags": ["S-ORG"]}])[0].labels == ("B-ORG",)  # noqa: E731
    follow(" other schemes as strings.", lambda: read_tokens([numbers], names=["O", "S-ORG", "B-ORG", "E-ORG"]), spelled)
