"""What the two recipes of masked pretraining do themselves; the rest of them is the package's."""

from math import isclose
from types import SimpleNamespace

import compare_pretraining
import pretrain_masked_mini

PIECES = {"blocks", "and"}
TOKENIZER = SimpleNamespace(encode=lambda word: [1] if word in PIECES else [1, 2])


def test_a_blank_is_the_middle_word_of_a_plain_sentence():
    held_out = [
        "Sizes\n===\nThe first number of every line\ngives blocks that the new device can hold. It is",
        "This sentence has eleven words, and the middle one is short. Here the middle one of eleven words is many pieces.",
        "Too short. `Code` is not plain, however long the sentence that it stands in may be.",
    ]
    assert [(blank.text, blank.word) for blank in pretrain_masked_mini.blanks(held_out, TOKENIZER)] == [
        ("The first number of every line gives [MASK] that the new device can hold.", "blocks"),
    ]


def test_two_sides_are_compared_by_their_spread():
    found = compare_pretraining.compared([0.80, 0.82], [0.88, 0.90])
    assert isclose(found["difference"], 0.08)
    assert isclose(found["standard_error"], 0.0141, abs_tol=5e-5)
    assert isclose(found["gap"], 0.06)
    rows = compare_pretraining.table(found).splitlines()
    assert rows[0] == "| first weights | mean | deviation | seed 0 | seed 1 |"
    assert rows[2] == "| random | 81.00 | 1.41 | 80.00 | 82.00 |"
    assert rows[3] == "| pretrained | 89.00 | 1.41 | 88.00 | 90.00 |"
    assert rows[-1].startswith("Pretraining gives +8.00 points (standard error 1.41); ")
