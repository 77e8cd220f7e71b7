"""`tfllm.score`: sums of `log_softmax(model(…))`, whatever the batch; windows and exports are in tests/exporting."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.tokenizers import ByteTokenizer

TEXTS = ["the cat sat", "", "é", "x" * 15, "the"]


@pytest.fixture(scope="module")
def model() -> Any:
    tiny = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "num_kv_heads": 1, "ffn_size": 16, "max_length": 16}
    return tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=259, initializer_range=0.3, **tiny))


def by_hand(model: Any, text: str) -> tuple[list[int], list[float]]:
    ids = [1, *ByteTokenizer().encode(text), 1]
    log_probs = tf.nn.log_softmax(model({"token_ids": tf.constant([ids[:-1]])}))[0].numpy()
    return ids[1:], [float(log_probs[at, id]) for at, id in enumerate(ids[1:])]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_sum_of_log_softmax(model: Any, batch_size: int) -> None:
    found = tfllm.score(model, ByteTokenizer(), TEXTS, per_token=True, batch_size=batch_size)
    for text, each in zip(TEXTS, found, strict=True):
        ids, log_probs = by_hand(model, text)
        assert (each.text, each.token_ids, each.num_tokens, each.num_bytes) == (text, ids, len(ids), len(text.encode()))
        np.testing.assert_allclose(each.token_log_probs, log_probs, atol=2e-5)
        assert each.log_prob == pytest.approx(sum(log_probs), rel=1e-5)
        assert each.perplexity == pytest.approx(math.exp(-sum(log_probs) / len(ids)), rel=1e-5)
        if text:
            assert each.bits_per_byte == pytest.approx(-sum(log_probs) / math.log(2) / len(text.encode()), rel=1e-5)
    assert math.isnan(found[1].bits_per_byte)


def test_one_text_and_none_and_fewer_fields(model: Any) -> None:
    [alone] = tfllm.score(model, ByteTokenizer(), "the cat sat")
    assert alone.token_ids is None and alone.token_log_probs is None
    assert alone.log_prob == pytest.approx(sum(by_hand(model, "the cat sat")[1]), rel=1e-5)
    assert tfllm.score(model, ByteTokenizer(), []) == []
    [fast] = tfllm.score(tfllm.for_inference(model), ByteTokenizer(), "the cat sat")
    assert fast.log_prob == pytest.approx(alone.log_prob, rel=1e-4)


def test_paths_stand_for_models(model: Any, tmp_path: Path) -> None:
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    [alone], [found] = (
        tfllm.score(*given, "the cat sat")
        for given in ((model, ByteTokenizer()), (str(tmp_path / "model"), tmp_path / "model"))
    )
    assert found.log_prob == pytest.approx(alone.log_prob, rel=1e-5)


def test_what_cannot_be_scored(model: Any) -> None:
    encoder = tfllm.MaskedLM(tfllm.preset("bert-mini", vocab_size=259, num_layers=1, hidden_size=8, num_heads=1, ffn_size=8))
    with pytest.raises(ValueError, match="expected a CausalLM, got a MaskedLM, which gives no probability of a whole text"):
        tfllm.score(encoder, ByteTokenizer(), "a")
    with pytest.raises(TypeError, match=r"model=3 is invalid: expected a model .* or the path of its folder, got int"):
        tfllm.score(3, ByteTokenizer(), "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the tokenizer has 300 ids, the model's vocabulary 259"):
        tfllm.score(model, type("Other", (ByteTokenizer,), {"vocab_size": 300})(), "a")
    with pytest.raises(TypeError, match="A text is 3: expected str, got int"):
        tfllm.score(model, ByteTokenizer(), ["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size=0 is invalid: expected an integer from 1"):
        tfllm.score(model, ByteTokenizer(), ["a"], batch_size=0)


def test_a_scored_model_can_go() -> None:
    tiny = {"num_layers": 1, "hidden_size": 8, "num_heads": 1, "num_kv_heads": 1, "ffn_size": 8, "max_length": 16}
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=259, **tiny))
    tfllm.score(model, ByteTokenizer(), "a")
    held = weakref.ref(model)
    del model
    gc.collect()
    assert held() is None
