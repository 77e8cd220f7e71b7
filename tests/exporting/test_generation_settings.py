"""What of a GenerationConfig is part of an export and not of a request: `serving_default` and `generate` against Python."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.exporting.contract import contract_of
from tfllm.generation import GenerationConfig
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = ["The quick", "", "中文"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    return tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=TOKENIZER.vocab_size, num_layers=1, initializer_range=0.12))


def exported(model, folder: Path, config: GenerationConfig):
    """The loaded signatures of an export that keeps its contract."""
    folder = tfllm.export(model, TOKENIZER, folder, config)
    report = tfllm.check(folder)
    assert report.ok, str(report)
    return tf.saved_model.load(str(folder)).signatures


def ask(signatures, config: GenerationConfig, prompts=PROMPTS, **changes):
    """`generate` with the config's settings for every row."""
    fields = contract_of("causal_lm", config.to_dict()).signatures["generate"].inputs
    settings = config.replace(seed=0).to_dict() | changes
    columns = {name: tf.fill([len(prompts)], settings[name]) for name in fields if name != "prompt"}
    return signatures["generate"](prompt=tf.constant(prompts), **columns)


def test_bias_bad_words_and_alternatives(model, tmp_path):
    config = GenerationConfig(
        max_new_tokens=8, min_new_tokens=3, logit_bias={104: 2.0, 9: -9.0}, bad_words=["a", "eh"], top_log_probs=3
    )
    signatures = exported(model, tmp_path / "rich", config)
    expected = tfllm.generate(model, TOKENIZER, PROMPTS, config)
    assert [text.decode() for text in signatures["serving_default"](prompt=tf.constant(PROMPTS))["text"].numpy()] == [
        record.text for record in expected
    ]
    found = {name: value.numpy() for name, value in ask(signatures, config).items()}
    plain = tfllm.generate(model, TOKENIZER, PROMPTS, config, logit_bias={}, bad_words=())
    assert [record.token_ids for record in plain] != [record.token_ids for record in expected]
    for i, record in enumerate(expected):
        count = found["num_tokens"][i]
        assert found["token_ids"][i, :count].tolist() == record.token_ids
        for at, step in enumerate(record.top_log_probs):
            assert found["top_token_ids"][i, at].tolist() == [each.token_id for each in step]
            np.testing.assert_allclose(found["top_log_probs"][i, at], [each.log_prob for each in step], atol=1e-4)
        assert not found["top_token_ids"][i, count:].any() and not found["top_log_probs"][i, count:].any()


def test_beams(model, tmp_path):
    """`serving_default` and `generate` search; the latter takes no settings of sampling."""
    config = GenerationConfig(max_new_tokens=6, num_beams=4, num_beam_groups=2, diversity_penalty=0.5, early_stopping="never")
    signatures = exported(model, tmp_path / "beams", config)
    expected = tfllm.generate(model, TOKENIZER, PROMPTS, config)
    assert [record.text for record in expected] != [r.text for r in tfllm.generate(model, TOKENIZER, PROMPTS, max_new_tokens=6)]
    texts = [record.text.encode() for record in expected]
    assert signatures["serving_default"](prompt=tf.constant(PROMPTS))["text"].numpy().tolist() == texts
    found = {name: value.numpy() for name, value in ask(signatures, config).items()}
    assert found["text"].tolist() == texts
    np.testing.assert_allclose(found["score"], [record.score for record in expected], rtol=1e-4)
    assert found["num_tokens"].tolist() == [record.num_tokens for record in expected]
    assert "temperature" not in signatures["generate"].structured_input_signature[1]
    with pytest.raises(ValueError, match="num_sequences=2 is invalid: expected 1"):
        tfllm.export(model, TOKENIZER, tmp_path / "two", config.replace(num_sequences=2))


@pytest.mark.slow
@pytest.mark.parametrize("constraint", [dict(choices=["yes", "no", "nobody"]), dict(regex=r"[a-f]{2,9}(\.[0-9]+)?")], ids=str)
def test_constraints(model, tmp_path, constraint):
    """The automaton is in the graph: a draw keeps to it where nothing of tfllm can be imported."""
    config = GenerationConfig(max_new_tokens=12, **constraint)
    signatures = exported(model, tmp_path / "constrained", config)
    for settings in (dict(), dict(temperature=2.0)):
        texts = [record.text for record in tfllm.generate(model, TOKENIZER, PROMPTS, config, seed=0, **settings)]
        assert [text.decode() for text in ask(signatures, config, **settings)["text"].numpy()] == texts
        assert all(text in constraint.get("choices", [text]) and re.match("[a-fyn]", text) for text in texts)


@pytest.mark.slow
def test_contrastive_search(model, tmp_path):
    config = GenerationConfig(max_new_tokens=6, penalty_alpha=0.6, top_k=4)
    signatures = exported(model, tmp_path / "contrastive", config)
    texts = [record.text.encode() for record in tfllm.generate(model, TOKENIZER, PROMPTS, config)]
    assert signatures["serving_default"](prompt=tf.constant(PROMPTS))["text"].numpy().tolist() == texts
    assert ask(signatures, config)["text"].numpy().tolist() == texts
