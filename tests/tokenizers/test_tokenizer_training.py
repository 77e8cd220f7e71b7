"""Training: the same text gives the same bytes; wrong input is named."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import tfllm.tokenizers as tokenizers
from tfllm.data import texts
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer, lossless
from tfllm.tokenizers.training import sentences
from tfllm.tokenizers.training_text import CHUNK_CHARACTERS, Corpus, sample

SMALL = {"vocab_size": 800, "progress": False}


@pytest.fixture
def folder(code: Sequence[str], tmp_path: Path) -> Path:
    for index, text in enumerate(code[:12]):
        (tmp_path / f"{index:02}.py").write_bytes(text.encode())
    return tmp_path


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_same_text_same_model(kind: str, folder: Path) -> None:
    """Whatever the cores, and whether by folder, glob or list."""
    files = sorted(folder.iterdir())
    ways = [
        tokenizers.train(folder, kind=kind, **SMALL),
        tokenizers.train(str(folder / "*.py"), kind=kind, **SMALL),
        tokenizers.train(texts=[path.read_bytes().decode() for path in files], kind=kind, **SMALL),
    ]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        ways.append(tokenizers.train(files, kind=kind, **SMALL))
    finally:
        os.sched_setaffinity(0, cores)
    assert len({way.fingerprint() for way in ways}) == 1
    assert ways[0].fingerprint() != tokenizers.train(files[:-1], kind=kind, **SMALL).fingerprint()


def test_reserved_characters_in_the_text_train(folder: Path) -> None:
    (folder / "reserved.py").write_text("\0▁▅\ue000\t" + "naïve\0word ▁here\ue000\r\n" * 50, encoding="utf-8", newline="")
    for line_break_pieces in (False, True):
        tokenizer = tokenizers.train(folder, line_break_pieces=line_break_pieces, **SMALL)
        text = (folder / "reserved.py").read_bytes().decode()
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_long_lines_are_learnt_from() -> None:
    tokenizer = tokenizers.train(texts=["supercalifragilistic " * 5000, "abc def " * 1000], vocab_size=290, progress=False)
    assert len(tokenizer.encode("supercalifragilistic")) <= 6


def test_progress_is_shown_to_the_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tokenizers.train(folder, vocab_size=800)
    shown = capfd.readouterr().err
    assert "reading text" in shown and "training tokenizer, 2 of 2: 100%" in shown
    assert "trainer_interface" not in shown
    tokenizers.train(folder, **SMALL)
    assert capfd.readouterr().err == ""


def test_bytes_need_no_training() -> None:
    assert isinstance(tokenizers.train(kind="bytes"), tokenizers.ByteTokenizer)
    with pytest.raises(ValueError, match="vocab_size=8192 is invalid: expected 259"):
        tokenizers.train(kind="bytes", vocab_size=8192)


def test_wrong_settings_are_named(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="kind='morphemes' is invalid: expected one of 'unigram', 'bpe', 'byte_bpe', 'wordpiece', 'bytes'"
    ):
        tokenizers.train(folder, kind="morphemes")
    with pytest.raises(ValueError, match="vocab_size=200 is invalid: expected at least 262"):
        tokenizers.train(folder, vocab_size=200)
    with pytest.raises(ValueError, match="vocab_size=0 is invalid: expected at least 262"):
        tokenizers.train(folder, vocab_size=0)
    with pytest.raises(ValueError, match="vocab_size=258 is invalid: expected at least 259"):
        tokenizers.train(folder, kind="byte_bpe", vocab_size=258, progress=False)
    with pytest.raises(ValueError, match="line_break_pieces=True is invalid: expected False with kind='wordpiece'"):
        tokenizers.train(folder, kind="wordpiece", line_break_pieces=True)
    with pytest.raises(ValueError, match=r"character_coverage=0\.5 is invalid: expected a number from 0.98 to 1"):
        tokenizers.train(folder, character_coverage=0.5)
    with pytest.raises(ValueError, match="max_bytes=0 is invalid"):
        tokenizers.train(folder, max_bytes=0, progress=False)
    for given in ({}, {"paths": folder, "texts": ["a"]}):
        with pytest.raises(ValueError, match="Give either paths"):
            tokenizers.train(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"field=.body. is invalid: expected no field with texts="):
        tokenizers.train(texts=["a"], field="body")
    with pytest.raises(TypeError, match="texts is invalid: expected an iterable of strings, got one string"):
        tokenizers.train(texts="one string", progress=False)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_text_and_vocabulary_must_fit(kind: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size=50000 is invalid: expected at most \d+, .*Lower it"):
        tokenizers.train(folder, kind=kind, vocab_size=50_000, progress=False)
    with pytest.raises(ValueError, match=r"^vocab_size=280 is invalid: expected at least \d+, .*Raise it to"):
        tokenizers.train(folder, kind=kind, vocab_size=280, progress=False)
    for nothing in ([], [""], ["\n", "  \n\t"]):
        with pytest.raises(ValueError, match="No text to train on in texts"):
            tokenizers.train(texts=nothing, kind=kind, progress=False)
    for lone in (["a"], ["a", "b\n"], ["a\tb"]):
        with pytest.raises(ValueError, match=r"The text has no two characters side by side. .* or kind='bytes'"):
            tokenizers.train(texts=lone, kind=kind, vocab_size=263, progress=False)
    assert tokenizers.train(texts=["ab"], kind=kind, vocab_size=263, progress=False).vocab_size == 263
    assert tokenizers.train(texts=["a"], kind="bytes").vocab_size == 259


@pytest.mark.parametrize(("kind", "size"), [("unigram", 500), ("bpe", 500), ("wordpiece", 300)])
def test_advice_on_too_many_characters_works(kind: str, size: int) -> None:
    """The number is the user's own, and each of the three ways leads to a tokenizer of the size that was asked for."""
    draw = random.Random(0)
    characters = [chr(0x4E00 + number) for number in range(900)] + ["ab", "abc", "cba"] * 30
    common = [1 / (1 + place) ** 1.6 for place in range(900)] + [0.01] * 90
    texts = ["".join(draw.choices(characters, common, k=30)) for _ in range(1000)]
    asked = {"texts": texts, "kind": kind, "vocab_size": size, "progress": False}
    with pytest.raises(ValueError) as refused:
        tokenizers.train(**asked)
    advice = re.fullmatch(
        rf"vocab_size={size} is invalid: expected at least (\d+), for so many ids the text's characters need\. Raise it to \1, "
        r"or lower "
        r"character_coverage from 0\.9995 to ([.0-9]+), so that .+, or use kind='byte_bpe', whose pieces are made of bytes\.",
        str(refused.value),
    )
    assert advice
    for change in ({"vocab_size": int(advice[1])}, {"character_coverage": float(advice[2])}, {"kind": "byte_bpe"}):
        assert tokenizers.train(**asked | change).vocab_size == change.get("vocab_size", size)
    with pytest.raises(ValueError, match=r"the text.s characters need"):
        tokenizers.train(**asked | {"vocab_size": int(advice[1]) - 1})


def test_wrong_files_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist\. Name a file, a folder or a glob"):
        tokenizers.train(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty' holds no file to read"):
        tokenizers.train(folder / "empty")
    whole = tokenizers.train(folder, **SMALL)
    (folder / "latin.py").write_bytes(b"# caf\xe9\n" * 3)
    with pytest.raises(ValueError, match=r"latin\.py \(byte 5 of the document is 0xe9\): not valid UTF-8.*invalid_utf8='skip'"):
        tokenizers.train(folder, **SMALL)
    with pytest.warns(UserWarning, match=r"skipped 1 documents that are no UTF-8 text, in .*latin\.py"):
        assert tokenizers.train(folder, invalid_utf8="skip", **SMALL).fingerprint() == whole.fingerprint()
    with pytest.raises(ValueError, match="invalid_utf8='ignore' is invalid"):
        tokenizers.train(folder, invalid_utf8="ignore")


def test_the_files_and_documents_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:  # type: ignore[no-untyped-def]
    """A folder trains what `texts` reads, in its order: JSON lines, tables and Parquet, too; the rest is counted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/__pycache__").mkdir(parents=True)
    (tmp_path / "in/LICENSE").write_text("license\n")
    (tmp_path / "in/a.txt").write_text("\ufeff" + "a text\n" * 30)
    (tmp_path / "in/b.txt.gz").write_bytes(gzip.compress(b"packed\n" * 30))
    (tmp_path / "in/c.json").write_text(json.dumps([{"body": "in an array"}, {"body": "and another"}]))
    (tmp_path / "in/d.csv").write_text('body\n"a cell,\nin lines"\n')
    pyarrow.parquet.write_table(pyarrow.table({"body": ["a row"]}), tmp_path / "in/e.parquet")
    (tmp_path / "in/package.json").write_text('{"name": "x"}')
    (tmp_path / "in/__pycache__/a.pyc").write_bytes(b"\xa7\r\r\n\0\0")
    expected = list(texts(["in"], field="body"))
    line = "skipped 2 files: 1 .json without a string 'body', 1 .pyc\n"
    assert capfd.readouterr().err == ""
    assert expected == [
        "license\n",
        "a text\n" * 30,
        "packed\n" * 30,
        "in an array",
        "and another",
        "a cell,\nin lines",
        "a row",
    ]
    assert list(Corpus.of_paths(["in"], field="body").chunks) == list(Corpus.of_texts(expected).chunks)
    trained = tokenizers.train(["in"], field="body", kind="byte_bpe", vocab_size=270)
    assert capfd.readouterr().err.startswith(line)
    assert (
        trained.fingerprint() == tokenizers.train(texts=expected, kind="byte_bpe", vocab_size=270, progress=False).fingerprint()
    )
    without = "".join(Corpus.of_paths(["in"], field="body", exclude="*.gz").chunks)
    assert without == "".join(text for text in expected if not text.startswith("packed"))


def test_a_file_is_cut_into_chunks_as_its_text_is(tmp_path: Path) -> None:
    """Whatever blocks it is read in; a character of several bytes may be cut by them."""
    text = "".join(random.Random(0).choices(["a", "é", "中", "\n", "\r\n"], k=1_500_000))
    (tmp_path / "a.txt").write_text(text, newline="")
    chunks = list(Corpus.of_paths(tmp_path / "a.txt").chunks)
    assert chunks == list(Corpus.of_texts([text]).chunks)
    assert "".join(chunks) == text


def test_sample_is_even_bounded_and_in_order() -> None:
    texts = [f"{index:05}\n" for index in range(5000)]
    assert sample(Corpus.of_texts(texts), 1 << 20, False) == texts
    some = sample(Corpus.of_texts(texts), 6 * 500, False)
    assert some == sample(Corpus.of_texts(iter(texts)), 6 * 500, False) == sorted(some)
    assert len(some) == 500
    assert 200 < sum(text < "02500\n" for text in some) < 300
    long = "x" * 50 + "\n" + "y" * (3 * CHUNK_CHARACTERS)
    assert "".join(sample(Corpus.of_texts([long]), 1 << 20, False)) == long
    assert max(map(len, sample(Corpus.of_texts([long]), 1 << 20, False))) <= 2 * CHUNK_CHARACTERS


def test_sentences_rows() -> None:
    """The rows of the docstring."""
    chunk = "def f():\n    pass\n\n"
    assert list(sentences([chunk])) == ["def f():", "    pass"]
    assert list(sentences([chunk], True)) == ["def f():\ue000", "    pass\ue000", "\ue000"]
    assert list(sentences(["no line end"], True)) == ["no line end"]
    assert list(sentences(["a\0▁b"])) == ["a\t\tb"]


def test_lossless_rows_and_models_that_are_not() -> None:
    """The row of the docstring; a model as SentencePiece's trainer leaves it is refused."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    for piece in ("▁the", "▁▁", "):\ue000"):
        proto.pieces.add(piece=piece, score=0.0)
    done = sentencepiece_model_pb2.ModelProto.FromString(lossless(proto.SerializeToString(), {"\ue000": "\n"}))
    assert [piece.piece for piece in done.pieces] == [" the", "  ", "):\n"]
    assert not done.normalizer_spec.escape_whitespaces
    good = tokenizers.train(texts=["some text " * 30], vocab_size=270, progress=False)
    assert isinstance(good, SentencePieceTokenizer)
    escaping = sentencepiece_model_pb2.ModelProto.FromString(good.__getstate__())
    escaping.normalizer_spec.escape_whitespaces = True
    with pytest.raises(ValueError, match="does not give text back"):
        SentencePieceTokenizer(escaping.SerializeToString())
    escaping.pieces[0].piece, escaping.pieces[1].piece = "<eos>", "<pad>"
    with pytest.raises(ValueError, match="pad, eos, unk, bos ids"):
        SentencePieceTokenizer(escaping.SerializeToString())
