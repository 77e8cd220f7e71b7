"""Exports that draft: their texts are those of plain decoding in Python, and they say how many drafts were right."""

import keras
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
    return tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=TOKENIZER.vocab_size, num_layers=1, initializer_range=0.2))


@pytest.fixture(scope="module")
def draft_model(model):
    """The model in bfloat16: it says much of what the model says."""
    made = tfllm.CausalLM(model.config, dtype="mixed_bfloat16")
    weights = {variable.path: variable for variable in model.weights}
    for variable in made.weights:
        variable.assign(weights[variable.path])
    return made


@pytest.mark.parametrize("drafter", ["looked up", pytest.param("by a model", marks=pytest.mark.slow)])
def test_an_export_drafts(model, draft_model, drafter, tmp_path):
    few = dict.fromkeys(TOKENIZER.encode("abc"), 25.0)  # so that looking up finds some
    config = GenerationConfig(max_new_tokens=14, num_draft_tokens=3, stop=["acca"], logit_bias=few)
    draft_model = draft_model if drafter == "by a model" else None
    folder = tfllm.export(model, TOKENIZER, tmp_path / "drafting", config, draft_model=draft_model)
    if draft_model is None:
        report = tfllm.check(folder)
        assert report.ok, str(report)
    signatures = tf.saved_model.load(str(folder)).signatures
    for settings in (dict(), dict(temperature=0.7, top_k=20, seed=3, repetition_penalty=1.1)):
        plain = tfllm.generate(model, TOKENIZER, PROMPTS, config, num_draft_tokens=0, **settings)
        fields = contract_of("causal_lm", config.to_dict()).signatures["generate"].inputs
        values = config.replace(**dict(seed=0) | settings).to_dict()
        columns = {name: tf.fill([len(PROMPTS)], values[name]) for name in fields if name != "prompt"}
        found = signatures["generate"](prompt=tf.constant(PROMPTS), **columns)
        assert [text.decode() for text in found["text"].numpy()] == [record.text for record in plain]
        assert found["num_tokens"].numpy().tolist() == [record.num_tokens for record in plain]
        drafted, accepted = found["num_draft_tokens"].numpy(), found["num_accepted_tokens"].numpy()
        assert 0 < accepted.sum() <= drafted.sum() and (accepted <= drafted).all()
    with pytest.raises(ValueError, match="num_draft_tokens=0 is invalid"):
        tfllm.export(model, TOKENIZER, tmp_path / "none", draft_model=model)
