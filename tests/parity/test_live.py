"""Our models beside Hugging Face's in PyTorch, live: `pytest -m parity`, with the extra `parity` installed."""

import importlib

import numpy as np
import pytest
from cases import CASES, GOLDEN, batch
from comparison import assert_equal, ours

from tfllm.config import RopeScaling
from tfllm.presets import preset

pytestmark = pytest.mark.parity

VARIANTS = {
    "llama tied": CASES["llama"].replace(tied_embeddings=True),
    "llama one key head": CASES["llama"].replace(num_kv_heads=1),
    "llama all key heads": CASES["llama"].replace(num_kv_heads=6),
    "llama-scaled untied": CASES["llama-scaled"].replace(tied_embeddings=False),
    "llama-scaled 32": CASES["llama-scaled"].replace(rope_scaling=RopeScaling(factor=32.0, original_max_length=128)),
    "qwen2 untied": CASES["qwen2"].replace(tied_embeddings=False),
    "gpt2 exact gelu": CASES["gpt2"].replace(activation="gelu"),
    "gpt2 relu": CASES["gpt2"].replace(activation="relu", norm_epsilon=1e-3),
}


@pytest.fixture(scope="module")
def theirs():
    """`peers.theirs`, imported when a test runs: without the marker this file is read where PyTorch is not."""
    return importlib.import_module("peers").theirs


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [*CASES, *VARIANTS])
def test_logits_and_gradients(theirs, name, seed):
    config = (CASES | VARIANTS)[name]
    expected = theirs(config, batch(config, seed), seed)
    shapes = {each: value.shape for each, value in expected.gradients.items()}
    assert_equal(ours(config, batch(config, seed), shapes, seed), expected)


@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_pytorch_says(theirs, name):
    outcome = theirs(CASES[name], batch(CASES[name], 0), 0)
    with np.load(GOLDEN / f"{name}.npz") as file:
        np.testing.assert_allclose(file["logits"], outcome.logits, atol=1e-5)
        assert {key.removeprefix("gradient/") for key in file} - {"logits", "loss"} == set(outcome.gradients)
        for each, value in outcome.gradients.items():
            np.testing.assert_allclose(file[f"gradient/{each}"], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize(
    "name",
    ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "llama-2-7b", "llama-3.2-1b", "qwen2.5-0.5b", "smollm2-135m"],
)
def test_presets_have_as_many_parameters_as_their_peers(name):
    config = preset(name)
    with importlib.import_module("torch").device("meta"):
        model = importlib.import_module("peers").peer(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.num_parameters()
