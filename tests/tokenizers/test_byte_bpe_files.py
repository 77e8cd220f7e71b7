"""Byte-level BPE: what is read, what is refused by name, what is saved, trained and exported."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import byte_bpe_real
import pytest

import tfllm.tokenizers
from tfllm.tokenizers import ByteBPETokenizer

TEXTS = ["It's  10%\n", "", "a <|endoftext|> \0 中文", "  \t\n'S"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_bpe_real.gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def trained(code: Sequence[str]) -> ByteBPETokenizer:
    made = tfllm.tokenizers.train(texts=code[::60], kind="byte_bpe", vocab_size=400, progress=False)
    assert isinstance(made, ByteBPETokenizer)
    return made


def test_saved_and_loaded(trained: ByteBPETokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = tfllm.tokenizers.load(tmp_path)
    assert loaded.fingerprint() == trained.fingerprint() and loaded.encode_batch(TEXTS)[2].tolist() == trained.encode(TEXTS[2])
    (asset,) = tmp_path.glob("byte_bpe-*.model")
    assert ByteBPETokenizer.from_file(asset).fingerprint() == trained.fingerprint()
    with pytest.raises(ValueError, match=r"has no 'model'.*tfllm\.tokenizers\.load"):
        ByteBPETokenizer.from_file(tmp_path)


def test_a_pair_of_files_and_its_tokenizer_json_are_one(gpt2: Path, tmp_path: Path) -> None:
    """Merges as strings or pairs, with or without the model's type: the same fingerprint."""
    ours = ByteBPETokenizer.from_file(gpt2)
    spec = json.loads(ours._asset)
    del spec["model"]["type"]
    spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    spec["truncation"] = {"max_length": 3}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    assert ByteBPETokenizer.from_file(tmp_path).fingerprint() == ours.fingerprint()


def test_added_tokens_that_are_not_special_decode_to_themselves(trained: ByteBPETokenizer, tmp_path: Path) -> None:
    import tensorflow as tf

    spec = json.loads(trained._asset)
    spec["added_tokens"].append(spec["added_tokens"][0] | {"id": 400, "content": "<think>", "special": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = ByteBPETokenizer.from_file(tmp_path)
    assert tokenizer.decode([1, 400, *tokenizer.encode("a"), 0]) == "<think>a" and tokenizer.encode("<think>") == [400]
    assert (
        tokenizer.detokenize(tf.constant([[1, 400, 0]])).numpy().tolist() == [b"<think>"] and tokenizer.token_bytes()[400] == 7
    )


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "model": (lambda spec: spec["model"].update(type="Unigram"), "model type is 'Unigram'; accepted: 'BPE'"),
    "dropout": (lambda spec: spec["model"].update(dropout=0.1), "dropout is 0.1"),
    "suffix": (lambda spec: spec["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix is '</w>'"),
    "fallback": (lambda spec: spec["model"].update(byte_fallback=True), "byte_fallback is True"),
    "normalizer": (lambda spec: spec.update(normalizer={"type": "NFKC"}), "normalizer is 'NFKC'; accepted: none, 'NFC'"),
    "decoder": (lambda spec: spec.update(decoder={"type": "Metaspace"}), "decoder is 'Metaspace'"),
    "splitter": (lambda spec: spec.update(pre_tokenizer={"type": "Whitespace"}), r"pre_tokenizer is \['Whitespace'\]"),
    "prefix": (
        lambda spec: spec["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
        "add_prefix_space is True",
    ),
    "pattern": (
        lambda spec: spec["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "x+"}),
        r"split pattern is\n.*x\+",
    ),
    "behavior": (lambda spec: spec["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "behavior is 'Removed'"),
    "empty": (lambda spec: spec["added_tokens"][0].update(special=False, content=""), "the added token '' of id 0 is empty"),
    "word": (
        lambda spec: (
            spec["added_tokens"][0].update(special=False, single_word=True),
            spec["model"].update(ignore_merges=True),
        ),
        "'<pad>' is 'single_word', which is not supported together with 'ignore_merges'",
    ),
    "taken": (lambda spec: spec["added_tokens"][2].update(id=5), "'<unk>' has the id 5, which is that of '#'"),
    "twice": (
        lambda spec: spec["added_tokens"].append(spec["added_tokens"][0] | {"id": 400}),
        "'<pad>' has two ids, 0 and 400",
    ),
    "spaces": (
        lambda spec: [
            token.update(special=False, lstrip=True, rstrip=True, content=" x") for token in spec["added_tokens"][:1]
        ],
        "' x' with rstrip takes white space that ' x' with lstrip begins with",
    ),
    "digits": (
        lambda spec: spec["pre_tokenizer"].update(
            pretokenizers=[{"type": "Digits", "individual_digits": False}, {"type": "ByteLevel", "add_prefix_space": False}]
        ),
        "individual_digits is False; accepted: True",
    ),
    "end": (lambda spec: spec["added_tokens"].pop(1), "no added token ends a document; accepted: one of <eos>"),
    "bytes": (lambda spec: spec["model"]["vocab"].pop("Ġ"), r"no piece for 1 bytes of ASCII \(0x20"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_named(trained: ByteBPETokenizer, tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    spec = json.loads(trained._asset)
    change(spec)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=message):
        ByteBPETokenizer.from_file(path)


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*it holds nothing"):
        ByteBPETokenizer.from_file(tmp_path)
    byte_bpe_real.roberta(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(ValueError, match="names Qwen2Tokenizer"):
        ByteBPETokenizer.from_file(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizerFast"}')
    assert ByteBPETokenizer.from_file(tmp_path).pair_separators == 2
    with (tmp_path / "merges.txt").open("a") as file:
        file.write("a b c\n")
    with pytest.raises(ValueError, match="line 50002 is 'a b c'"):
        ByteBPETokenizer.from_file(tmp_path)


def test_training_is_the_same_on_any_number_of_cores(trained: ByteBPETokenizer, code: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "texts.pickle").write_bytes(pickle.dumps(code[::60]))
    program = """
import pickle, sys, tfllm.tokenizers
texts = pickle.load(open(sys.argv[1], "rb"))
print(tfllm.tokenizers.train(texts=texts, kind="byte_bpe", vocab_size=400, progress=False).fingerprint())
assert "tensorflow" not in sys.modules
"""
    for threads in ("1", "5"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "texts.pickle")],
            env=os.environ | {"RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == trained.fingerprint()


def test_training_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"expected at most 2\d+, the pieces that the text gives"):
        tfllm.tokenizers.train(texts=["ab ab"], kind="byte_bpe", vocab_size=9000, progress=False)
    with pytest.raises(ValueError, match="vocab_size=200 is invalid: expected at least"):
        tfllm.tokenizers.train(texts=["ab"], kind="byte_bpe", vocab_size=200, progress=False)


def test_pickled(trained: ByteBPETokenizer) -> None:
    trained._graph_model  # noqa: B018 - made before it travels
    again = pickle.loads(pickle.dumps(trained))
    assert again.fingerprint() == trained.fingerprint() and again.encode("a b") == trained.encode("a b")


def test_exported_without_tracking(gpt2: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    tokenizer = ByteBPETokenizer.from_file(gpt2)
    strings = tf.TensorSpec([None], tf.string)
    module = tf.Module()
    module.ids = tf.function(lambda text: {"ids": tokenizer.tokenize(text).to_tensor(-1)}, input_signature=[strings])
    module.text = tf.function(lambda text: {"text": tokenizer.detokenize(tokenizer.tokenize(text))}, input_signature=[strings])
    tf.saved_model.save(module, str(tmp_path), signatures={"ids": module.ids, "text": module.text})
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    rows = signatures["ids"](tf.constant(TEXTS))["ids"].numpy().tolist()
    assert [[id for id in row if id >= 0] for row in rows] == [tokenizer.encode(text) for text in TEXTS]
    assert signatures["text"](tf.constant(TEXTS))["text"].numpy().tolist() == [text.encode() for text in TEXTS]
    graph = signatures["text"].graph.as_graph_def()
    ops = {node.op for nodes in [graph.node, *(f.node_def for f in graph.library.function)] for node in nodes}
    assert not {op for op in ops if "PyFunc" in op or "Table" in op or "HashTable" in op}


def test_graph_takes_empty_batches_and_dense_ids(trained: ByteBPETokenizer) -> None:
    import tensorflow as tf

    assert trained.tokenize(tf.constant([], tf.string)).to_list() == []
    assert trained.tokenize(tf.constant(["", ""])).to_list() == [[], []]
    assert trained.detokenize(tf.constant([[*trained.encode("ab"), 0, 1]])).numpy().tolist() == [b"ab"]
    with pytest.raises(ValueError, match=r"expected string \[B\]"):
        trained.tokenize(tf.constant([["a"]]))
    with pytest.raises(ValueError, match=r"id 400 is not in the vocabulary"):
        trained.decode([400])
    with pytest.raises(TypeError, match="got one string"):
        trained.encode_batch("hello")
    with pytest.raises(TypeError, match="got one string"):
        tfllm.tokenizers.ByteTokenizer().encode_batch("hello")
    with pytest.raises(ValueError, match="lone surrogate"):
        trained.encode_batch(["\ud800"])
