"""What a tagger is trained on is what `predict` makes of the text, for every kind of tokenizer; and scores on text."""

import numpy as np
import pytest
from encoders import ENTITIES, strong
from entity_reference import entities

import tfllm
from tfllm import data
from tfllm.data.labelled.conll_files import Sentence
from tfllm.finetuning import evaluator
from tfllm.train.scores import accuracy_on_text, f1_on_text

FILE = """\
He O
went O
to O
Bonn B-LOC
( O
Germany B-LOC
) O
, O
not O
to O
" O
Rome B-LOC
" O
. O

naïve B-PER
U.S. I-PER
中 B-LOC
文 I-LOC
10 O
% O
"""
TEXTS = ['He went to Bonn (Germany), not to "Rome".', "naïve U.S.中文10%"]
SPLIT = [
    ["He", " went", " to", " Bonn", " (", "Germany", ")", ",", " not", " to", ' "', "Rome", '"', "."],
    ["naïve", " U", ".", "S", ".", "中", "文", "10", "%"],
]
"""The words of the texts, by hand."""


@pytest.fixture
def rows(any_tokenizer, tmp_path):
    (tmp_path / "train.txt").write_text(FILE)
    return data.tagging(tmp_path / "train.txt", any_tokenizer, labels=ENTITIES, max_length=48)


def test_a_sentence_is_trained_on_the_ids_that_predict_makes_of_its_text(rows, any_tokenizer):
    assert [sentence.text for sentence in rows.records] == TEXTS
    words = [word if any_tokenizer.keeps_spaces else word.strip() for row in SPLIT for word in row]
    assert rows.first.values.tolist() == [id for word in words for id in any_tokenizer.encode(word)]


def test_predictions_on_text_are_those_on_the_files_own_words(rows, any_tokenizer):
    model = strong("token_classifier", any_tokenizer)
    model.set_max_length(48)
    outputs = [
        row.argmax(-1)
        for batch in rows.batches(len(rows), shuffle=False, repeat=False)
        for row in np.asarray(model(batch))[: len(rows)]
    ]
    by_text, by_words = rows.by_text(outputs), rows.by_sentence(outputs)
    for number, found in enumerate(tfllm.predict(model, any_tokenizer, TEXTS)):
        starts, ends, tags = zip(*by_text[number], strict=True)
        expected = entities(TEXTS[number], starts, ends, tags, [1.0] * len(tags))
        assert [*zip(found["label"], found["start"], found["end"], strict=True)] == [
            (each.label, each.start, each.end) for each in expected
        ]
        # The file's word says what its first part in the text says.
        said = {start: tag for start, _, tag in by_text[number]}
        assert by_words[number] == [said[start] for start, _, _ in rows.truth_by_text()[number]]
    assert any(tag != "O" for tags in by_words for tag in tags)


def test_single_spaces_are_those_of_files_that_are_asked_so(any_tokenizer, tmp_path):
    (tmp_path / "train.txt").write_text(FILE)
    found = data.tagging(tmp_path / "train.txt", any_tokenizer, labels=ENTITIES, max_length=48, spaces="single")
    assert found.records[0].text == 'He went to Bonn ( Germany ) , not to " Rome " .'
    with pytest.raises(ValueError, match="spaces='none' is invalid: expected 'restored', 'single', or None"):
        data.tagging(tmp_path / "train.txt", any_tokenizer, spaces="none")


def test_conllu_says_its_spaces_itself(trained, tmp_path):
    lines = [("Bonn", "_"), ("(", "_"), ("U.S.", "SpaceAfter=No"), ("!", "_")]
    rows = [f"{number}\t{word}\t_\tX\t_\t_\t_\t_\t_\t{misc}" for number, (word, misc) in enumerate(lines, 1)]
    (tmp_path / "train.conllu").write_text("\n".join(rows) + "\n")
    assert data.tagging(tmp_path / "train.conllu", trained["bytes"]).records[0].text == "Bonn ( U.S.!"
    restored = data.tagging(tmp_path / "train.conllu", trained["bytes"], spaces="restored")
    assert restored.records[0].text == "Bonn (U.S.!"


def sentence(words, labels, spaced):
    return Sentence(tuple(words.split()), tuple(labels.split()), spaced, "f, line 1")


def test_words_inside_a_run_of_letters_share_its_label_and_are_counted(trained):
    """ "can" "not" are one word in a text, "서울" "에" too."""
    fine = sentence("서울 시 에", "B-LOC I-LOC O", (False, True, True))
    mixed = sentence("서울 에 산다", "B-LOC O O", (False, True, True))
    with pytest.warns(UserWarning, match=r"1 of 2 sentences have words that `predict` joins with.*: f, line 1, '서울에 산다'"):
        rows = data.tagging([fine, mixed], trained["bytes"], labels=ENTITIES)
    assert rows.exact.tolist() == [True, False]
    gold = [np.array([0, *part, 0]) for part in np.split(rows.token_features["target_ids"], rows.first.splits[1:-1])]
    assert rows.by_sentence(gold) == [["B-LOC", "I-LOC", "O"], ["B-LOC", "I-LOC", "O"]]
    assert rows.by_text(gold) == [[(0, 3, "B-LOC"), (4, 5, "O")], [(0, 3, "B-LOC"), (4, 6, "O")]]


def test_rows_of_words_as_in_the_docstring(trained):
    contracted = sentence("do n't", "NOUN VERB", (False, True))
    rows = data.tagging([contracted, sentence("can not", "X X", (False, True))], trained["bytes"])
    assert [rows.records[0].text[a:b] for a, b in zip(rows.parts.starts[:3], rows.parts.ends[:3], strict=True)] == [
        "don",
        "'",
        "t",
    ]
    gold = [np.array([0, *part, 0]) for part in np.split(rows.token_features["target_ids"], rows.first.splits[1:-1])]
    assert rows.by_text(gold) == [[(0, 3, "NOUN"), (3, 4, "VERB"), (4, 5, "VERB")], [(0, 6, "X")]]
    assert rows.by_sentence(gold) == [["NOUN", "VERB"], ["X", "X"]]
    assert rows.exact.all() and rows.truth_by_text()[0] == [(0, 2, "NOUN"), (2, 5, "VERB")]


def test_scores_on_text_are_of_characters(trained):
    assert f1_on_text([[(0, 1, "B-LOC"), (1, 4, "O")]], [[(0, 4, "B-LOC")]]) == 0
    assert f1_on_text([[(0, 1, "B-LOC"), (1, 4, "I-LOC")]], [[(0, 4, "B-LOC")]]) == 1
    assert f1_on_text([[(0, 1, "O")]], [[(0, 1, "O")]]) == 0
    assert f1_on_text([[(0, 1, "B-A")], [(0, 1, "B-A")]], [[(0, 1, "B-A")], [(0, 1, "O")]]) == pytest.approx(2 / 3)
    assert accuracy_on_text([[(0, 2, "VERB"), (2, 3, "X")]], [[(0, 3, "VERB")]]) == 0
    assert accuracy_on_text([[(0, 2, "A"), (3, 4, "A")]], [[(0, 1, "A"), (1, 2, "A"), (3, 4, "B")]]) == pytest.approx(2 / 3)
    # "U.S." of which the first part alone is tagged: right by the file's words, wrong on text.
    rows = data.tagging([sentence("U.S. won", "B-LOC O", (True, True))], trained["bytes"], labels=ENTITIES, max_length=48)
    model = strong("token_classifier", trained["bytes"])
    outputs = np.zeros([1, 16, len(ENTITIES)])
    outputs[0, :, 0] = 1
    outputs[0, 1, ENTITIES.index("B-LOC")] = 2
    found = tfllm.finetuning.evaluation.evaluate_words(model, rows, lambda batch: outputs, 1).scores
    assert (found["f1"], found["f1_on_text"]) == (1, 0)
    assert "f1_on_text" in evaluator(model, rows)().scores
