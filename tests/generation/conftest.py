"""Small models with weights wide enough that they do not say one thing only."""

import keras
import pytest

import tfllm
from tfllm.tokenizers import ByteTokenizer

FAMILIES = ["llama-tiny", "gpt2-tiny"]


@pytest.fixture(scope="session")
def tokenizer():
    return ByteTokenizer()


@pytest.fixture(scope="session", params=FAMILIES)
def model(request, tokenizer):
    keras.utils.set_random_seed(0)
    return tfllm.CausalLM(tfllm.preset(request.param, vocab_size=tokenizer.vocab_size, initializer_range=0.3))
