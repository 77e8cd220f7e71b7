"""WordPiece's files: what is read, what is refused, what is saved; workers and exports; training that repeats itself."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as original

import tfllm.tokenizers as tokenizers
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.character_coverage import covering, share_of
from tfllm.tokenizers.wordpiece_training import _continuing, _counts

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "##b", "é", "##é", "e", "##e", ",", "A", "中", "##中"]
TEXTS = ["ab Ab, é\0ÉA 中中", "", "[MASK]a [mask] 中b\ufffdzz", "a" * 101]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    return path


@pytest.fixture
def theirs(vocabulary: Path) -> dict[str, Any]:
    """The `tokenizer.json` that the `tokenizers` library writes."""
    written = original.BertWordPieceTokenizer(str(vocabulary), lowercase=False)
    written.enable_padding(length=16)
    written.enable_truncation(16)
    return json.loads(written.to_str())


def read(parts: dict[str, Any], folder: Path) -> WordPieceTokenizer:
    (folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    return WordPieceTokenizer.from_file(folder / "tokenizer.json")


def test_both_files_give_one_tokenizer(vocabulary: Path, theirs: dict[str, Any], tmp_path: Path) -> None:
    cased = WordPieceTokenizer.from_file(vocabulary, lowercase=False)
    assert read(theirs, tmp_path).fingerprint() == cased.fingerprint()
    uncased = WordPieceTokenizer.from_file(vocabulary)
    assert uncased.fingerprint() != cased.fingerprint()
    assert uncased.fingerprint() == WordPieceTokenizer.from_file(vocabulary, strip_accents=True).fingerprint()
    assert [cased.id_to_piece(id) for id in cased.encode("Ab é")] == ["A", "##b", "é"]
    assert [uncased.id_to_piece(id) for id in uncased.encode("Ab é")] == ["a", "##b", "e"]
    stripped = WordPieceTokenizer.from_file(vocabulary, strip_accents=False)
    assert [stripped.id_to_piece(id) for id in stripped.encode("Ab É")] == ["a", "##b", "é"]
    joined = WordPieceTokenizer.from_file(vocabulary, split_cjk=False)
    assert [joined.id_to_piece(id) for id in joined.encode("中中")] == ["中", "##中"]


def test_settings_of_the_file_hold(theirs: dict[str, Any], tmp_path: Path) -> None:
    theirs["normalizer"] |= {"lowercase": True, "strip_accents": None, "handle_chinese_chars": False}
    theirs["model"] |= {"unk_token": "b", "max_input_chars_per_word": 10}
    plain = {"single_word": False, "rstrip": False, "normalized": False}
    theirs["added_tokens"] = [
        {"id": 4, "content": "[MASK]", "lstrip": True, "special": True, **plain},
        {"id": 17, "content": "aé", "lstrip": False, "special": False, **plain},
        {"id": 18, "content": "aéé", "lstrip": False, "special": True, **plain},
    ]
    ours = read(theirs, tmp_path)
    assert_ids_of_the_library(ours, tmp_path)
    assert (ours.unk_id, ours.mask_id, ours.sep_id, ours.vocab_size) == (7, 4, 3, 19)
    assert ours.decode([5, 17, 18, 4, 6]) == "a aéa" == ours.detokenize([[5, 17, 18, 4, 6]]).numpy()[0].decode()
    assert ours.word_starts().tolist() == [not piece.startswith("##") for piece in PIECES] + [True] * 2
    assert ours.token_bytes()[[4, 7, 17, 18]].tolist() == [0, 0, 3, 0]


def test_nothing_may_be_added(theirs: dict[str, Any], tmp_path: Path) -> None:
    theirs["added_tokens"] = []
    assert_ids_of_the_library(read(theirs, tmp_path), tmp_path)


def assert_ids_of_the_library(ours: WordPieceTokenizer, folder: Path) -> None:
    library = original.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.no_truncation()
    library.no_padding()
    texts = [*TEXTS, "a" * 10, "a" * 11, "xaéb aéé aé[MASK][SEP] [CLS] ae AÉ", "\x01aé", "\x01 \x01b"]
    wanted = [encoding.ids for encoding in library.encode_batch(texts, add_special_tokens=False)]
    assert [ours.encode(text) for text in texts] == wanted == ours.tokenize(texts).to_list()


def test_mask_may_be_missing(vocabulary: Path) -> None:
    vocabulary.write_text("".join(f"{piece}\n" for piece in PIECES if piece != "[MASK]"), encoding="utf-8")
    assert WordPieceTokenizer.from_file(vocabulary).mask_id is None


def test_a_piece_that_stands_twice_has_its_last_id(vocabulary: Path) -> None:
    vocabulary.write_text("".join(f"{piece}\n" for piece in ["a", *PIECES]), encoding="utf-8")
    ours = WordPieceTokenizer.from_file(vocabulary)
    assert ours.vocab_size == len(PIECES) + 1
    assert ours.encode("a") == [6] and ours.decode([0, 6]) == "a" and ours.id_to_piece(0) == "<0>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts["model"].update(type="BPE"), "model is 'BPE', which is not supported; accepted: 'WordPiece'"),
        (lambda parts: parts["model"].update(continuing_subword_prefix="@"), "continuing_subword_prefix is '@'"),
        (lambda parts: parts["normalizer"].update(type="Sequence"), "normalizer is 'Sequence'.*accepted: 'BertNormalizer'"),
        (lambda parts: parts.update(normalizer=None), "normalizer is None"),
        (lambda parts: parts["normalizer"].update(clean_text=False), "normalizer.clean_text is False"),
        (lambda parts: parts["pre_tokenizer"].update(type="Whitespace"), "pre_tokenizer is 'Whitespace'"),
        (lambda parts: parts["added_tokens"][0].update(content="\x00", normalized=True, id=17), "of id 17 is empty, or norm"),
        (lambda parts: parts["added_tokens"][0].update(id=5), "has the id 5, which is that of 'a'"),
        (
            lambda parts: parts["added_tokens"][0].update(content="new", id=40),
            "'new' has the id 40, and `tokenizers` gives it 17",
        ),
        (lambda parts: parts["model"]["vocab"].pop("[SEP]"), r"the vocabulary has no '\[SEP\]'"),
        (lambda parts: parts.pop("model"), r"no tokenizer.json of a WordPiece tokenizer \(KeyError\('model'\)"),
    ],
)
def test_what_is_not_carried_is_named(
    change: Callable[[dict[str, Any]], Any], message: str, theirs: dict[str, Any], tmp_path: Path
) -> None:
    read(theirs, tmp_path)
    change(theirs)
    if "[SEP]" not in theirs.get("model", {}).get("vocab", ["[SEP]"]):
        theirs["added_tokens"] = []
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        read(theirs, tmp_path)


def test_files_that_are_none_are_named(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.txt: give the path of a vocab\.txt"):
        WordPieceTokenizer.from_file(tmp_path / "nowhere.txt")
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer\.json: this is no tokenizer\.json of a WordPiece"):
        WordPieceTokenizer.from_file(tmp_path / "tokenizer.json")
    vocabulary.write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: the vocabulary has no '\[\w+\]'; a WordPiece tokenizer needs"):
        WordPieceTokenizer.from_file(vocabulary)
    vocabulary.write_bytes(b"[PAD]\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"vocab\.txt is no vocabulary .*accepted: UTF-8, one piece a line"):
        WordPieceTokenizer.from_file(vocabulary)


def test_saved_is_loaded_also_by_the_library(vocabulary: Path, tmp_path: Path) -> None:
    ours = WordPieceTokenizer.from_file(vocabulary)
    ours.save(tmp_path / "saved")
    loaded = tokenizers.load(tmp_path / "saved")
    assert isinstance(loaded, WordPieceTokenizer) and loaded.fingerprint() == ours.fingerprint()
    assert [loaded.encode(text) for text in TEXTS] == [ours.encode(text) for text in TEXTS]
    (asset,) = (tmp_path / "saved").glob("wordpiece-*.model")
    library = original.Tokenizer.from_str(asset.read_text(encoding="utf-8"))
    assert library.encode("ab").ids == [ours.cls_id, *ours.encode("ab"), ours.sep_id]


def test_bulk_does_without_tensorflow(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.pickle").write_bytes(pickle.dumps(WordPieceTokenizer.from_file(vocabulary)))
    program = """
import pickle, sys
tokenizer = pickle.load(open(sys.argv[1], "rb"))
texts = ["ab, é[MASK] 中b" + "a" * n for n in range(400)]
many = tokenizer.encode_batch(texts)
assert tokenizer.decode_batch(many)[0] == "ab , e 中 ba"[:-1]
assert "tensorflow" not in sys.modules and "tensorflow_text" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "tokenizer.pickle")], check=True, cwd=Path.cwd())


def test_prepared_by_workers_as_by_one_process(code: Sequence[str], tmp_path: Path) -> None:
    from tfllm.data import prepare

    tokenizer = tokenizers.train(texts=code[:60], kind="wordpiece", vocab_size=1000, progress=False)
    (tmp_path / "text").mkdir()
    text = "\n\n".join(code).encode()[: 5 << 18]  # less than 1 MB a worker would be left to one process
    (tmp_path / "text" / "code.txt").write_bytes(text.decode(errors="ignore").encode())
    choice = dict(separator="\n\n", progress=False)
    prepare([tmp_path / "text"], tokenizer, tmp_path / "one", processes=1, **choice)
    prepare([tmp_path / "text"], tokenizer, tmp_path / "two", processes=2, **choice)
    names = sorted(path.name for path in (tmp_path / "one").glob("*.tokens"))
    assert names and all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_exported_graph_needs_no_tracking_and_no_python(vocabulary: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    tokenizer = WordPieceTokenizer.from_file(vocabulary)
    strings = tf.TensorSpec([None], tf.string)
    module = tf.Module()
    module.ids = tf.function(lambda text: {"ids": tokenizer.tokenize(text).to_tensor()}, input_signature=[strings])
    module.text = tf.function(lambda text: {"text": tokenizer.detokenize(tokenizer.tokenize(text))}, input_signature=[strings])
    tf.saved_model.save(module, str(tmp_path), signatures={"ids": module.ids, "text": module.text})
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    rows = signatures["ids"](tf.constant(TEXTS))["ids"].numpy()
    for row, text in zip(rows, TEXTS, strict=True):
        ids = tokenizer.encode(text)
        assert row[: len(ids)].tolist() == ids and not row[len(ids) :].any()
    decoded = [tokenizer.decode(tokenizer.encode(text)).encode() for text in TEXTS]
    assert signatures["text"](tf.constant(TEXTS))["text"].numpy().tolist() == decoded
    graph = signatures["text"].graph.as_graph_def()
    ops = {node.op for nodes in [graph.node, *(f.node_def for f in graph.library.function)] for node in nodes}
    assert not ops & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def test_training_repeats_itself_on_any_cores(languages: dict[str, str], tmp_path: Path) -> None:
    """The library's hash maps differ from process to process: so each way has one of its own."""
    (tmp_path / "text.txt").write_text("\n".join(list(languages.values())[::15]), encoding="utf-8")
    program = """
import sys, tfllm.tokenizers
trained = tfllm.tokenizers.train(sys.argv[1], kind="wordpiece", vocab_size=4000, progress=False)
print(trained.fingerprint())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "text.txt")]
    ways: list[dict[str, str]] = [
        {},
        {},
        {"RAYON_NUM_THREADS": "1"},
        {"RAYON_NUM_THREADS": "7"},
        {"TOKENIZERS_PARALLELISM": "false"},
    ]
    seen = {subprocess.run(command, env=os.environ | way, check=True, capture_output=True, text=True).stdout for way in ways}
    assert len(seen) == 1


def test_trained_pieces(languages: dict[str, str]) -> None:
    texts = [languages["de"], languages["fr"]]
    for lowercase in (None, False):
        trained = tokenizers.train(texts=texts, kind="wordpiece", vocab_size=1500, lowercase=lowercase, progress=False)
        pieces = [trained.id_to_piece(id) for id in range(trained.vocab_size)]
        assert len(set(pieces)) == trained.vocab_size == 1500
        assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        assert any(character.isupper() for piece in pieces[5:] for character in piece) == (lowercase is False)
        sentence = "Bitte einen gültigen Wert eingeben."
        assert trained.unk_id not in trained.encode(sentence)
        shown = "bitte einen gultigen wert eingeben ." if lowercase is None else "Bitte einen gültigen Wert eingeben ."
        assert trained.decode(trained.encode(sentence)) == shown


def test_alphabet_rows() -> None:
    """The rows of the docstrings."""
    counts = {"a": 4, "b": 3, "c": 1}
    assert covering(counts, 0.8) == ["a", "b"] and covering(counts, 0.5) == ["a"] and covering(counts, 1) == ["a", "b", "c"]
    assert [share_of(counts, number) for number in (-1, 0, 1, 2, 3, 9)] == [0, 0, 0.5, 0.875, 1, 1]
    assert share_of({"a": 2, "b": 1}, 1) == 0.6666
    assert _counts(["aab bbc\n", "c"]) == {"a": 2, "b": 3, "c": 2}
    assert _continuing(["ab, 中 c"], "abc,中") == ["##b"]


def test_wrong_training_is_named(languages: dict[str, str]) -> None:
    text = {"texts": [languages["de"]], "kind": "wordpiece", "progress": False}
    with pytest.raises(ValueError, match=r"vocab_size=50000 is invalid: expected at most \d+, .*Lower it"):
        tokenizers.train(**text, vocab_size=50_000)
    with pytest.raises(
        ValueError,
        match=r"^vocab_size=40 is invalid: expected at least \d+, for so many .* need. Raise it to \d+\.$",
    ):
        tokenizers.train(**text, vocab_size=40)
    with pytest.raises(ValueError, match=r"character_coverage=0\.5 is invalid: expected a number from 0\.98 to 1"):
        tokenizers.train(**text, character_coverage=0.5)
    with pytest.raises(ValueError, match="lowercase=True is invalid: expected None, for kind='unigram' keeps case"):
        tokenizers.train(texts=["a"], lowercase=True)
    assert np.all(tokenizers.train(**text, vocab_size=600).word_starts()[:5])
