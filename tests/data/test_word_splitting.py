"""Words and their characters, held against a plain Python reading of the same rules; pieces of words; long texts."""

import random
import re
import unicodedata

import pytest
import tensorflow as tf
from encoder_like import BertLike, Deaf, RobertaLike

from tfllm.text import unicode_scripts, words
from tfllm.tokenizers import ByteTokenizer


def split(*texts, keep_spaces=False):
    found = words.split_words(tf.constant(texts, tf.string), keep_spaces=keep_spaces)
    rows = zip(found.strings.to_list(), found.starts.to_list(), found.ends.to_list(), strict=True)
    return [list(zip([word.decode() for word in row[0]], *row[1:], strict=True)) for row in rows]


WITHOUT_SPACES = {"HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}
"""First words of the names of characters."""


def by_hand(text):
    """The rule, a character at a time."""
    found, before = [], "space"
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if character.isspace() or category == "Cc":
            before = "space"
            continue
        if category[0] == "M" or category == "Cf":
            if before != "space":
                found[-1][2] = place + 1
                continue
            kind = "letter"
        elif (
            category[0] in "PS"
            or any(low <= ord(character) <= high for low, high in unicode_scripts.CHINESE)
            or (category[0] == "L" and re.split("[ -]", unicodedata.name(character, ""))[0] in WITHOUT_SPACES)
        ):
            kind = "alone"
        else:
            kind = "letter"
        if kind == "letter" and before == "letter":
            found[-1][2] = place + 1
        else:
            found.append([None, place, place + 1])
        before = kind
    return [(text[start:end], start, end) for _, start, end in found]


def test_as_in_the_docstring():
    text = "Été, d'or  中文"
    starts, ends = [0, 3, 5, 6, 7, 11, 12], [3, 4, 6, 7, 9, 12, 13]
    assert split(text) == [list(zip(["Été", ",", "d", "'", "or", "中", "文"], starts, ends, strict=True))]
    spaced = ["Été", ",", " d", "'", "or", "  中", "文"]
    assert split(text, keep_spaces=True) == [list(zip(spaced, starts, ends, strict=True))]


def test_scripts_without_spaces_are_words_by_character():
    rows = split("パリ 10กี่", "彼はパリに住む", "แมวสีดำนอน", "그는 서울에 산다")
    assert [[word for word, *_ in row] for row in rows] == [
        ["パ", "リ", "10", "กี่"],
        ["彼", "は", "パ", "リ", "に", "住", "む"],
        ["แ", "ม", "ว", "สี", "ด", "ำ", "น", "อ", "น"],
        ["그는", "서울에", "산다"],
    ]


def test_invalid_utf8_becomes_a_symbol_of_one_character():
    (row,) = split(b"a\xff b\xe4\xb8")
    assert row == [("a", 0, 1), ("\ufffd", 1, 2), ("b", 3, 4), ("\ufffd", 4, 5)]


def test_marks_belong_to_what_is_before_them():
    texts = ["e\u0301te\u0301", "😀\ufe0fz", " \u0301q ", "\u0301", "न\u094dय", "a\u200db", "\u200d", "x\0y\u0085z"]
    for text, found in zip(texts, split(*texts), strict=True):
        assert found == by_hand(text)
    assert [[word for word, *_ in row] for row in split(*texts[:2])] == [["e\u0301te\u0301"], ["😀\ufe0f", "z"]]


def test_any_text_in_any_company_is_split_by_the_rule():
    draw = random.Random(0)
    alphabet = "aB9é\u0301\u0308中あア가ß½€$.,'-_ \t\n\u00a0\u2003\u200b\u200d\0\u0085😀👍🏽ๆไก\u0e31नि서กิ๕"
    alphabet += "ຂ\u0ebaក\u17d2ម\u1039ー々"
    alphabet += "\U00020000\U0001d400\ufffd\ue000\u0378"
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(12))) for _ in range(2000)]
    for text, found, spaced in zip(texts, split(*texts), split(*texts, keep_spaces=True), strict=True):
        assert found == by_hand(text)
        assert [span[1:] for span in spaced] == [span[1:] for span in found]
        # With their spaces the words are the whole text, up to its last word.
        assert "".join(word for word, *_ in spaced) == text[: found[-1][2] if found else 0]


def test_nothing_at_all():
    assert split() == []
    assert split("", " \n") == [[], []]
    assert split("", "a", "", keep_spaces=True) == [[], [("a", 0, 1)], []]


def pieces(rows, tokenizer, max_length):
    flat = tf.constant([word for row in rows for word in row], tf.string)
    found = words.word_pieces(tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows]), tokenizer, max_length)
    return found.texts.numpy().tolist(), found.ids.to_list(), found.words.to_list(), found.firsts.to_list()


def test_pieces_as_in_the_docstring():
    texts, ids, numbers, firsts = pieces([["play", "ing"], ["cat"]], ByteTokenizer(), 8)
    assert texts == [0, 0, 1]
    assert ids == [[115, 111, 100, 124], [108, 113, 106], [102, 100, 119]]
    assert numbers == [[0, 0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert firsts == [[1, 0, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_every_word_has_one_first_piece_and_rows_are_full():
    draw = random.Random(1)
    rows = [["w" * draw.randrange(1, 9) for _ in range(draw.randrange(30))] for _ in range(60)]
    texts, ids, numbers, firsts = pieces(rows, BertLike(), 10)
    assert texts == sorted(texts)
    seen = [[] for _ in rows]
    before, room = -1, 0
    for text, row, words_of, first in zip(texts, ids, numbers, firsts, strict=True):
        lengths = {word: min(len(rows[text][word]), 8) for word in dict.fromkeys(words_of)}
        assert words_of == [word for word, length in lengths.items() for _ in range(length)]
        assert first == [place == 0 for length in lengths.values() for place in range(length)]
        assert len(row) == sum(lengths.values()) <= 8
        if text == before:
            # What opens this row had no place in the one before.
            assert room + min(len(rows[text][words_of[0]]), 8) > 8
        seen[text] += lengths
        before, room = text, len(row)
    assert seen == [list(range(len(row))) for row in rows]


def test_a_word_without_pieces_is_the_unknown_id():
    assert pieces([["ax", "x", "b"]], Deaf(), 16) == ([0], [[107, 3, 108]], [[0, 1, 2]], [[True, True, True]])


def test_without_a_limit_each_text_is_a_row():
    texts, ids, *_ = pieces([["a" * 5000], [], ["b"]], RobertaLike(), None)
    assert texts == [0, 1, 2]
    assert [len(row) for row in ids] == [5000, 0, 1]


def test_no_place_for_text_is_refused():
    with pytest.raises(ValueError, match="max_length=2 is invalid: expected at least 3"):
        pieces([["a"]], BertLike(), 2)


def test_one_graph_serves_all_shapes():
    tokenizer = RobertaLike()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(texts):
        found = words.word_pieces(words.split_words(texts, keep_spaces=True).strings, tokenizer, 8)
        return found.ids, found.texts

    for texts in ([], [""], ["one two three", "", "four"], ["a" * 50]):
        ids, numbers = serve(tf.constant(texts, tf.string))
        assert b"".join(bytes(id - 10 for id in row) for row in ids.to_list()).decode() == "".join(
            "a" * 6 if len(text) == 50 else text for text in texts
        )
        assert numbers.shape[0] == ids.nrows()
