"""Training: the same text gives the same bytes; wrong input is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import tfllm.tokenizers as tokenizers
from tfllm.tokenizers.corpus import CHUNK_CHARACTERS, Corpus, files_of, sample
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer, lossless
from tfllm.tokenizers.training import sentences

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
    with pytest.raises(ValueError, match="vocab_size is 8192; bytes have 259"):
        tokenizers.train(kind="bytes", vocab_size=8192)


def test_wrong_settings_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="kind is 'morphemes'; accepted: 'unigram', 'bpe', 'byte_bpe', 'wordpiece', 'bytes'"):
        tokenizers.train(folder, kind="morphemes")
    with pytest.raises(ValueError, match="vocab_size is 200; at least 262 ids"):
        tokenizers.train(folder, vocab_size=200)
    with pytest.raises(ValueError, match="vocab_size is 0; at least 262 ids"):
        tokenizers.train(folder, vocab_size=0)
    with pytest.raises(ValueError, match="vocab_size is 258; at least 259 ids"):
        tokenizers.train(folder, kind="byte_bpe", vocab_size=258, progress=False)
    with pytest.raises(ValueError, match="line_break_pieces is for 'unigram' and 'bpe', and kind is 'wordpiece'"):
        tokenizers.train(folder, kind="wordpiece", line_break_pieces=True)
    with pytest.raises(ValueError, match=r"character_coverage is 0\.5; accepted: 0.98 to 1"):
        tokenizers.train(folder, character_coverage=0.5)
    with pytest.raises(ValueError, match="max_bytes is 0"):
        tokenizers.train(folder, max_bytes=0, progress=False)
    for given in ({}, {"paths": folder, "texts": ["a"]}):
        with pytest.raises(ValueError, match="give either paths"):
            tokenizers.train(**given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="texts is one string"):
        tokenizers.train(texts="one string", progress=False)
    (folder / "web.jsonl").write_text('{"text": "not to be learnt"}')
    with pytest.raises(ValueError, match=r"web\.jsonl is no plain text: give texts=tfllm\.data\.texts\("):
        tokenizers.train(folder, progress=False)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_text_and_vocabulary_must_fit(kind: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 50000, but the text gives no more than \d+ pieces: lower it"):
        tokenizers.train(folder, kind=kind, vocab_size=50_000, progress=False)
    with pytest.raises(ValueError, match=r"characters alone need \d+ ids: raise it, or lower character_coverage"):
        tokenizers.train(folder, kind=kind, vocab_size=280, progress=False)
    for nothing in ([], [""], ["\n", "  \n\t"]):
        with pytest.raises(ValueError, match="no text to train on in texts"):
            tokenizers.train(texts=nothing, kind=kind, progress=False)


def test_wrong_files_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such file or folder, and no file matches"):
        tokenizers.train(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: the folder holds no file"):
        tokenizers.train(folder / "empty")
    whole = tokenizers.train(folder, **SMALL)
    (folder / "latin.py").write_bytes(b"# caf\xe9\n" * 3)
    with pytest.raises(ValueError, match=r"latin\.py is no UTF-8 text .*invalid_utf8='skip'"):
        tokenizers.train(folder, **SMALL)
    with pytest.warns(UserWarning, match=r"skipped 1 files that are no UTF-8 text: .*latin\.py"):
        assert tokenizers.train(folder, invalid_utf8="skip", **SMALL).fingerprint() == whole.fingerprint()
    with pytest.raises(ValueError, match="invalid_utf8 is 'ignore'"):
        tokenizers.train(folder, invalid_utf8="ignore")


def test_files_of_paths_folders_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the docstring; hidden files and second mentions are left out."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt", "texts/2.txt", "texts/1.txt", "texts/.hidden", "texts/.git/config"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    found = files_of(["b.txt", "texts", "*.txt"])
    assert [path.as_posix() for path in found] == ["b.txt", "texts/1.txt", "texts/2.txt", "a.txt"]


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
