"""`tokenizer(texts, …)`: rows of Hugging Face's `tokenizer(…)` and of `build_encoder_inputs`, as batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import processors

from tfllm.features import SEGMENT_IDS, TOKEN_IDS, TYPE_IDS
from tfllm.tokenizers import ByteBPETokenizer, ByteTokenizer, Tokenizer, WordPieceTokenizer, load
from tfllm.tokenizers.byte_bpe_files import AddedToken, Vocabulary
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.split_patterns import GPT2

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "on", "mat", ",", "."]
SATS, ON = ["The cats sat.", "mat"], ["on the mat, the mat", "cat"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> WordPieceTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n")
    return WordPieceTokenizer.from_file(path)


@pytest.fixture(scope="module")
def roberta() -> ByteBPETokenizer:
    pieces = {letter: 4 + byte for byte, letter in enumerate(byte_letters())}
    added = [AddedToken(id, name) for id, name in enumerate(("<s>", "<pad>", "</s>", "<unk>"))]
    return ByteBPETokenizer(Vocabulary(pieces, (), added, GPT2).canonical())


def rows(batch: dict[str, Any]) -> list[Any]:
    return [[list(map(int, row)) for row in batch[name]] for name in (TOKEN_IDS, SEGMENT_IDS, TYPE_IDS) if name in batch]


# What `transformers.BertTokenizerFast(vocab=…)` of Transformers 5 gives: input_ids, attention_mask, token_type_ids.
@pytest.mark.parametrize(
    ("given", "settings", "wanted"),
    [
        (
            [SATS],
            {"padding": True},
            [[[2, 5, 6, 8, 7, 12, 3], [2, 10, 3, 0, 0, 0, 0]], [[1] * 7, [1, 1, 1, 0, 0, 0, 0]], [[0] * 7, [0] * 7]],
        ),
        (
            [SATS],
            {"padding": "max_length", "max_length": 5, "truncation": True},
            [[[2, 5, 6, 8, 3], [2, 10, 3, 0, 0]], [[1] * 5, [1, 1, 1, 0, 0]], [[0] * 5, [0] * 5]],
        ),
        (
            [SATS, ON],
            {"padding": "longest", "truncation": "longest_first", "max_length": 9},
            [
                [[2, 5, 6, 8, 3, 9, 5, 10, 3], [2, 10, 3, 6, 3, 0, 0, 0, 0]],
                [[1] * 9, [1, 1, 1, 1, 1, 0, 0, 0, 0]],
                [[0, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0, 0]],
            ],
        ),
        (["The cat"], {"return_tensors": "np"}, [[[2, 5, 6, 3]], [[1] * 4], [[0] * 4]]),
        (["The cat"], {}, [[[2, 5, 6, 3]], [[1] * 4], [[0] * 4]]),
        (
            [SATS],
            {"padding": True, "add_special_tokens": False},
            [[[5, 6, 8, 7, 12], [10, 0, 0, 0, 0]], [[1] * 5, [1, 0, 0, 0, 0]]],  # and token_type_ids of 0
        ),
        ([["cats", ""]], {}, [[[2, 6, 8, 3], [2, 3]], [[1] * 4, [1, 1]], [[0] * 4, [0, 0]]]),
    ],
)
def test_rows_of_transformers(bert: WordPieceTokenizer, given: list[Any], settings: dict[str, Any], wanted: Any) -> None:
    assert rows(bert(*given, **settings)) == wanted


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("specials", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("limit", [None, 5, 8, 9])
def test_rows_of_the_library(kind: str, specials: bool, pairs: bool, limit: int | None, request: pytest.FixtureRequest) -> None:
    """Texts of 0 to 7 ids each way, cut and padded by `tokenizers`."""
    ours = request.getfixturevalue(kind)
    theirs = Reference.from_str(ours._native.to_str())
    theirs.post_processor = {
        "bert": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        "roberta": processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
        ),
    }[kind]
    theirs.enable_padding(pad_id=ours.pad_id)
    if limit:
        theirs.enable_truncation(limit, strategy="longest_first")
    sizes = [(first, second) for first in range(8) for second in range(8)]
    firsts = [",." * (first // 2) + "," * (first % 2) for first, _ in sizes]
    seconds = ["." * second for _, second in sizes] if pairs else None
    found = ours(firsts, seconds, padding=True, add_special_tokens=specials, truncation=bool(limit), max_length=limit)
    encoded = theirs.encode_batch(list(zip(firsts, seconds, strict=True)) if seconds else firsts, add_special_tokens=specials)
    wanted = [[row.ids for row in encoded], [row.attention_mask for row in encoded], [row.type_ids for row in encoded]]
    assert rows(found) == wanted[: 3 if specials or pairs else 2]
    assert {(value.dtype, value.shape) for value in found.values()} == {(np.dtype(np.int32), found[TOKEN_IDS].shape)}


@pytest.mark.parametrize("kind", ["bert", "roberta", "unigram", "bpe", "bytes"])
@pytest.mark.parametrize("pairs", [True, False])
def test_rows_of_framing(kind: str, pairs: bool, request: pytest.FixtureRequest) -> None:
    """What is trained on labelled data is what a call gives, for every kind."""
    import tensorflow as tf

    from tfllm.data.encoder_inputs import build_encoder_inputs

    tokenizer: Tokenizer = ByteTokenizer() if kind == "bytes" else request.getfixturevalue(kind)
    firsts, seconds = ["the cats sat on the mat.", "", "mat, mat", "x = 1\n"], ["the", "cat cat cat cat", "", "on"]
    first, second = (tokenizer.tokenize(tf.constant(texts)) for texts in (firsts, seconds))
    framed = build_encoder_inputs(first, second if pairs else None, tokenizer=tokenizer, max_length=11, multiple=1)
    found = tokenizer(firsts, seconds if pairs else None, padding=True, truncation=True, max_length=11)
    assert rows(found) == rows({name: value.numpy() for name, value in framed.items()})


def test_models_read_the_batches(bert: WordPieceTokenizer) -> None:
    import tensorflow as tf

    import tfllm

    tiny = {"hidden_size": 16, "num_heads": 2, "num_layers": 1, "max_length": 16, "ffn_size": 16}
    encoder = tfllm.MaskedLM(tfllm.preset("bert-mini", vocab_size=bert.vocab_size, **tiny))
    batch = bert(SATS, padding=True)
    alone = [encoder(bert(text)).numpy()[0] for text in SATS]
    for row, wanted in zip(encoder(batch).numpy(), alone, strict=True):
        np.testing.assert_allclose(row[: len(wanted)], wanted, atol=1e-5)
    decoder = tfllm.CausalLM(tfllm.preset("llama-mini", vocab_size=259, **tiny))
    batch = ByteTokenizer()(SATS, padding=True, add_special_tokens=False, return_tensors="tf")
    assert all(tf.is_tensor(value) for value in batch.values())
    short = decoder(ByteTokenizer()("mat", add_special_tokens=False)).numpy()[0]
    np.testing.assert_allclose(decoder(batch).numpy()[1, :3], short, atol=1e-5)


def test_rows_without_padding_are_lists_and_one_text_is_an_array(bert: WordPieceTokenizer) -> None:
    batch = bert(SATS)
    assert [[row.dtype for row in value] for value in batch.values()] == [[np.dtype(np.int32)] * 2] * 3
    assert all(value.shape == (1, 7) for value in bert(SATS[0]).values())
    assert bert(["mat", "cat"], return_tensors="np")[TOKEN_IDS].tolist() == [[2, 10, 3], [2, 6, 3]]
    assert bert([], padding=True)[TOKEN_IDS].shape == (0, 0) and bert([])[TOKEN_IDS] == []
    assert bert(np.array(["mat"]), padding=True)[TOKEN_IDS].tolist() == [[2, 10, 3]]


@pytest.mark.parametrize(
    ("given", "settings", "error", "said"),
    [
        (
            ["a"],
            {"pading": True},
            TypeError,
            r"Unknown argument pading: expected one of text, text_pair, add_special_tokens, padding",
        ),
        (
            ["a"],
            {"padding_side": "left"},
            TypeError,
            "Unknown argument padding_side: .*; padding_side: rows are padded on the right",
        ),
        (["a"], {"return_attention_mask": True}, TypeError, "segment_ids are always there"),
        (
            ["a"],
            {"padding": "longst"},
            ValueError,
            "padding='longst' is invalid: expected one of False, 'do_not_pad', True, 'longest', 'max_length'",
        ),
        (["a"], {"padding": 1}, ValueError, "padding=1 is invalid"),
        (["a"], {"truncation": "only_first"}, ValueError, "truncation='only_first' is invalid: expected one of None, False"),
        (
            ["a"],
            {"truncation": True},
            ValueError,
            r"truncation=True needs max_length, .* Give max_length=model\.max_length",
        ),
        (["a"], {"padding": "max_length"}, ValueError, "padding='max_length' needs max_length"),
        (["a"], {"max_length": 4}, ValueError, "max_length=4 has no effect .* Give truncation=True"),
        (
            ["a"],
            {"max_length": 0, "truncation": True},
            ValueError,
            "max_length=0 is invalid: expected a whole number from 1 on",
        ),
        (["a"], {"max_length": 2, "truncation": True}, ValueError, "max_length=2 is invalid: expected at least 3"),
        (
            ["a", "b"],
            {"max_length": 3, "truncation": True},
            ValueError,
            "max_length=3 is invalid: expected at least 4",
        ),
        (
            ["mat mat"],
            {"max_length": 3, "padding": "max_length"},
            ValueError,
            "Text 0 has 4 ids, more than max_length=3. Give trunc",
        ),
        ([SATS], {"return_tensors": "np"}, ValueError, "Rows of 3 to 7 ids do not make an array. Give padding=True"),
        (["a"], {"return_tensors": "pt"}, ValueError, "return_tensors='pt' is invalid: expected 'np', 'tf' or None"),
        ([SATS, "a"], {}, TypeError, "text is a list, and text_pair is a str. Give two strings, or two lists"),
        (["a", SATS], {}, TypeError, "text is one string, and text_pair is a list"),
        ([SATS, ["a"]], {}, ValueError, "text_pair has 1 texts, and text has 2. Give as many of each"),
        ([[("a", "b")]], {}, TypeError, r"A text is \('a', 'b'\): expected a string. Give second texts as text_pair="),
        ([None], {}, TypeError, "text is a NoneType"),
        ([b"a"], {}, TypeError, "text is a bytes"),
        (
            [[3]],
            {},
            TypeError,
            "A text is 3: expected str, got int. Give each text as one string, and second texts in text_pair",
        ),
        ([[b"a"]], {}, TypeError, "A text is b'a': expected str, got bytes. Decode bytes from UTF-8 first"),
        (["a"], {"stride": 3}, TypeError, "tfllm.data.question_answering cut"),
    ],
)
def test_what_is_not_accepted(
    bert: WordPieceTokenizer, given: list[Any], settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        bert(*given, **settings)


def test_advice_works(bert: WordPieceTokenizer) -> None:
    assert bert("a", max_length=3, truncation=True)[TOKEN_IDS].shape == (1, 3)
    assert bert("a", "b", max_length=4, truncation=True)[TOKEN_IDS].shape == (1, 4)
    assert bert("mat mat", max_length=3, padding="max_length", truncation=True)[TOKEN_IDS].tolist() == [[2, 10, 3]]
    assert bert(SATS, return_tensors="np", padding=True)[TOKEN_IDS].shape == (2, 7)
    assert bert(["a"], text_pair=["b"])[TOKEN_IDS][0].tolist() == [2, 1, 3, 1, 3]


def test_repr_is_one_line(bert: WordPieceTokenizer, unigram: Tokenizer, tmp_path: Path) -> None:
    assert repr(ByteTokenizer()) == "ByteTokenizer(vocab_size=259, fingerprint=388c5568…)"
    assert repr(bert) == f"WordPieceTokenizer(vocab_size=13, fingerprint={bert.fingerprint()[:8]}…)"
    unigram.save(tmp_path)
    assert repr(load(tmp_path)) == f"SentencePieceTokenizer(vocab_size=3000, fingerprint={unigram.fingerprint()[:8]}…)"


def test_arrays_need_no_tensorflow() -> None:
    code = (
        "import sys, tfllm; tfllm.tokenizers.ByteTokenizer()(['a', 'bc'], padding=True); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_texts_as_pieces_spell_them(bert: WordPieceTokenizer, roberta: ByteBPETokenizer) -> None:
    """`normalize`, by which partners of pairs are compared: "[MASK]" in a text is spelt, too."""
    import tensorflow as tf

    texts = tf.constant(["The  CÁTS,\nsat.", "the cats, sat.", b"\xff", "[MASK]"])
    assert bert.normalize(texts).numpy().tolist() == [b"thecats,sat.", b"thecats,sat.", b"", b"[mask]"]
    assert roberta.normalize(texts).numpy().tolist() == [*texts[:2].numpy(), "\ufffd".encode(), b"[MASK]"]
    composing = ByteBPETokenizer(
        Vocabulary(
            {letter: byte for byte, letter in enumerate(byte_letters())}, (), [AddedToken(256, "</s>")], GPT2, nfc=True
        ).canonical()
    )
    assert composing.normalize(tf.constant(["e\u0301"])).numpy().tolist() == ["é".encode()]
