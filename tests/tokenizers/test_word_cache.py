"""Bulk text goes word by word and gets the ids of whole texts: words cut as `tokenizers` cuts them, looked up, forgotten."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lossless import FRAGMENTS, HOSTILE
from tokenizers import Regex, models, pre_tokenizers

from tfllm.tokenizers import ByteBPETokenizer, Tokenizer, WordPieceTokenizer, train
from tfllm.tokenizers.added_tokens import Finder
from tfllm.tokenizers.base import arrays, blocks, flat, unflat
from tfllm.tokenizers.byte_bpe_files import AddedToken, Vocabulary
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.split_patterns import GPT2, LLAMA3, SPLIT_PATTERNS, SplitPattern, cutter
from tfllm.tokenizers.word_cache import NEW_SHARE, WordCache

POINTS = [*range(0x3400), *range(0x3400, 0xD800, 17), *range(0xE000, 0x10000, 3), *range(0x10000, 0x32000, 7), 0x10FFFF]
"""Of ideographs and syllables, which are alike, some."""
EVERY_POINT = [*range(0xD800), *range(0xE000, 0x110000)]


@pytest.fixture(scope="module")
def wordpiece(languages: dict[str, str]) -> WordPieceTokenizer:
    texts = [languages[name] for name in ("en", "de", "el", "ja", "zh_Hans", "ko", "hi")]
    tokenizer = train(texts=texts, kind="wordpiece", vocab_size=4000, progress=False)
    assert isinstance(tokenizer, WordPieceTokenizer)
    return tokenizer


@pytest.fixture(scope="module")
def byte_bpe(languages: dict[str, str]) -> ByteBPETokenizer:
    tokenizer = train(
        texts=[languages[name] for name in ("en", "de", "el", "ja")], kind="byte_bpe", vocab_size=900, progress=False
    )
    assert isinstance(tokenizer, ByteBPETokenizer)
    return tokenizer


def in_context(characters: Sequence[str]) -> list[str]:
    return [f"a{c}b {c} {c}1{c}{c}'{c}s\u0301{c}\n{c}'s{c}12345 {c}\r\n \n{c}  {c}" for c in characters]


def assert_same_words(pattern: SplitPattern, texts: Sequence[str]) -> None:
    library = pre_tokenizers.Split(Regex(pattern.original), "isolated")
    if pattern.digits_alone:
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(GPT2.original), "isolated")]
        library = pre_tokenizers.Sequence(steps)
    for text, words in zip(texts, cutter(pattern)(texts), strict=True):
        assert words == [word for word, _ in library.pre_tokenize_str(text)], ascii(text)


some_and_all = pytest.mark.parametrize(
    "points", [POINTS, pytest.param(EVERY_POINT, marks=pytest.mark.slow)], ids=["some", "all"]
)


@some_and_all
@pytest.mark.parametrize("pattern", SPLIT_PATTERNS)
def test_words_of_every_character(pattern: SplitPattern, points: Sequence[int]) -> None:
    """At each edge of a word."""
    assert_same_words(
        pattern, ["".join(in_context([chr(c) for c in points[start : start + 64]])) for start in range(0, len(points), 64)]
    )
    assert_same_words(pattern, [*HOSTILE, *in_context("'s\u017fS \U0001d7ce\U00010400\U0001d165\U0001f600")])


@pytest.mark.parametrize("pattern", SPLIT_PATTERNS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.lists(FRAGMENTS | st.text("'sSſtRe 1²\n\r\t\U0001f600\U00010400", max_size=9)).map("".join), min_size=1)
)
def test_words_of_generated_strings(pattern: SplitPattern, texts: list[str]) -> None:
    assert_same_words(pattern, texts)


def test_words_of_the_docstring() -> None:
    assert cutter(GPT2)(["It's  10%\n\tx"]) == [["It", "'s", " ", " 10", "%", "\n", "\t", "x"]]
    assert cutter(LLAMA3)(["It'S  1234%\n\n\tx"]) == [["It", "'S", " ", " ", "123", "4", "%\n\n", "\tx"]]


@some_and_all
def test_wordpiece_of_every_character(wordpiece: WordPieceTokenizer, points: Sequence[int]) -> None:
    texts = in_context([chr(c) for c in points])
    assert_the_librarys_ids(wordpiece, texts + [f"{c}\u0301\u302e{c}中{c}\u0323[MASK]{c}" for c in map(chr, points[::7])])


def assert_the_librarys_ids(tokenizer: ByteBPETokenizer | WordPieceTokenizer, texts: Sequence[str]) -> None:
    whole = tokenizer._native.encode_batch_fast(list(texts), add_special_tokens=False)
    for text, wanted, found in zip(texts, whole, tokenizer.encode_batch(texts), strict=True):
        assert found.tolist() == wanted.ids, ascii(text)


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_forgetting_changes_no_ids(
    kind: str, languages: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = request.getfixturevalue(kind)
    texts = [*languages["ja"].splitlines(), *languages["fr"].splitlines() * 2, *HOSTILE]
    monkeypatch.setattr("tfllm.tokenizers.word_cache.BLOCK_CHARACTERS", 500)
    for name, limit in {"MOST_WORDS": 100, "MOST_CHARACTERS": 1000}.items():
        monkeypatch.setattr(f"tfllm.tokenizers.word_cache.{name}", limit)
        assert_the_librarys_ids(tokenizer, texts)
        assert len(tokenizer._word_cache._known) <= 100


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_threads_share_a_memo(kind: str, languages: dict[str, str], request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    texts = [languages[name] for name in sorted(languages)[:40]]
    wanted = [tokenizer.encode(text) for text in texts]
    vars(tokenizer).pop("_word_cache", None)  # what other tests made known
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: tokenizer.encode_batch([text])[0].tolist(), texts * 3))
    assert found == wanted * 3


def base64_lines(draw: random.Random) -> list[str]:
    return [base64.b64encode(draw.randbytes(600)).decode() for _ in range(40)]


def identifiers(draw: random.Random) -> list[str]:
    return [" ".join("".join(draw.choices(string.ascii_letters, k=12)) for _ in range(200)) for _ in range(10)]


def one_text(draw: random.Random) -> list[str]:
    return [" ".join(identifiers(draw))]


@pytest.mark.parametrize("make", [base64_lines, identifiers, one_text])
@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_text_of_new_words_goes_to_the_library_whole(
    kind: str, make: Callable[[random.Random], list[str]], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By words, it would take up to three times as long as a loop of `encode`."""
    monkeypatch.setattr("tfllm.tokenizers.word_cache.NEW_SHARE", NEW_SHARE)
    tokenizer = request.getfixturevalue(kind)
    draw = random.Random(make.__name__)  # words that no other test made known
    by_words = spy(monkeypatch)
    for _ in range(4):
        assert_the_librarys_ids(tokenizer, make(draw))
    assert not by_words


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_running_text_goes_by_words(
    kind: str, code: Sequence[str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the beginning, however short its blocks are, for new words become rare as the text goes on."""
    monkeypatch.setattr("tfllm.tokenizers.word_cache.NEW_SHARE", NEW_SHARE)
    tokenizer = request.getfixturevalue(kind)
    vars(tokenizer).pop("_word_cache", None)  # what other tests made known
    text = "".join(code)[:2_000_000]
    by_words = spy(monkeypatch)
    tokenizer.encode_batch([text[:1_000_000]])
    assert len(by_words) == 1
    del tokenizer._word_cache
    by_words.clear()
    for start in range(0, len(text), 20_000):
        tokenizer.encode_batch([text[at : at + 1000] for at in range(start, start + 20_000, 1000)])
    assert len(by_words) > 90
    by_words.clear()
    assert_the_librarys_ids(tokenizer, [text[:100_000]])
    assert len(by_words) == 1


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_short_texts_go_by_words(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """New words, too: the library spends more on the making of a text than on a word."""
    monkeypatch.setattr("tfllm.tokenizers.word_cache.NEW_SHARE", NEW_SHARE)
    by_words = spy(monkeypatch)
    assert_the_librarys_ids(request.getfixturevalue(kind), [f"new{number:06d}" for number in range(4000)])
    assert len(by_words) == 1


def spy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of `_by_words` is given."""
    calls: list[int] = []
    original = WordCache._by_words

    def by_words(self: WordCache, words: Sequence[Sequence[str]]) -> list[np.ndarray]:
        calls.append(len(words))
        return original(self, words)

    monkeypatch.setattr(WordCache, "_by_words", by_words)
    return calls


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3])
def test_masks_in_bulk(pattern: SplitPattern) -> None:
    """NFC on both sides of a mask that takes white space, between texts without one."""
    pieces = {letter: byte for byte, letter in enumerate(byte_letters())} | {"ĠĠ": 256, "Ċx": 257}
    added = [AddedToken(258, "<eos>"), AddedToken(260, "<mask>", lstrip=True)]
    tokenizer = ByteBPETokenizer(Vocabulary(pieces, [("Ġ", "Ġ"), ("Ċ", "x")], added, pattern, nfc=True).canonical())
    draw = random.Random(0)
    parts = ["<mask>", " ", " ", "\n", "x", "'s", "1", "e\u0301", "\u0338", "<mask", "\U00011382\U000113c9"]
    texts = ["".join(draw.choices(parts, k=draw.randint(0, 12))) for _ in range(2000)]
    assert_the_librarys_ids(tokenizer, texts)
    assert any(260 in ids for ids in tokenizer.encode_batch(texts))


def test_an_error_leaves_no_word_without_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def library() -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(models.WordLevel({"a": 5, "b": 7, "?": 0}, unk_token="?"))
        made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        return made

    def interrupt(self: WordCache, words: Sequence[str]) -> None:
        raise KeyboardInterrupt

    word_cache = WordCache(lambda texts: [list(text) for text in texts], library, json.loads(library().to_str()), Finder([]))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WordCache, "_encode", interrupt)
        word_cache.encode_batch(["ab"])
    assert [ids.tolist() for ids in word_cache.encode_batch(["aba", "", "b\U0010ffff"])] == [[5, 7, 5], [], [7, 0]]


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_the_separator_in_text(kind: str, request: pytest.FixtureRequest) -> None:
    assert_the_librarys_ids(request.getfixturevalue(kind), [f"new{n} \U0010ffff a\U0010ffffb{n}" for n in range(90)])
    assert_the_librarys_ids(request.getfixturevalue(kind), [f"newer{n} a" for n in range(200)])


def test_rows_of_the_docstrings(tmp_path: Path) -> None:
    assert list(blocks(["abc", "d", "e"], 3)) == [["abc"], ["d", "e"]] and list(blocks([], 3)) == []
    ids, lengths = flat([[5, 6], [], [7]])
    assert (ids.tolist(), lengths.tolist(), ids.dtype) == ([5, 6, 7], [2, 0, 1], np.int32)
    assert [row.tolist() for row in unflat(ids, lengths)] == [[5, 6], [], [7]]
    assert unflat(*flat([])) == arrays([]) == []
    for rows in ([[5, 6], [], [7]], [[*range(100)], [8] * 70]):
        assert [row.tolist() for row in arrays(rows)] == rows and {row.dtype for row in arrays(rows)} == {np.dtype(np.int32)}


def test_texts_of_any_length_in_blocks(unigram: Tokenizer, code: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*code[:40], *(line for text in code[40:60] for line in text.splitlines()), *HOSTILE]
    wanted = [unigram.encode(text) for text in texts]
    for few, size, many in ((1 << 14, 5000, 1000), (0, 1, 1000), (0, 5000, 1000), (0, 1 << 20, 1000), (0, 1 << 20, 1 << 20)):
        monkeypatch.setattr("tfllm.tokenizers.sentencepiece.FEW_CHARACTERS", few)
        monkeypatch.setattr("tfllm.tokenizers.sentencepiece.BLOCK_CHARACTERS", size)
        monkeypatch.setattr("tfllm.tokenizers.sentencepiece.MANY", many)
        assert [ids.tolist() for ids in unigram.encode_batch(texts)] == wanted
