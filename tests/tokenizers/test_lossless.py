"""One tokenization: the library's ids are the graph's ids, and every valid string comes back, on real and on hostile text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfllm.tokenizers as tokenizers

HOSTILE = [
    "",
    " ",
    "\n",
    "\0",
    "a\0b",
    "\0\0\n\0",
    "\r\n\r\r\n",
    "\t\t\tx\t",
    "\x0b\x0c\x1b[0m\x7f\x85\u2028\u2029",
    "   x" + " " * 1000 + "y  \n    \n",
    "▁▁ a▁b ▁",
    "\u2585\u2047 ⁇ ",
    "<pad><eos><unk></s><s>[MASK]",
    "<0x0A><0x00>",
    "\ufeffx\ufffd\ufffe\uffff\U0010ffff",
    "\ue000\ue001",
    "👩\u200d👩\u200d👧\u200d👦🏳️\u200d🌈👍🏽",
    "e\u0301\u0323 ﬁ Ⅷ ｆｕｌｌ\u00a0\u3000x",
    "中文，日本語。한국어 ไทย العربية עברית हिन्दी",
    "x" * 30_000,
    "\n" * 3_000,
    "ab " * 20_000,
]
FRAGMENTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=30),
    st.text(alphabet=st.characters(categories=("Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cn")), max_size=10),
    st.text(alphabet=st.characters(categories=("Mn", "Me", "So", "Sk")), max_size=10),
    st.text(alphabet=" \t\n\r\0\u2581", max_size=20),
    st.sampled_from([text for text in HOSTILE if len(text) < 100]),
    st.sampled_from(["def ", "return", "self.", "):\n", "    ", "import os\n", '"""', "assertEqual("]),
)
TEXTS = st.lists(st.lists(FRAGMENTS, max_size=6).map("".join), min_size=1, max_size=12)


def assert_one_tokenization(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
    """Bulk ids == graph ids; text back from both; bytes add up."""
    import tensorflow as tf

    bulk = tokenizer.encode_batch(texts)
    graph = tokenizer.tokenize(tf.constant([text.encode() for text in texts]))
    splits = np.cumsum([0, *map(len, bulk)])
    if not (np.array_equal(graph.row_splits, splits) and np.array_equal(graph.values, np.concatenate(bulk))):
        for text, ids, other in zip(texts, bulk, graph.to_list(), strict=True):
            assert ids.tolist() == other, text
    assert tokenizer.decode_batch(bulk) == list(texts)
    assert tokenizer.detokenize(graph).numpy().tolist() == [text.encode() for text in texts]
    size = tokenizer.token_bytes()
    assert [size[ids].sum() for ids in bulk] == [len(text.encode()) for text in texts]


def test_hostile_strings(tokenizer: tokenizers.Tokenizer) -> None:
    assert_one_tokenization(tokenizer, HOSTILE)
    assert [tokenizer.encode(text) for text in HOSTILE] == [ids.tolist() for ids in tokenizer.encode_batch(HOSTILE)]
    assert [tokenizer.decode(tokenizer.encode(text)) for text in HOSTILE] == HOSTILE


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS)
def test_generated_strings(tokenizer: tokenizers.Tokenizer, texts: list[str]) -> None:
    assert_one_tokenization(tokenizer, texts)


def test_every_character_comes_back(tokenizer: tokenizers.Tokenizer) -> None:
    points = [*range(0xD800), *range(0xE000, 0x11000), *range(0x11000, 0x110000, 61), *range(0x1F000, 0x1FB00), 0x10FFFF]
    characters = [chr(point) for point in points]
    step = 2048
    assert_one_tokenization(tokenizer, ["".join(characters[start : start + step]) for start in range(0, len(characters), step)])


@pytest.mark.parametrize(("every", "least"), [(20, 20_000), pytest.param(8, 60_000, marks=pytest.mark.slow)])
def test_code_lines(tokenizer: tokenizers.Tokenizer, code: Sequence[str], every: int, least: int) -> None:
    lines = [line for text in code[::every] for line in text.splitlines(keepends=True)]
    assert len(lines) > least
    assert_one_tokenization(tokenizer, lines)


def test_whole_files(tokenizer: tokenizers.Tokenizer, code: Sequence[str]) -> None:
    assert_one_tokenization(tokenizer, code[::40])


def test_languages(tokenizer: tokenizers.Tokenizer, languages: dict[str, str]) -> None:
    assert len(languages) > 90
    chosen = [text for name, text in sorted(languages.items()) if name[:2] in {"zh", "ja", "ko", "ar", "he", "hi"}]
    assert_one_tokenization(tokenizer, [text[:4000] for text in languages.values()] + chosen)


def test_languages_with_their_own_pieces(languages: dict[str, str]) -> None:
    texts = list(languages.values())
    for kind in ("unigram", "bpe"):
        tokenizer = tokenizers.train(texts=texts, kind=kind, vocab_size=6000, max_bytes=1 << 19, progress=False)
        assert_one_tokenization(tokenizer, [line for text in texts[::5] for line in text.splitlines(keepends=True)])


def test_ill_formed_bytes_decode_alike(tokenizer: tokenizers.Tokenizer) -> None:
    """Any ids, specials and halves of characters among them: decode == detokenize, valid UTF-8."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    lead = np.array([0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF])
    first = tokenizer.encode("\ufffe")[0] - 0xEF
    rows = []
    for _ in range(5000):
        ids = random.integers(0, tokenizer.vocab_size, 8)
        bytes_ = first + np.where(random.random(8) < 0.7, random.choice(lead, 8), random.integers(0, 256, 8))
        kind = random.random(8)
        rows.append(np.where(kind < 0.2, ids, np.where(kind < 0.25, random.integers(0, 3, 8), bytes_)).astype(np.int32))
    texts = tokenizer.decode_batch(rows)
    assert texts == [tokenizer.decode(row) for row in rows]
    graph = tokenizer.detokenize(tf.RaggedTensor.from_tensor(tf.constant(rows))).numpy().tolist()
    assert [text.encode() for text in texts] == graph
    assert sum("\ufffd" in text for text in texts) > 1000


def test_specials_decode_to_nothing(tokenizer: tokenizers.Tokenizer) -> None:
    a = tokenizer.encode("a")
    assert tokenizer.decode([0, 1, *a, 2, 1, *a, 0]) == "aa"


@pytest.mark.parametrize("text", ["\ud800", "ab\udfff", "x\udc80y"])
def test_lone_surrogates_are_refused(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch(["fine", text])):
        with pytest.raises(ValueError, match=r"character \d is the lone surrogate U\+D[0-9A-F]{3}"):
            encode(text)


def test_wrong_inputs_are_named(tokenizer: tokenizers.Tokenizer) -> None:
    with pytest.raises(TypeError, match="got bytes"):
        tokenizer.encode(b"abc")  # type: ignore[arg-type]
    for ids in ([tokenizer.vocab_size], [5, -1]):
        with pytest.raises(ValueError, match=rf"id {ids[-1]} is not in the vocabulary: expected 0 to"):
            tokenizer.decode(ids)
    with pytest.raises(ValueError, match="expected one row of integers"):
        tokenizer.decode([1.5])  # type: ignore[list-item]
    assert tokenizer.encode_batch([]) == [] and tokenizer.decode_batch([]) == [] and tokenizer.decode([]) == ""


def test_words_begin_with_white_space(unigram):
    starts = unigram.word_starts()
    ids = unigram.encode("def f(self):\n    return")
    pieces = [unigram.id_to_piece(id) for id, start in zip(ids, starts[ids], strict=True) if start]
    assert pieces and all(piece[0] in "▁\\" for piece in pieces)
    assert starts[[0, 1, 2]].all() and not starts[unigram.encode("x")[-1]]
    byte_starts = tokenizers.ByteTokenizer().word_starts()
    assert [byte_starts[id] for id in tokenizers.ByteTokenizer().encode("a b\nc\xa0")] == [
        False,
        True,
        False,
        True,
        False,
        False,
        False,
    ]
