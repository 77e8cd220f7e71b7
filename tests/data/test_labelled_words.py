"""Labelled words: literal rows, long sentences in windows, and predictions back to the file's words."""

import re

import numpy as np
import pytest
import tensorflow as tf
from encoder_like import BertLike, Deaf, RobertaLike, letters

from tfllm import features
from tfllm.data.labelled import tagging
from tfllm.data.labelled.conll_files import Sentence
from tfllm.text.words import split_words, word_pieces
from tfllm.tokenizers import ByteTokenizer


def sentence(*pairs):
    words, labels = zip(*(pair.split("/") for pair in pairs), strict=True)
    return Sentence(words, labels, (True,) * len(words), "f, line 1")


def rows_of(found):
    """Each row as the model sees it, and the label of each weighted place under it."""
    for batch in found.batches(1, shuffle=False, repeat=False):
        text = letters(batch[features.TOKEN_IDS][0]).rstrip("_")
        weights = batch[features.TARGET_WEIGHTS][0].numpy()
        targets = batch[features.TARGET_IDS][0].numpy()
        yield text, {place: found.labels[targets[place]] for place in np.flatnonzero(weights)}


def test_as_in_the_docstring():
    found = tagging([sentence("U.S./B-LOC", "won/O")], ByteTokenizer())
    assert (found.task, found.labels) == ("token_classifier", ("B-LOC", "I-LOC", "O"))
    assert found.first.values.tolist() == [88, 49, 86, 49, 35, 122, 114, 113]
    assert found.token_features[features.TARGET_IDS].tolist() == [0, 1, 1, 1, 2, 0, 0, 0]
    assert found.token_features[features.TARGET_WEIGHTS].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_predictions_come_back_as_in_the_docstring():
    found = tagging([sentence("U.S./B-LOC", "won/O")], ByteTokenizer(), labels=["a", "b", "c", "B-LOC", "I-LOC", "O"])
    assert found.by_sentence([np.array([0, 3, 4, 4, 4, 5, 0])]) == [["B-LOC", "O"]]
    with pytest.raises(ValueError, match="2 rows of predictions: expected 1"):
        found.by_sentence([np.zeros(9, int)] * 2)


def test_rows_and_padding():
    found = tagging([sentence("a-b/NOUN", "c/VERB"), sentence("d/NOUN")], BertLike())
    assert list(rows_of(found)) == [("[a-bc]", {1: "NOUN", 2: "NOUN", 3: "NOUN", 4: "VERB"}), ("[d]", {1: "NOUN"})]
    *_, last = found.batches(4, shuffle=False, repeat=False)
    assert last[features.TARGET_WEIGHTS].numpy().sum(axis=1).tolist() == [4, 1, 0, 0]
    assert last[features.ROW_WEIGHTS].numpy().tolist() == [1, 1, 0, 0]


def test_spaces_are_those_of_the_text():
    unspaced = Sentence(("(", "a", ")"), ("P", "N", "P"), (False, False, True), "f, line 1")
    (row,) = rows_of(tagging([unspaced], RobertaLike()))
    assert row == ("[(a)]", {1: "P", 2: "N", 3: "P"})
    (row,) = rows_of(tagging([sentence("(/P", "a/N")], RobertaLike()))
    assert row == ("[( a]", {1: "P", 2: "N"})


@pytest.mark.parametrize("tokenizer", [BertLike, RobertaLike])
def test_what_is_trained_is_what_is_served(tokenizer):
    """The ids of a labelled sentence are those of its text, split and cut as the served model does it."""
    found = tagging([sentence("Mr./B-PER", "O'Neil-Ğ/I-PER", "中文/O", "10%/O", "é\u0301/O")], tokenizer(), max_length=12)
    served = split_words(tf.constant([found.records[0].text]), keep_spaces=tokenizer.keeps_spaces)
    pieces = word_pieces(served.strings, tokenizer(), 12)
    assert pieces.ids.values.numpy().tolist() == found.first.values.tolist()
    assert pieces.ids.row_splits.numpy().tolist() == found.first.splits.tolist()
    assert (found.token_features[features.TARGET_WEIGHTS] > 0).tolist() == pieces.firsts.values.numpy().tolist()


def test_an_entity_goes_on_with_i_where_there_is_one():
    (row,) = rows_of(tagging([sentence("a-b/B-X")], BertLike(), labels=["B-X", "O"]))
    assert row == ("[a-b]", {1: "B-X"})
    (row,) = rows_of(tagging([sentence("a-b/B-X")], BertLike()))
    assert row == ("[a-b]", {1: "B-X", 2: "I-X", 3: "I-X"})


def test_sentences_given_are_read_as_a_file_is():
    found = tagging([sentence("Ada/I-PER", "won/O"), sentence("EU/I-ORG", "UN/B-ORG")], BertLike())
    assert found.labels == ("B-ORG", "B-PER", "I-ORG", "I-PER", "O")
    assert [one.labels for one in found.records] == [("B-PER", "O"), ("B-ORG", "B-ORG")]
    assert next(iter(rows_of(found))) == ("[Adawon]", {1: "B-PER", 4: "O"})
    with pytest.raises(ValueError, match=r"f, line 1, word 2 \('b'\): the tag is 'o': expected a tag"):
        tagging([sentence("a/B-X", "b/o")], BertLike())


def test_long_sentences_go_on_in_another_row_and_nothing_is_lost():
    labels = ["N", "V", "D"]
    sentences = [
        Sentence(
            tuple("w" * (1 + (number * place) % 7) for place in range(number % 40 + 1)),
            tuple(labels[(number + place) % 3] for place in range(number % 40 + 1)),
            (True,) * (number % 40 + 1),
            "f, line 1",
        )
        for number in range(2100)  # more than two chunks
    ]
    found = tagging(sentences, BertLike(), max_length=16)
    assert found.first.lengths.max() <= 14
    assert len(found) > len(sentences)
    assert np.all(np.diff(found.record_of) >= 0)
    assert np.array_equal(np.unique(found.record_of), np.arange(len(sentences)))
    targets = found.token_features[features.TARGET_IDS]
    predicted = [
        np.array([0, *targets[begin:end], 0]) for begin, end in zip(found.first.splits, found.first.splits[1:], strict=False)
    ]
    assert found.by_sentence(predicted) == [list(sentence.labels) for sentence in sentences]
    # A word's row is a row of its own sentence.
    assert found.record_of[found.word_rows].tolist() == [
        number for number, sentence in enumerate(sentences) for _ in sentence.words
    ]


def test_words_that_leave_no_piece_still_count():
    """A word that no model sees has the label of the word before it."""
    with pytest.warns(UserWarning, match="1 of 1 sentences have words that `predict` joins with the word before"):
        found = tagging([sentence("x/N", "a/V", "\u0085/D", "axb/N")], Deaf())
    (row,) = rows_of(found)
    assert row == ("[?aab]", {1: "N", 2: "V", 3: "N"})
    assert found.by_sentence([np.array([0, *found.token_features[features.TARGET_IDS], 0])]) == [["N", "V", "V", "N"]]
    with pytest.raises(ValueError, match=r"f, line 1: the sentence '\\x85' has no visible character. Remove it."):
        tagging([sentence("a/N"), sentence("\u0085/D")], Deaf())


def test_class_weights_count_words():
    found = tagging([sentence("aa/N", "b/N", "c/N", "d/V")], BertLike())
    assert found.class_weights().tolist() == [0.5, 1.5]
    (batch,) = found.batches(1, shuffle=False, repeat=False, class_weights=found.class_weights())
    assert batch[features.TARGET_WEIGHTS][0].numpy()[:8].tolist() == [0, 0.5, 0, 0.5, 0.5, 1.5, 0, 0]


def test_files_and_wrong_labels(tmp_path):
    (tmp_path / "t.txt").write_text("EU I-ORG\nwon O\n\nAda I-PER\n")
    found = tagging(tmp_path / "t.txt", BertLike())
    assert found.labels == ("B-ORG", "B-PER", "I-ORG", "I-PER", "O")
    (tmp_path / "held_out.txt").write_text("EU B-ORG\nMay B-DATE\n")
    message = f"{tmp_path / 'held_out.txt'}, line 1, word 2: the label is 'B-DATE': expected one of these 5"
    with pytest.raises(ValueError, match=re.escape(message)):
        tagging(tmp_path / "held_out.txt", BertLike(), labels=found.labels)
