"""The cache gets slots as they are needed: when they come changes nothing, and a budget that is not spent costs nothing."""

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.generation import decode
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import rows_of
from tfllm.layers import cache
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = ["def f(", "", "naïve 中文"]


def small() -> tfllm.CausalLM:
    return tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=TOKENIZER.vocab_size, initializer_range=0.3), seed=0)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"temperature": 0.8, "seed": 3, "num_sequences": 2}, marks=pytest.mark.slow),
        {"num_beams": 3},
        pytest.param({"penalty_alpha": 0.5, "top_k": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_texts_do_not_depend_on_when_slots_come(settings, monkeypatch):
    found = []
    for slots in (3, 256):  # at every third token, and never
        monkeypatch.setattr(cache, "_SLOTS", slots)
        found.append(tfllm.generate(small(), TOKENIZER, PROMPTS, max_new_tokens=24, min_new_tokens=24, **settings))
    for often, never in zip(*found, strict=True):
        assert often.token_ids == never.token_ids
        np.testing.assert_allclose(often.log_probs, never.log_probs, atol=1e-4)


def test_slots_come_as_tokens_do():
    model, prompts = small(), Prompts(tf.constant([[1, 40, 41]]), tf.constant([3]))
    settings = rows_of([tfllm.GenerationConfig(max_new_tokens=10_000, min_new_tokens=10_000)])
    state = decode.begin(model, prompts, settings)
    sizes = [state.cache.keys[0].shape[2]]
    for until in (30, 31, 70):
        state = decode.advance(model, prompts, settings, state=state, until=until)
        sizes.append(state.cache.keys[0].shape[2])
    # Three tokens of the prompt are read, and 0, 29, 30, 69 new ones.
    assert sizes == [32, 32, 64, 96]
