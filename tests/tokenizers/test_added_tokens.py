"""Added tokens: Python, bulk and the graph give the ids of a tokenizer that the `tokenizers` library itself put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer
from tfllm.tokenizers.added_tokens import AddedToken as OurToken
from tfllm.tokenizers.added_tokens import Finder, patterns_of, ranges, word_characters
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.split_patterns import LLAMA3

Tokenizer = ByteBPETokenizer | WordPieceTokenizer

CONTENTS = [
    *(
        "covid",
        "Covid19",
        "vid",
        "cov",
        "ID",
        "<num>",
        "[E1]",
        "[/E1]",
        "a b",
        " x",
        "x ",
        "  ",
        ".\n",
        "é",
        "e\u0301x",
        "中",
        "中文x",
    ),
    *("x中", "_id", "<mask>", "\u212a", "K", "≮", "\U00020000y", "'s", "12", "\x00q", "İ", "ß", "a"),
]
PARTS = [
    *CONTENTS,
    *(
        " ",
        " ",
        "  ",
        "\n",
        "\t",
        "\u00a0",
        "\u3000",
        "a",
        "b",
        "x",
        "X",
        "COVID",
        "covi",
        "d",
        "E1",
        "]",
        "1",
        "9",
        "_",
        "-",
        ".",
        "'",
    ),
    *(
        "e",
        "\u0301",
        "\u0338",
        "\u0323",
        "\u302e",
        "<",
        ">",
        "\u200d",
        "²",
        "文",
        "\x00",
        "\x01",
        "\ufffd",
        "k",
        "\U00011de0",
        "k",
    ),
]
TOKENS = st.lists(
    st.builds(
        AddedToken,
        st.sampled_from(CONTENTS),
        single_word=st.booleans(),
        lstrip=st.booleans(),
        rstrip=st.booleans(),
        normalized=st.booleans(),
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda token: token.content,
)
TEXTS = st.lists(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), min_size=60, max_size=60)
LONG = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def byte_bpe(tokens: Sequence[AddedToken], pattern: str, nfc: bool) -> tokenizers.Tokenizer:
    merges = [
        ("Ġ", "x"),
        ("Ġ", "Ġ"),
        ("c", "o"),
        ("v", "i"),
        ("co", "vi"),
        ("covi", "d"),
        ("Ġ", "covid"),
        ("1", "9"),
        ("Ċ", "x"),
    ]
    pieces = [*byte_letters(), *("".join(pair) for pair in merges), "<eos>"]
    made = tokenizers.Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(pieces)}, merges=merges))
    if nfc:
        made.normalizer = normalizers.NFC()
    steps = {
        "gpt2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "llama3": [
            pre_tokenizers.Split(Regex(LLAMA3.original), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ],
    }[pattern]
    made.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    made.add_tokens(tokens)
    return made


def wordpiece(tokens: Sequence[AddedToken], lowercase: bool) -> tokenizers.Tokenizer:
    letters = [*"abcdeikvxé'1929_-.中文k<>", "covid", "id", "e1"]
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)])
    made = tokenizers.Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.add_tokens(tokens)
    return made


def ours(theirs: tokenizers.Tokenizer, folder: Path) -> Tokenizer:
    """Read from the file that the library writes. The end of a document, which stays text, the library is not told of."""
    spec = json.loads(theirs.to_str())
    kind: Any = WordPieceTokenizer
    if spec["model"]["type"] == "BPE":
        kind = ByteBPETokenizer
        end = {"id": spec["model"]["vocab"]["<eos>"], "content": "<eos>", "special": True, "normalized": False}
        spec["added_tokens"].append(end | dict.fromkeys(("single_word", "lstrip", "rstrip"), False))
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    return kind.from_file(folder / "tokenizer.json")


def assert_same(theirs: tokenizers.Tokenizer, folder: Path, texts: Sequence[str]) -> None:
    import tensorflow as tf

    try:
        tokenizer = ours(theirs, folder)
    except ValueError as error:
        assume("`tokenizers` fails at texts with both" not in str(error))
        raise
    wanted = [row.ids for row in theirs.encode_batch_fast(list(texts), add_special_tokens=False)]
    graph = tokenizer.tokenize(tf.constant([text.encode() for text in texts])).to_list()
    bulk = tokenizer.encode_batch(texts)
    added = json.loads(theirs.to_str())["added_tokens"]
    for text, ids, in_graph, in_bulk in zip(texts, wanted, graph, bulk, strict=True):
        assert tokenizer.encode(text) == ids, (text, added)
        assert in_bulk.tolist() == ids, (text, added)
        assert in_graph == ids, (text, added)


@pytest.mark.parametrize("nfc", [False, True])
@pytest.mark.parametrize("pattern", ["gpt2", "smollm", "llama3"])
@LONG
@given(tokens=TOKENS, texts=TEXTS)
def test_byte_bpe(pattern: str, nfc: bool, tokens: list[AddedToken], texts: list[str], tmp_path_factory: Any) -> None:
    assert_same(byte_bpe(tokens, pattern, nfc), tmp_path_factory.mktemp("byte_bpe"), texts)


@pytest.mark.parametrize("lowercase", [False, True])
@LONG
@given(tokens=TOKENS, texts=TEXTS)
def test_wordpiece(lowercase: bool, tokens: list[AddedToken], texts: list[str], tmp_path_factory: Any) -> None:
    assert_same(wordpiece(tokens, lowercase), tmp_path_factory.mktemp("wordpiece"), texts)


def test_strips_and_single_words(tmp_path: Path) -> None:
    """Of `tokenizers`, too: a word is found between spaces and marks that are no part of one, and takes the spaces along."""
    theirs = byte_bpe([AddedToken("flu", single_word=True, lstrip=True, normalized=False)], "gpt2", nfc=False)
    tokenizer = ours(theirs, tmp_path)
    counts = {"a  flu": 1, "flu-19": 1, "flu19": 0, "_flu": 0, "\u0301flu": 0, "flu flu": 2, "²flu": 1}
    assert {text: tokenizer.encode(text).count(theirs.token_to_id("flu")) for text in counts} == counts
    assert tokenizer.decode(tokenizer.encode("a  flu!")) == "aflu!"
    assert_same(theirs, tmp_path, list(counts))


def test_many_tokens_are_found_at_once(tmp_path: Path) -> None:
    """More than are looked for one by one, one inside the other, in bulk and in the graph."""
    words = [f"w{number}" for number in range(300)]
    texts = ["w1w12w123 w4", "w", "w299w300w7", "no such", "w0" * 50]
    assert_same(byte_bpe([AddedToken(word, normalized=False) for word in words], "llama3", nfc=True), tmp_path, texts)
    assert_same(wordpiece(words, lowercase=True), tmp_path, [text.upper() for text in texts])


def test_an_exported_graph_finds_them(tmp_path: Path) -> None:
    import tensorflow as tf

    tokenizer = ours(wordpiece(["[E1]", AddedToken("covid", single_word=True)], lowercase=True), tmp_path)
    module = tf.Module()
    module.ids = tf.function(
        lambda text: tokenizer.tokenize(text).to_tensor(), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "exported"))
    row = tf.saved_model.load(str(tmp_path / "exported")).ids(tf.constant(["COVID [e1]a covid1"]))[0]
    assert row.numpy().tolist() == tokenizer.encode("COVID [e1]a covid1")


@pytest.mark.parametrize(("words", "whole"), [(["covid"], False), (["covid", "[E1]"], True)])
def test_a_text_goes_whole_only_where_a_token_may_stand_across_words(words: list[str], whole: bool, tmp_path: Path) -> None:
    """Others are cut into words, which are looked up."""
    tokenizer = ours(wordpiece(words, lowercase=True), tmp_path)
    tokenizer.encode_batch(["a COVID19 [e1]", "a covid"] * 20)
    assert ("a COVID19 [e1]" in tokenizer._word_cache._known) == whole
    assert "a covid" not in tokenizer._word_cache._known and "covid" in tokenizer._word_cache._known


def test_rows_of_the_docstrings() -> None:
    import tensorflow as tf

    from tfllm.tokenizers.added_tokens_graph import _Split, parts_of

    found = [OurToken(20, "<num>"), OurToken(21, "Covid", special=False, normalized=True)]
    patterns = patterns_of(found, str.lower)
    assert (patterns.raw, patterns.normal) == ({"<num>": found[0]}, {"covid": found[1]})
    assert ranges([97, 98, 99, 120]) == "a-cx-x"
    assert Finder(["<num>"]).holding(["a b", "c<num>"]) == {1}
    assert Finder(["<num>"] * 9).holding(["a b", "c<num>"]) == Finder([], ["<num>"], normalizers.NFC()).holding(
        ["a b", "c<num>"]
    )
    assert Finder([]).holding(["a"]) == set()
    split = _Split.of(tf.constant([b"the \xff[E1]\xffcat"]))
    assert [each.numpy().tolist() for each in (split.values, split.place, split.splits)] == [
        [b"the ", b"[E1]", b"cat"],
        [0, 1, 2],
        [0, 3],
    ]
    parts = parts_of(tf.constant(["the [E1]cat"]), patterns_of([OurToken(12, "[E1]")]), lambda texts: texts)
    assert (parts.texts.numpy().tolist(), parts.ids.numpy().tolist()) == ([b"the ", b"", b"cat"], [-1, 12, -1])
    assert "_-_" in word_characters() and "²" not in word_characters()
