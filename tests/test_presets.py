"""The presets: their published sizes, by arithmetic and built."""

import pytest

from tfllm.config import ModelConfig
from tfllm.models import CausalLM, TextEmbedder
from tfllm.presets import preset, preset_names

PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-2-7b": 6_738_415_616,
    "llama-3.2-1b": 1_235_814_400,
    "qwen2.5-0.5b": 494_032_768,
    "smollm2-135m": 134_515_008,
    "bert-base-cased": 108_310_272,
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
    "bert-medium": 41_373_184,
    "bert-mini": 11_170_560,
    "bert-small": 28_763_648,
    "bert-tiny": 4_385_920,
    "minilm-l6-h384": 22_713_216,
    "roberta-base": 124_645_632,
}
MINIS = ("modern-encoder-base", "modern-encoder-mini", "gpt2-mini", "gpt2-tiny", "llama-mini", "llama-small", "llama-tiny")


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_are_as_published(name, parameters):
    assert preset(name).num_parameters() == parameters


def test_every_preset_is_counted():
    assert preset_names() == sorted([*PUBLISHED, *MINIS])


@pytest.mark.parametrize(
    "name",
    [*MINIS[1:], "gpt2", "smollm2-135m", "bert-mini", "roberta-base", pytest.param("qwen2.5-0.5b", marks=pytest.mark.slow)],
)
def test_the_built_model_has_the_counted_parameters(name):
    config = preset(name)
    model = CausalLM(config) if config.causal else TextEmbedder(config)
    assert model.count_params() == config.num_parameters()
    assert sum(v.value.shape.num_elements() for v in model.trainable_variables) == config.num_parameters()


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "rms"},
        {"norm_place": "post"},
        {"positions": "sinusoidal"},
        {"gated_ffn": True, "ffn_size": 30},
        {"qkv_bias": False},
        {"attention_output_bias": False},
        {"ffn_bias": False},
        {"qk_norm": True},
        {"qk_norm": True, "norm": "rms"},
        {"num_kv_heads": 1, "head_dim": 10},
        {"tied_embeddings": False},
        {"gated_ffn": True, "ffn_bias": False, "qk_norm": True, "num_kv_heads": 2, "tied_embeddings": False},
    ],
    ids=str,
)
def test_the_arithmetic_follows_every_switch(change):
    config = preset("gpt2-tiny", vocab_size=31, hidden_size=24, num_layers=1).replace(**change)
    assert CausalLM(config).count_params() == config.num_parameters()


@pytest.mark.parametrize(
    "change",
    [
        {"num_types": 3},
        {"position_offset": 2},
        {"embedding_norm": False},
        {"pooler": False},
        {"norm": "rms"},
        {"norm_place": "pre"},
    ],
    ids=str,
)
def test_the_arithmetic_follows_every_switch_of_encoders(change):
    config = preset("bert-tiny", vocab_size=31, hidden_size=24, num_layers=1).replace(**change)
    assert TextEmbedder(config).count_params() == config.num_parameters()


def test_overrides():
    assert preset("gpt2", max_length=512).num_parameters() == 124_046_592
    assert preset("llama-tiny", hidden_size=32).head_dim == 8
    assert isinstance(preset("gpt2-tiny"), ModelConfig)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no preset 'gpt3'; the presets are bert-base-cased, .*gpt2, gpt2-large"):
        preset("gpt3")
    with pytest.raises(ValueError, match=r"ModelConfig has no layers"):
        preset("gpt2", layers=3)
