"""The graph cuts words as the `tokenizers` library does: every code point, alone and in context, and marks in any order."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tfllm.tokenizers.bert_character_tables import TextSettings, tables_of
from tfllm.tokenizers.bert_pre_tokenizer import normalized, words_of

UNCASED = TextSettings(lowercase=True, strip_accents=True, split_cjk=True)
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
MARKS = [character for character in CHARACTERS if unicodedata.category(character)[0] == "M"]


def cut(texts: Sequence[str], chosen: TextSettings | None) -> list[list[str]]:
    """Words of each text, by the graph."""
    import tensorflow as tf

    found = words_of(tf.constant([text.encode() for text in texts]), chosen)
    words = [word.decode() for word in found.words.numpy()]
    assert [len(word) for word in words] == found.characters.numpy().tolist()
    chunk_splits, chunks = found.chunk_splits.numpy(), found.chunks.numpy()
    splits = found.text_splits.numpy()
    return [
        [word for chunk in chunks[begin:end] for word in words[chunk_splits[chunk] : chunk_splits[chunk + 1]]]
        for begin, end in pairwise(splits)
    ]


def assert_same_words(texts: Sequence[str], chosen: TextSettings) -> None:
    import tensorflow as tf

    normalizer, pre_tokenizer = chosen.normalizer(), pre_tokenizers.BertPreTokenizer()
    normal = [normalizer.normalize_str(text) for text in texts]
    wanted = [[word for word, _ in pre_tokenizer.pre_tokenize_str(text)] for text in normal]
    for text, words, others in zip(texts, wanted, cut(texts, chosen), strict=True):
        assert words == others, ascii(text)
    # The other way, with a look at the normalized text between: some of them, for it cuts every text anew.
    for text, found in zip(normal[::5], normalized(tf.constant(texts[::5]), chosen).numpy(), strict=True):
        assert text == found.decode(), ascii(text)
    for text, words, others in zip(normal[::5], wanted[::5], cut(normal[::5], None), strict=True):
        assert words == others, ascii(text)


EDGES = [chr(edge + step) for edge in (*range(0x40000, 0x110000, 0x10000), 0xE1000) for step in range(-4, 4)]
EDGES += [chr(code) for code in range(0x10FFFC, 0x110000)]
OTHERS = [TextSettings(False, False, True), TextSettings(True, False, False), TextSettings(False, True, True)]


@pytest.mark.parametrize("chosen", [UNCASED, *OTHERS])
def test_every_code_point(chosen: TextSettings) -> None:
    """Alone among letters, after marks, and among its neighbours; planes without assigned characters in part."""
    assert_same_words(contexts(CHARACTERS[: 0x32000 - 0x800], 40), chosen)
    assert_same_words(contexts([*CHARACTERS[0x32000 - 0x800 :: 97], *EDGES], 40), chosen)


@pytest.mark.slow
@pytest.mark.parametrize("split_cjk", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_of_all_planes(lowercase: bool, strip_accents: bool, split_cjk: bool) -> None:
    assert_same_words(contexts(CHARACTERS, 7), TextSettings(lowercase, strip_accents, split_cjk))


def contexts(characters: Sequence[str], neighbours: int) -> list[str]:
    texts = [
        between.join(characters[start : start + 512])
        for between in ("|a", "e\u0345\u302e")
        for start in range(0, len(characters), 512)
    ]
    return texts + ["".join(characters[start : start + neighbours]) for start in range(0, len(characters), neighbours)]


def test_marks_in_any_order() -> None:
    draw = random.Random(0)
    stay = [chr(code) for code in tables_of(UNCASED).marks]
    assert len(stay) > 70 and "\u302e" in stay and "\u0301" not in stay
    texts = ["e" + "".join(draw.choices(MARKS, k=8)) for _ in range(4000)]
    texts += ["e" + "".join(draw.choices([*stay, *stay, *MARKS[:400], "\x01", "e"], k=8)) for _ in range(4000)]
    assert_same_words(texts, UNCASED)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=20))
def test_generated_strings(texts: list[str]) -> None:
    assert_same_words(texts, UNCASED)
    assert_same_words(texts, TextSettings(lowercase=True, strip_accents=False, split_cjk=True))


def test_long_chunks_beside_many_short_ones() -> None:
    """Memory follows the text, not its rows times its longest."""
    texts = ["x" * 2_000_000 + "é", *map(str, range(100_000))]
    found = cut(texts, UNCASED)
    assert [len(found[0]), len(found[0][0]), found[-1]] == [1, 2_000_001, ["99999"]]


def test_rows_of_the_docstrings() -> None:
    import tensorflow as tf

    from tfllm.tokenizers.bert_pre_tokenizer import _begins, _rows_of

    words = words_of(tf.constant(["New-York new New-York", ""]), UNCASED)
    assert words.words.numpy().tolist() == [b"new", b"-", b"york", b"new"]
    assert words.characters.numpy().tolist() == [3, 1, 4, 3]
    assert words.chunk_splits.numpy().tolist() == [0, 3, 4]
    assert words.chunks.numpy().tolist() == [0, 1, 0]
    assert words.text_splits.numpy().tolist() == [0, 3, 3]
    assert normalized(tf.constant(["Új\t中"]), UNCASED).numpy().tolist() == ["uj  中 ".encode()]
    splits = tf.constant([0, 2, 2, 3], tf.int64)
    assert _begins(splits, tf.constant(3)).numpy().tolist() == [1, 0, 2]
    assert _rows_of(splits, tf.constant(3)).numpy().tolist() == [0, 0, 2]
    tables = tables_of(UNCASED)
    assert tables.spaces[:5] == " \t\n\r\xa0" and len(tables.spaces) == 22
    assert tables.rules.nbytes < 200_000 and np.all(np.diff(tables.marks) > 0)
