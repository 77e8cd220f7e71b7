"""Byte-level BPE: Python, bulk and the graph give the ids of `tokenizers` on the original files, on real and hostile text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import byte_bpe_real
import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lossless import HOSTILE
from test_lossless import TEXTS as SOME_TEXTS

import tfllm.tokenizers
from tfllm.tokenizers import ByteBPETokenizer
from tfllm.tokenizers.byte_bpe_files import AddedToken, Vocabulary
from tfllm.tokenizers.byte_bpe_merges import byte_letters, merge_places
from tfllm.tokenizers.split_patterns import GPT2, LLAMA3, SMOLLM, SPLIT_PATTERNS, SplitPattern, character_classes

KINDS = ("gpt2", "roberta", "llama3", "qwen", "qwen35")


@dataclass(frozen=True)
class Case:
    """A tokenizer of ours, and `tokenizers` itself on the original files, specials in text taken as text."""

    ours: ByteBPETokenizer
    theirs: tokenizers.Tokenizer
    name: str


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: getattr(byte_bpe_real, name)(tmp_path_factory.mktemp(name)) for name in KINDS}


@pytest.fixture(scope="module")
def made(paths: dict[str, Path]) -> dict[str, ByteBPETokenizer]:
    return {name: ByteBPETokenizer.from_file(path) for name, path in paths.items()}


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, paths: dict[str, Path], made: dict[str, ByteBPETokenizer]) -> Case:
    path = paths[request.param]
    if path.is_file():
        theirs = tokenizers.Tokenizer.from_file(str(path))
        theirs.encode_special_tokens = True
    else:
        files = [str(next(path.glob(name))) for name in ("*.json", "*.txt" if request.param == "roberta" else "*.bpe")]
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*files))
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        if request.param == "roberta":
            theirs.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    return Case(made[request.param], theirs, request.param)


def assert_equal(case: Case, texts: Sequence[str]) -> None:
    """`tokenizers` == graph == bulk."""
    import tensorflow as tf

    theirs = [row.ids for row in case.theirs.encode_batch_fast(list(texts), add_special_tokens=False)]
    bulk = case.ours.encode_batch(texts)
    graph = case.ours.tokenize(tf.constant([text.encode() for text in texts]))
    splits = np.cumsum([0, *map(len, theirs)])
    flat = np.concatenate([np.array(ids, np.int32) for ids in theirs])
    if not (np.array_equal(graph.row_splits, splits) and np.array_equal(graph.values, flat)):
        for text, wanted, found in zip(texts, theirs, graph.to_list(), strict=True):
            assert found == wanted, ascii(text)
    assert [ids.tolist() for ids in bulk] == theirs


def lines_of(code: Sequence[str], languages: dict[str, str]) -> list[str]:
    """Lines, each once, in an order of chance: half a million of code, 60,000 of a hundred languages."""
    unique = {line for text in [*code, *languages.values()] for line in text.splitlines(keepends=True)}
    lines = sorted(unique)
    random.Random(0).shuffle(lines)
    return lines


def test_real_lines(case: Case, code: Sequence[str], languages: dict[str, str]) -> None:
    """5,000 lines for each tokenizer, others for each; all of them for all in the slow test."""
    place = KINDS.index(case.name)
    chosen = lines_of(code[::15], languages)[place * 5000 : (place + 1) * 5000]
    assert len(chosen) == 5000
    assert_equal(case, chosen)
    if "qwen" not in case.name:  # NFC changes text on purpose
        assert case.ours.decode_batch(case.ours.encode_batch(chosen[:3000])) == chosen[:3000]


@pytest.mark.slow
def test_all_real_lines(case: Case, code: Sequence[str], languages: dict[str, str]) -> None:
    lines = lines_of(code, languages)
    assert len(lines) > 300_000
    for start in range(0, len(lines), 50_000):
        assert_equal(case, lines[start : start + 50_000])


def test_whole_files(case: Case, code: Sequence[str], languages: dict[str, str]) -> None:
    assert_equal(case, [*code[::100], *list(languages.values())[::12], *HOSTILE])


LETTERS = "stremvdlSTREMVDLxÉſK\u0131ßж中אａ\u02bc"
MARKS = "\u0301\u0327\u0345\u3099\u05b0\u0334\u093c\u094d\u20dd\ufe0f\u07fd\u0897\u1abf\u1df6\U00010d24\U00011070"
SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\u200b\ufeff\x1c"
OTHERS = "'’.,!-_<>|/\0\x1f\u2581\U0001f600👩\u200d\U0010ffff\ufffd\uffff\ue000＇\U000105d2\U00011382\U000113c9\U0001611e"
HARD = st.one_of(
    st.text(alphabet=SPACES, min_size=1, max_size=6),
    st.text(alphabet=" \n", min_size=1, max_size=9),
    st.text(alphabet=LETTERS, min_size=1, max_size=6),
    st.text(alphabet="0123456789٣५Ⅷ²½〇", min_size=1, max_size=9),
    st.text(alphabet=OTHERS, min_size=1, max_size=4),
    st.text(alphabet=LETTERS + MARKS, min_size=1, max_size=8),
    st.sampled_from(["'s", "'S", "'ſ", "'re", "'RE", "'rE", "'ll", "'lL", "n't", "'d'", "''s", " 's", "\t've", "'m1"]),
    st.sampled_from(["<mask>", " <mask>", "<mask", "mask>", "<|endoftext|>", "</s>", "<s>", "<|im_end|>", "<|eot_id|>"]),
    st.text(max_size=8),
)
TEXTS = st.lists(st.lists(HARD, max_size=8).map("".join), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS, more=SOME_TEXTS)
def test_generated_strings(case: Case, texts: list[str], more: list[str]) -> None:
    assert_equal(case, [*texts, *more])
    assert [case.ours.encode(text) for text in texts] == [ids.tolist() for ids in case.ours.encode_batch(texts)]


def test_characters_beside_others(case: Case) -> None:
    """Every character of the first planes' start and of every class's edges, among letters, digits, spaces and quotes."""
    classes = character_classes(case.ours._vocabulary.pattern)[:0x110000]
    edges = np.flatnonzero(np.diff(classes, prepend=0))
    points = sorted({*range(0x3100), *edges.tolist(), *(edges - 1).tolist(), 0x1F600, 0x10FFFF} - {-1})
    characters = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    assert_equal(case, [f"a{c}b {c} {c}1{c}{c}'{c}s\u0301{c}\n{c}'s" for c in characters])


@pytest.mark.slow
def test_every_character(case: Case) -> None:
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(characters), 50_000):
        assert_equal(case, [f"a{c}'s {c}1\u0301{c}\u0327{c}\u3099" for c in characters[start : start + 50_000]])


def test_bytes_that_are_no_utf8(case: Case) -> None:
    import tensorflow as tf

    draw = random.Random(0)
    lead = b"\x80\x9f\xa0\xbf\xc0\xc2\xe0\xe2\xed\xef\xf0\xf4\xf5\xff\x00 a'"
    texts = [bytes(draw.choice(lead) for _ in range(9)) for _ in range(2000)] + [b"", b"\xe2\x82", b"\xef\xbb\xbfx"]
    graph = case.ours.tokenize(tf.constant(texts)).to_list()
    assert graph == [case.ours.encode(text.decode(errors="replace")) for text in texts]


def test_specials_in_text_are_text(made: dict[str, ByteBPETokenizer]) -> None:
    import tensorflow as tf

    text = "<|endoftext|></s><pad><unk> <mask>"
    for name in ("gpt2", "roberta"):
        tokenizer = made[name]
        ids = tokenizer.encode(text)
        assert tokenizer.tokenize(tf.constant([text])).to_list() == [ids]
        specials = {token.id for token in tokenizer._vocabulary.added}
        assert specials & {*ids} == ({tokenizer.mask_id} if name == "roberta" else set())
        assert tokenizer.decode(ids) == (text if name == "gpt2" else "<|endoftext|></s><pad><unk>")


def test_a_mask_takes_the_spaces_before_it(made: dict[str, ByteBPETokenizer]) -> None:
    """ "Paris is  <mask>." -> Paris, Ġis, <mask>, ."""
    import tensorflow as tf

    tokenizer = made["roberta"]
    texts = ["Paris is  <mask>.", "<mask>", " \n<mask> <mask><mask> \n <mask", "<mask>s' <mask>'s\u3000<mask>", "x<mas", "k>"]
    rows = tokenizer.tokenize(tf.constant(texts)).to_list()
    assert rows == [tokenizer.encode(text) for text in texts]
    assert [tokenizer.id_to_piece(id) for id in rows[0]] == ["Paris", "Ġis", "<mask>", "."]
    assert [row.count(tokenizer.mask_id) for row in rows] == [1, 1, 3, 3, 0, 0]


@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("rstrip", [False, True])
@pytest.mark.parametrize("pattern", [GPT2, LLAMA3])
def test_masks_and_the_spaces_beside_them(lstrip: bool, rstrip: bool, pattern: SplitPattern) -> None:
    import tensorflow as tf

    pieces = {letter: byte for byte, letter in enumerate(byte_letters())} | {"ĠĠ": 256, "Ċx": 257}
    added = [AddedToken(258, "<eos>"), AddedToken(260, "<mask>", lstrip=lstrip, rstrip=rstrip)]
    tokenizer = ByteBPETokenizer(Vocabulary(pieces, [("Ġ", "Ġ"), ("Ċ", "x")], added, pattern, nfc=True).canonical())
    draw = random.Random(0)
    parts = ["<mask>", " ", " ", "\n", "\t", "x", "'s", "1", ".", "\u0338", "<mask"]
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 12))) for _ in range(500)]
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == [tokenizer.encode(text) for text in texts]


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), ignore_merges=st.booleans())
def test_any_list_of_merges(seed: int, ignore_merges: bool) -> None:
    """Merges in orders no trainer gives: pieces out of reach, several pairs a piece, also apart in the list."""
    import tensorflow as tf

    draw = random.Random(seed)
    pieces = {letter: byte for byte, letter in enumerate(byte_letters())}
    names, merges = list("ab" if seed % 2 else "abc"), []
    for _ in range(draw.randint(1, 14)):
        pair = (draw.choice(names), draw.choice(names))
        merges.append(pair)
        if "".join(pair) not in pieces:
            pieces["".join(pair)] = len(pieces)
            names.append("".join(pair))
    # More ways to the same pieces, and all of them out of order.
    merges += [
        (name[:cut], name[cut:])
        for name in names
        for cut in range(1, len(name))
        if name[:cut] in pieces and name[cut:] in pieces
    ]
    merges = [pair for pair in dict.fromkeys(merges) if draw.random() < 0.8]
    draw.shuffle(merges)
    vocabulary = Vocabulary(pieces, merges, [AddedToken(len(pieces), "<eos>")], LLAMA3, ignore_merges=ignore_merges)
    tokenizer = ByteBPETokenizer(vocabulary.canonical())
    texts = ["".join(draw.choices("abc", k=draw.randint(0, 12))) for _ in range(300)] + names
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == [tokenizer.encode(text) for text in texts]


def test_merges_that_come_up() -> None:
    """The docstring's rows."""
    pieces = {name: id for id, name in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    assert merge_places(pieces, [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")]) == {"ab": 0, "abc": 1, "bc": 2}
    assert merge_places(pieces, [("b", "c"), ("a", "b"), ("ab", "c")]) == {"bc": 0, "ab": 1}


def test_llama3_pieces_that_no_merge_gives(made: dict[str, ByteBPETokenizer]) -> None:
    tokenizer = made["llama3"]
    assert len(tokenizer._graph_model.whole_words) == 588
    assert len(tokenizer.encode(" nhiều")) == 1


def test_class_strings() -> None:
    """The docstring's row, and the pieces GPT-2 and Llama-3 cut."""
    import tensorflow as tf

    from tfllm.tokenizers.byte_bpe_graph import split

    def words(pattern: SplitPattern, text: str) -> list[str]:
        return [word.decode() for word in split(tf.constant([text]), pattern).to_list()[0]]

    assert words(GPT2, "It's  10%\n\tx") == ["It", "'s", "Ġ", "Ġ10", "%", "Ċ", "ĉ", "x"]
    assert words(LLAMA3, "It'S  1234%\n\n\tx") == ["It", "'S", "Ġ", "Ġ", "123", "4", "%ĊĊ", "ĉx"]
    assert words(GPT2, "it'S") == ["it", "'", "S"]
    assert words(SMOLLM, "in 2024,  7") == ["in", "Ġ", "2", "0", "2", "4", ",", "ĠĠ", "7"]
    assert len({pattern.original for pattern in SPLIT_PATTERNS}) == 5


@pytest.mark.slow
def test_smollm(code: Sequence[str], languages: dict[str, str], tmp_path: Path) -> None:
    """The real vocabulary, of 93 MB; its bytes without a piece get no ids. The pattern alone: `test_added_tokens`."""
    path = byte_bpe_real.smollm(tmp_path)
    with pytest.warns(UserWarning, match=r"no piece for the bytes 0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2: what a text"):
        ours = ByteBPETokenizer.from_file(path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    theirs.encode_special_tokens = True
    draw = random.Random(0)
    parts = [
        "1",
        "²",
        "٣",
        "\U00011de0",
        " ",
        "  ",
        "\n",
        "a",
        "(",
        ")",
        "\x04",
        "\U00040000",
        "é",
        "'s",
        "<|im_end|>",
        "\u3000",
    ]
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 9))) for _ in range(5000)]
    assert_equal(Case(ours, theirs, "smollm"), [*texts, *lines_of(code[::15], languages)[:20_000], *HOSTILE])
    assert ours.encode("What is the capital of France?") == [1780, 314, 260, 3575, 282, 4649, 47]
    assert (ours.vocab_size, ours.eos_id, ours.pad_id) == (49152, 0, 0)


def test_bytes_without_a_piece_get_no_ids(tmp_path: Path) -> None:
    """What stands around them merges, as in `tokenizers`: "(\\x04)" -> "()"."""
    pieces = {letter: byte for byte, letter in enumerate(byte_letters()) if byte not in (4, 0xF1)} | {"()": 256, "ĠĠ": 257}
    vocabulary = Vocabulary(pieces, [("(", ")"), ("Ġ", "Ġ")], [AddedToken(258, "<eos>")], SMOLLM, ignore_merges=True)
    (tmp_path / "tokenizer.json").write_bytes(vocabulary.canonical())
    with pytest.warns(UserWarning, match="no piece for the bytes 0x04, 0xF1"):
        ours = ByteBPETokenizer.from_file(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    draw = random.Random(0)
    texts = ["".join(draw.choices(["(", ")", "\x04", " ", "\U00040000", "1"], k=draw.randint(1, 9))) for _ in range(2000)]
    assert_equal(Case(ours, theirs, "some bytes"), texts)
    assert ours.encode("(\x04)\x04") == [256]


def test_specials_of_each(made: dict[str, ByteBPETokenizer]) -> None:
    ids = {
        name: (t.vocab_size, t.bos_id, t.eos_id, t.pad_id, t.cls_id, t.sep_id, t.mask_id, t.pair_separators)
        for name, t in made.items()
    }
    assert ids == {
        "gpt2": (50257, 50256, 50256, 50256, 50256, 50256, None, 1),
        "roberta": (50261, 2, 2, 1, 0, 2, 50260, 2),
        "llama3": (128257, 128000, 128001, 128004, 128000, 128001, None, 1),
        "qwen": (151646, 151643, 151643, 151643, 151643, 151643, None, 1),
        "qwen35": (50257, 50256, 50256, 50256, 50256, 50256, None, 1),
    }
    gpt2 = made["gpt2"]
    assert gpt2.encode("It's  10%\n") == [1026, 338, 220, 838, 4, 198]
    starts, sizes = gpt2.word_starts(), gpt2.token_bytes()
    assert starts[gpt2.encode(" dog")].tolist() == [True] and not starts[gpt2.encode("dog")].any() and starts[50256]
    assert sizes[gpt2.encode("hé 中文\0")].sum() == len("hé 中文\0".encode()) and sizes[50256] == 0


def test_trained(code: Sequence[str]) -> None:
    tokenizer = tfllm.tokenizers.train(texts=code[::20], kind="byte_bpe", vocab_size=1500, progress=False)
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.mask_id) == (0, 1, 2, 2)
    assert tokenizer.vocab_size == 1500 and isinstance(tokenizer, ByteBPETokenizer)
    theirs = tokenizers.Tokenizer.from_str(tokenizer._asset.decode())
    theirs.encode_special_tokens = True
    texts = [*HOSTILE, *code[::90]]
    assert_equal(Case(tokenizer, theirs, "trained"), texts)
    assert tokenizer.decode_batch(tokenizer.encode_batch(texts)) == texts
