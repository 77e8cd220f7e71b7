"""Our models beside Hugging Face's in PyTorch, live: `pytest -m parity`, with the extra `parity` installed."""

import importlib

import numpy as np
import pytest
from cases import CASES, DECODERS, ENCODERS, GOLDEN, LABELS, POOLED, Case, batch
from comparison import assert_equal, ours

from tfllm.config import RopeScaling
from tfllm.presets import preset

pytestmark = pytest.mark.parity

_DECODERS = {
    "llama tied": DECODERS["llama"].replace(tied_embeddings=True),
    "llama one key head": DECODERS["llama"].replace(num_kv_heads=1),
    "llama all key heads": DECODERS["llama"].replace(num_kv_heads=6),
    "llama-scaled untied": DECODERS["llama-scaled"].replace(tied_embeddings=False),
    "llama-scaled 32": DECODERS["llama-scaled"].replace(rope_scaling=RopeScaling(factor=32.0, original_max_length=128)),
    "qwen2 untied": DECODERS["qwen2"].replace(tied_embeddings=False),
    "gpt2 exact gelu": DECODERS["gpt2"].replace(activation="gelu"),
    "gpt2 relu": DECODERS["gpt2"].replace(activation="relu", norm_epsilon=1e-3),
}
_BERT, _ROBERTA = ENCODERS["bert-questions"].config, ENCODERS["roberta-masked-lm"].config
VARIANTS = {name: Case(config) for name, config in _DECODERS.items()} | {
    "bert masked lm": Case(_BERT, "masked_lm"),
    "bert untied, tanh gelu": Case(_BERT.replace(tied_embeddings=False, activation="gelu_tanh"), "masked_lm"),
    "bert regressor": Case(_BERT.replace(pooler=True), "text_regressor", POOLED),
    "bert several labels": Case(_BERT.replace(pooler=True), "text_classifier", LABELS | POOLED | dict(multi_label=True)),
    "roberta untied, relu": Case(
        _ROBERTA.replace(tied_embeddings=False, activation="relu"), "masked_lm", dict(transform_activation="gelu")
    ),
    "roberta regressor": Case(_ROBERTA.replace(pooler=True), "text_regressor", POOLED),
    "roberta one label": Case(_ROBERTA.replace(pooler=True), "text_classifier", LABELS | POOLED | dict(multi_label=False)),
    "roberta tagger": Case(_ROBERTA, "token_classifier", LABELS),
    "roberta questions": Case(_ROBERTA, "question_answerer"),
    "roberta types": Case(_ROBERTA.replace(num_types=4, position_offset=5, max_length=40), "question_answerer"),
}


@pytest.fixture(scope="module")
def theirs():
    """`peers.theirs`, imported when a test runs: without the marker this file is read where PyTorch is not."""
    return importlib.import_module("peers").theirs


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [*CASES, *VARIANTS])
def test_logits_and_gradients(theirs, name, seed):
    case = (CASES | VARIANTS)[name]
    expected = theirs(case, batch(case, seed), seed)
    shapes = {each: value.shape for each, value in expected.gradients.items()}
    assert_equal(ours(case, batch(case, seed), shapes, seed), expected)


@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_pytorch_says(theirs, name):
    outcome = theirs(CASES[name], batch(CASES[name], 0), 0)
    with np.load(GOLDEN / f"{name}.npz") as file:
        for each, value in outcome.logits.items():
            np.testing.assert_allclose(file[each], value, atol=1e-5)
        assert {key.removeprefix("gradient/") for key in file} - {*outcome.logits, "loss"} == set(outcome.gradients)
        for each, value in outcome.gradients.items():
            np.testing.assert_allclose(file[f"gradient/{each}"], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize(
    "name",
    ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "llama-2-7b", "llama-3.2-1b", "qwen2.5-0.5b", "smollm2-135m"],
)
def test_presets_have_as_many_parameters_as_their_peers(name):
    config = preset(name)
    with importlib.import_module("torch").device("meta"):
        model = importlib.import_module("peers").peer(Case(config))
    assert sum(parameter.numel() for parameter in model.parameters()) == config.num_parameters()
