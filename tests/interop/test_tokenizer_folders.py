"""Every file of a folder that names a token is read: the ids are those of Transformers 5.24, and no named row is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as original
from safetensors.numpy import load_file, save_file
from small import BERT, GPT2, MERGES, SPECIALS, strong, tokenizer_for
from tokenizers import AddedToken

import tfllm
from tfllm.interop.huggingface import from_huggingface, to_huggingface
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.train.runs.weights import variables_by_name

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##1", "##2", "[", "]", "e", "e1"]
ROBERTA = [*SPECIALS, *byte_letters(), *("".join(pair) for pair in MERGES)]
GPT = [*byte_letters(), *("".join(pair) for pair in MERGES), "<|endoftext|>"]


def flags(content: str, **more: bool) -> dict[str, Any]:
    return {"content": content, **dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word", "special"), False), **more}


def write(folder: Path, vocabulary: list[str], **files: Any) -> Path:
    """`vocab.txt`, or `vocab.json` and `merges.txt`, and other files by their names."""
    if vocabulary[0] == "[PAD]":
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    else:
        (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(vocabulary)}))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in MERGES))
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


DECODER = {str(id): flags(WORDPIECE[id], special=True) for id in range(5)}
CASES: dict[str, tuple[list[str], dict[str, Any], dict[str, list[int]]]] = {
    "added_tokens": (
        WORDPIECE,
        {"added_tokens": {"[E2]": 14, "[E1]": 13}},
        {"the [E1] cat": [5, 13, 6], "THE [e1]cat[E2] e1": [5, 13, 6, 14, 12]},
    ),
    "special ones that are pieces": (
        [*WORDPIECE, "[E1]"],
        {"special_tokens_map": {"additional_special_tokens": ["[E1]"], "cls_token": {"content": "[CLS]", "lstrip": False}}},
        {"the [E1] cat": [5, 13, 6], "THE [e1]cat[E2]": [5, 9, 12, 10, 6, 9, 11, 8, 10]},
    ),
    "special ones without ids": (
        WORDPIECE,
        {"special_tokens_map": {"additional_special_tokens": ["[E1]", "[E2]"]}},
        {"the [E1] cat": [5, 13, 6], "THE [e1]cat[E2] e1": [5, 9, 12, 10, 6, 14, 12]},
    ),
    "decoder": (
        WORDPIECE,
        {
            "tokenizer_config": {
                "tokenizer_class": "BertTokenizer",
                "added_tokens_decoder": DECODER
                | {"13": flags("[E1]", normalized=True), "14": flags("covid", normalized=True, single_word=True)},
            }
        },
        {"THE [e1]cat[E2]": [5, 13, 6, 9, 11, 8, 10], "covid covid1 COVID the": [14, 1, 14, 5]},
    ),
    "config": (
        WORDPIECE,
        {
            "tokenizer_config": {
                "do_lower_case": False,
                "additional_special_tokens": ["[E1]"],
                "image_token": "[IMG]",
                "add_bos_token": True,
            }
        },
        {"[IMG][E1] THE": [13, 14, 1], "the [e1]cat": [5, 9, 12, 10, 6]},
    ),
    "roberta's": (
        ROBERTA,
        {"added_tokens": {"<num>": 265, "covid": 266}},
        {"covid the  <num>e": [266, 263, 37, 37, 265, 106]},
    ),
    "roberta's decoder": (
        ROBERTA,
        {
            "tokenizer_config": {
                "tokenizer_class": "RobertaTokenizer",
                "added_tokens_decoder": {
                    "0": flags("<s>", special=True, normalized=True),
                    "4": flags("<mask>", special=True, lstrip=True),
                    "265": flags("<num>", lstrip=True),
                },
            }
        },
        {"the  <num> <mask> e": [121, 262, 265, 4, 37, 106]},
    ),
    "gpt-2's padding": (
        GPT,
        {"added_tokens": {"[PAD]": 261}, "special_tokens_map": {"pad_token": "[PAD]", "eos_token": "<|endoftext|>"}},
        {"the e": [116, 257, 32, 101]},
    ),
}
"""Vocabulary, files beside it, texts with the ids that Transformers gives them."""


@pytest.mark.parametrize("name", CASES)
def test_a_folder_gives_the_ids_of_transformers(name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    vocabulary, files, texts = CASES[name]
    tokenizer = tfllm.tokenizers.load(write(tmp_path, vocabulary, **files))
    assert [tokenizer.encode(text) for text in texts] == list(texts.values())
    assert tokenizer.tokenize(tf.constant(list(texts))).to_list() == list(texts.values())
    again = tfllm.tokenizers.load(_saved(tokenizer, tmp_path / "saved"))
    assert again.fingerprint() == tokenizer.fingerprint() and again.vocab_size == tokenizer.vocab_size
    sizes = {"special ones that are pieces": 14, "roberta's": 267, "roberta's decoder": 266, "gpt-2's padding": 262}
    assert tokenizer.vocab_size == sizes.get(name, 15)


def _saved(tokenizer: Any, folder: Path) -> Path:
    tokenizer.save(folder)
    return folder


STATED = {"added_tokens": {"[E1]": 13}}
CONTRADICTIONS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "another id": (WORDPIECE, {"added_tokens": {"[E1]": 14}}, r"'\[E1\]' has the id 14, and `tokenizers` gives it 13"),
    "a piece's id": (WORDPIECE, {"added_tokens": {"the": 13}}, "'the' has the id 13, and `tokenizers` gives it 5"),
    "left out": (
        WORDPIECE,
        STATED | {"tokenizer_config": {"added_tokens_decoder": DECODER}},
        r"'\[E1\]' is named, but not in the added_tokens_decoder of tokenizer_config\.json.*put it there",
    ),
    "two ids": (
        WORDPIECE,
        {"added_tokens": {"[E1]": 14}, "tokenizer_config": {"added_tokens_decoder": DECODER | {"13": flags("[E1]")}}},
        r"added_tokens\.json says AddedToken\(id=14, .* another file AddedToken\(id=13",
    ),
    "another role": (
        [*WORDPIECE, "<s>"],
        {"special_tokens_map": {"cls_token": "<s>"}},
        r"the cls_token is '<s>', which is not supported; accepted: '\[CLS\]'",
    ),
    "never_split": (WORDPIECE, {"tokenizer_config": {"never_split": ["e1"]}}, r"'never_split': \['e1'\]"),
    "specials cut": (WORDPIECE, {"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens is not supported"),
    "mask cut": (ROBERTA, {"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens is not supported"),
    "a space first": (GPT, {"tokenizer_config": {"add_prefix_space": True}}, "add_prefix_space is True; accepted: False"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_or_is_not_carried_is_named(name: str, tmp_path: Path) -> None:
    vocabulary, files, message = CONTRADICTIONS[name]
    with pytest.raises(ValueError, match=message):
        tfllm.tokenizers.load(write(tmp_path, vocabulary, **files))


def test_the_advice_for_a_token_left_out_works(tmp_path: Path) -> None:
    decoder = DECODER | {"13": flags("[E1]")}
    write(tmp_path, WORDPIECE, **STATED, tokenizer_config={"added_tokens_decoder": decoder})
    assert tfllm.tokenizers.load(tmp_path).encode("the [E1] cat") == [5, 13, 6]


def fast(folder: Path, kind: str, change: Callable[[original.Tokenizer], Any] = lambda _: None) -> original.Tokenizer:
    """A `tokenizer.json` of the `tokenizers` library, written to `folder`."""
    made: Any
    if kind == "wordpiece":
        (folder / "words.txt").write_text("".join(f"{piece}\n" for piece in WORDPIECE))
        made = original.BertWordPieceTokenizer(str(folder / "words.txt"))._tokenizer
        (folder / "words.txt").unlink()
    else:
        made = original.Tokenizer(original.models.BPE({piece: id for id, piece in enumerate(GPT)}, list(MERGES)))
        made.pre_tokenizer = original.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = original.decoders.ByteLevel()
        made.add_special_tokens([AddedToken("<|endoftext|>")])
    change(made)
    made.save(str(folder / "tokenizer.json"))
    return made


def more(made: original.Tokenizer) -> None:
    made.add_tokens(["<num>", AddedToken("covid", single_word=True)])
    made.enable_truncation(3)
    made.enable_padding(length=9)


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_load_reads_a_tokenizer_json_as_a_file_and_in_a_folder(kind: str, tmp_path: Path) -> None:
    theirs = fast(tmp_path, kind, more)
    theirs.no_truncation()
    theirs.no_padding()
    texts = ["the <num>cat covid covid1", "e1<num>", "the cat the cat the cat"]
    shutil.copy(tmp_path / "tokenizer.json", tmp_path / "mine.json")
    for path in (tmp_path, tmp_path / "tokenizer.json", tmp_path / "mine.json"):
        tokenizer = tfllm.tokenizers.load(path)
        assert [tokenizer.encode(text) for text in texts] == [
            theirs.encode(text, add_special_tokens=False).ids for text in texts
        ]
    again = tfllm.tokenizers.load(_saved(tokenizer, tmp_path / "saved"))
    assert tfllm.tokenizers.load(tmp_path / "saved" / "tokenizer.json").fingerprint() == again.fingerprint()
    assert again.fingerprint() == tokenizer.fingerprint()


def test_what_stands_beside_a_tokenizer_json_is_added_or_contradicts_it(tmp_path: Path) -> None:
    fast(tmp_path, "wordpiece", more)
    config = tmp_path / "tokenizer_config.json"
    # Transformers adds these to the file's own: [14, 15, 5] for "covid [E1] the".
    config.write_text(json.dumps({"additional_special_tokens": ["[E1]"], "tokenizer_class": "PreTrainedTokenizerFast"}))
    assert tfllm.tokenizers.load(tmp_path).encode("covid [E1] the") == [14, 15, 5]
    decoder = {
        "13": flags("<num>", normalized=True),
        "14": flags("covid", normalized=True, single_word=True),
        "15": flags("[E1]"),
    }
    config.write_text(json.dumps({"added_tokens_decoder": decoder}))
    assert tfllm.tokenizers.load(tmp_path).encode("covid [E1] the") == [14, 15, 5]
    config.write_text(json.dumps({"added_tokens_decoder": decoder | {"13": flags("<num>")}}))
    with pytest.raises(ValueError, match=r"normalized=False\), tokenizer\.json AddedToken\(id=13.*normalized=True"):
        tfllm.tokenizers.load(tmp_path)


def test_a_space_before_each_text_contradicts_a_tokenizer_json(tmp_path: Path) -> None:
    fast(tmp_path, "byte_bpe")
    (tmp_path / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: the add_prefix_space is True; accepted: False"):
        tfllm.tokenizers.load(tmp_path)


def test_another_kind_is_named(tmp_path: Path) -> None:
    original.Tokenizer(original.models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"holds a tokenizer of type 'WordLevel'; accepted: WordPiece, byte-level BPE"):
        tfllm.tokenizers.load(tmp_path)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A BERT of `vocab.txt` alone, whose table has seven rows more than it has lines."""
    folder = tmp_path / "encoder"
    to_huggingface(strong("BertForMaskedLM"), tokenizer_for(BERT, tmp_path), folder)
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        if name.endswith(("word_embeddings.weight", "predictions.bias", "decoder.bias", "decoder.weight")):
            tensors[name] = np.concatenate(
                [value, np.arange(7 * value[0].size).reshape([7, *value.shape[1:]]).astype(np.float32)]
            )
    save_file(tensors, folder / "model.safetensors")
    _change(folder / "config.json", vocab_size=BERT.vocab_size + 7)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    return folder


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | values))


def test_rows_that_a_file_names_are_kept(encoder: Path) -> None:
    model, tokenizer = from_huggingface(encoder)
    assert model.config.vocab_size == tokenizer.vocab_size == 60
    (encoder / "added_tokens.json").write_text('{"[E1]": 60, "[E2]": 61}')
    model, tokenizer = from_huggingface(encoder)
    assert model.config.vocab_size == tokenizer.vocab_size == 62
    table = next(value for name, value in variables_by_name(model.variables).items() if value.shape == (62, 12))
    np.testing.assert_array_equal(table.numpy()[60:], np.arange(24).reshape(2, 12))
    assert tokenizer.encode("the [E1] .") == [57, 60, 59]


def test_named_rows_behind_the_tokenizer_are_not_cut(encoder: Path, tmp_path: Path) -> None:
    _change(encoder / "generation_config.json", eos_token_id=[3, 62])
    with pytest.raises(ValueError, match=r"generation_config\.json names the id 62: expected at most 59"):
        from_huggingface(encoder)
    (encoder / "generation_config.json").unlink()
    _change(encoder / "config.json", pad_token_id=61)
    with pytest.raises(ValueError, match=r"config\.json names the id 61.*with tokenizer=… or added_tokens\.json"):
        from_huggingface(encoder)
    (encoder / "added_tokens.json").write_text('{"[E1]": 60, "[E2]": 61}')
    assert from_huggingface(encoder)[0].config.vocab_size == 62
    with pytest.raises(ValueError, match=r"names the id 61: expected at most 59"):
        from_huggingface(encoder, tokenizer=tokenizer_for(BERT, tmp_path))


@pytest.mark.parametrize("name", ["special ones without ids", "decoder", "roberta's decoder"])
def test_added_tokens_are_written_back(name: str, tmp_path: Path) -> None:
    """To `tokenizer.json`, and beside the older files, so that these alone give the same tokenizer."""
    vocabulary, files, texts = CASES[name]
    tokenizer = tfllm.tokenizers.load(write(tmp_path, vocabulary, **files))
    config = (GPT2 if "roberta" in name else BERT).replace(vocab_size=tokenizer.vocab_size)
    model = tfllm.models.CausalLM(config) if config.causal else tfllm.models.MaskedLM(config)
    folder = to_huggingface(model, tokenizer, tmp_path / "written")
    theirs = original.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text, ids in texts.items():
        assert theirs.encode(text, add_special_tokens=False).ids == ids
    assert from_huggingface(folder)[1].fingerprint() == tokenizer.fingerprint()
    (folder / "tokenizer.json").unlink()
    _change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizer" if not config.causal else "GPT2Tokenizer")
    assert [from_huggingface(folder)[1].encode(text) for text in texts] == list(texts.values())


def test_specials_before_the_pieces_keep_their_ids_in_hugging_face(tmp_path: Path) -> None:
    """`tokenizers` numbers what is in no vocabulary on from its end: <pad> would have had the id of a piece."""
    tokenizer = tfllm.tokenizers.train(texts=["the cat and the hat "] * 9, kind="byte_bpe", vocab_size=262, progress=False)
    model = tfllm.models.CausalLM(GPT2.replace(vocab_size=262))
    folder = to_huggingface(model, tokenizer, tmp_path / "written")
    theirs = original.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [theirs.token_to_id(piece) for piece in ("<pad>", "<eos>", "<unk>")] == [0, 1, 2]
    again = from_huggingface(folder)[1]
    assert again.encode("the cat<eos>") == tokenizer.encode("the cat<eos>") and again.pad_id == 0
