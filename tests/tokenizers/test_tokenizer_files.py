"""Save and load, pickle without TensorFlow, export without tracking."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfllm.tokenizers as tokenizers
from tfllm.tokenizers.base import DESCRIPTION_FILE

TEXTS = ["def f(x):\n    return x\0\n", "", "▁ héllo 中文 👩\u200d👧", "<eos>"]


def test_saved_is_loaded(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = tokenizers.load(str(tmp_path / "new" / "folder"))
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.vocab_size == tokenizer.vocab_size
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    description = json.loads((tmp_path / "new" / "folder" / DESCRIPTION_FILE).read_text())
    assert description["kind"] == tokenizer.kind and description["fingerprint"] == tokenizer.fingerprint()


def test_kinds_and_ids(unigram: tokenizers.Tokenizer, bpe: tokenizers.Tokenizer) -> None:
    everything = [tokenizers.ByteTokenizer(), unigram, bpe]
    assert [tokenizer.kind for tokenizer in everything] == ["bytes", "sentencepiece", "sentencepiece"]
    assert [tokenizer.vocab_size for tokenizer in everything] == [259, 3000, 2048]
    assert len({tokenizer.fingerprint() for tokenizer in everything}) == 3
    for tokenizer in everything:
        assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.bos_id) == (0, 1, 2, 1)
        assert [tokenizer.id_to_piece(id) for id in range(3)] == ["<pad>", "<eos>", "<unk>"]
        assert tokenizer.token_bytes().shape == (tokenizer.vocab_size,)
        assert tokenizer.token_bytes().dtype == np.int32
        assert tokenizer.token_bytes()[:3].tolist() == [0, 0, 0] and (tokenizer.token_bytes()[3:] > 0).all()
        for id in range(tokenizer.vocab_size):
            piece = tokenizer.id_to_piece(id)
            assert piece.isprintable() and piece and not any(character.isspace() for character in piece)


def test_byte_rows() -> None:
    """The rows of the docstrings."""
    tokenizer = tokenizers.ByteTokenizer()
    assert tokenizer.encode("hé") == [107, 198, 172]
    assert tokenizer.encode("hé\n") == [107, 198, 172, 13]
    assert tokenizer.decode([1, 107, 198, 13, 1]) == "h\ufffd\n"
    assert [tokenizer.id_to_piece(id) for id in (107, 198, 13)] == ["h", "<0xC3>", "<0x0A>"]


def test_pieces_hold_indentation_and_spaces(unigram: tokenizers.Tokenizer, bpe: tokenizers.Tokenizer) -> None:
    pieces = [unigram.id_to_piece(id) for id in unigram.encode("        return self.\n")]
    assert pieces == ["▁▁▁▁▁▁▁▁", "return", "▁self.", "\\n"]
    assert unigram.id_to_piece(unigram.encode("\t")[0]) == "\\t"
    # A line break is an id of its own, beside the byte piece that the fallback keeps for it.
    line_break = unigram.encode("\n")[0]
    byte = unigram.encode("\ufffe")[0] - 0xEF + 0x0A
    texts = unigram.decode_batch([[id] for id in range(unigram.vocab_size)])
    assert [id for id, text in enumerate(texts) if "\n" in text] == sorted({line_break, byte})
    ends = bpe.decode_batch([[id] for id in range(bpe.vocab_size)])
    assert sum(len(end) > 1 and end.endswith(":\n") for end in ends) > 5
    assert not any("\n" in end[:-1] for end in ends)


def test_a_save_that_is_cut_short_leaves_the_old_one(
    unigram: tokenizers.Tokenizer, bpe: tokenizers.Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unigram.save(tmp_path)
    real = Path.replace
    for cut in ("sentencepiece-", DESCRIPTION_FILE):

        def replace(self: Path, target: Path, cut: str = cut) -> Path:
            if target.name.startswith(cut):
                raise OSError(28, "No space left on device")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(OSError, match="No space left"):
            bpe.save(tmp_path)
        monkeypatch.undo()
        assert tokenizers.load(tmp_path).fingerprint() == unigram.fingerprint()
        assert not list(tmp_path.glob("*.partial"))
    bpe.save(tmp_path)
    assert tokenizers.load(tmp_path).fingerprint() == bpe.fingerprint()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"load\(None\): give the path of a tokenizer's folder, got NoneType"):
        tokenizers.load(None)  # type: ignore[arg-type]
    (tmp_path / "bert").mkdir()
    for name in ("vocab.txt", "tokenizer.model", "t.json"):
        (tmp_path / "bert" / name).write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
        with pytest.raises(ValueError, match=rf"{name} is a file, and no tokenizer.json: give the folder that it is in"):
            tokenizers.load(tmp_path / "bert" / name)
    assert tokenizers.load(tmp_path / "bert").encode("a") == [5]


def test_loading_says_what_is_wrong(bpe: tokenizers.Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        tokenizers.load(tmp_path / "missing")
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer folder.*it holds weights\.bin"):
        tokenizers.load(tmp_path)
    bpe.save(tmp_path)
    path = tmp_path / DESCRIPTION_FILE
    good = path.read_text()
    path.write_text(good.replace('"sentencepiece"', '"morphemes"'))
    with pytest.raises(ValueError, match=r"kind 'morphemes'; accepted: 'bytes', 'sentencepiece', 'byte_bpe', 'wordpiece'"):
        tokenizers.load(tmp_path)
    for broken in (good[:40], "[]", "{}"):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"tokenizer\.json is corrupt"):
            tokenizers.load(tmp_path)
    path.write_text(good)
    (asset,) = tmp_path.glob("*.model")
    content = bytearray(asset.read_bytes())
    content[len(content) // 2] ^= 1
    asset.write_bytes(content)
    with pytest.raises(ValueError, match="is not what was saved"):
        tokenizers.load(tmp_path)
    asset.unlink()
    with pytest.raises(FileNotFoundError, match=r"is missing, though tokenizer\.json names it"):
        tokenizers.load(tmp_path)


def test_workers_do_without_tensorflow(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.pickle").write_bytes(pickle.dumps((tokenizer, TEXTS, tokenizer.encode_batch(TEXTS))))
    program = """
import pickle, sys
tokenizer, texts, wanted = pickle.load(open(sys.argv[1], "rb"))
assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == [ids.tolist() for ids in wanted]
assert tokenizer.decode_batch(wanted) == texts and len(tokenizer.fingerprint()) == 64
tokenizer.token_bytes()
tokenizer.save(sys.argv[1] + ".folder")
import tfllm.tokenizers
assert tfllm.tokenizers.load(sys.argv[1] + ".folder").encode(texts[0]) == wanted[0].tolist()
assert "tensorflow" not in sys.modules and "tensorflow_text" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "tokenizer.pickle")], check=True, cwd=Path.cwd())


def test_exported_graph_needs_no_tracking_and_no_python(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    import tensorflow as tf

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
    assert signatures["text"](tf.constant(TEXTS))["text"].numpy().tolist() == [text.encode() for text in TEXTS]
    graph = signatures["text"].graph.as_graph_def()
    ops = {node.op for nodes in [graph.node, *(f.node_def for f in graph.library.function)] for node in nodes}
    assert not ops & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def test_graph_takes_one_row_of_strings_and_dense_ids(tokenizer: tokenizers.Tokenizer) -> None:
    import tensorflow as tf

    ids = tokenizer.tokenize(tf.constant(["ab"]))
    assert ids.dtype == tf.int32 and ids.shape.rank == 2
    assert tokenizer.detokenize(tf.constant([[*tokenizer.encode("ab"), 0, 0]])).numpy().tolist() == [b"ab"]
    assert tokenizer.tokenize(tf.constant([], tf.string)).shape[0] == 0
    with pytest.raises(ValueError, match=r"shape \(1, 1\) are invalid: expected string \[B\]"):
        tokenizer.tokenize(tf.constant([["a"]]))
    with pytest.raises(ValueError, match=r"dtype int32 .* expected string"):
        tokenizer.tokenize(tf.constant([1]))
    mapped = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(lambda text: tokenizer.tokenize(text).flat_values)
    assert (
        np.concatenate(list(mapped.as_numpy_iterator())).tolist()
        == np.concatenate(tokenizer.encode_batch(TEXTS)).astype(int).tolist()
    )
