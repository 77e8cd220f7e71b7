"""Small models with weights wide enough that they do not say one thing only."""

import functools

import keras
import pytest

import tfllm
from tfllm.tokenizers import ByteTokenizer

FAMILIES = ["llama-tiny", "gpt2-tiny"]


@pytest.fixture(scope="session")
def tokenizer():
    return ByteTokenizer()


@functools.cache
def _model(name):
    keras.utils.set_random_seed(0)
    return tfllm.CausalLM(tfllm.preset(name, vocab_size=ByteTokenizer.vocab_size, initializer_range=0.3))


@pytest.fixture(params=FAMILIES)
def model(request):
    """Every family in turn."""
    return _model(request.param)


@pytest.fixture
def llama():
    return _model("llama-tiny")
