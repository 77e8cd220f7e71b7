"""The model's config: what it accepts, what it refuses and how it says so, its arithmetic, its JSON."""

import dataclasses
import json

import pytest

from tfllm.config import ModelConfig, RopeScaling

SIZES = {"vocab_size": 97, "max_length": 32, "num_layers": 3, "hidden_size": 24, "num_heads": 4}


def test_sizes_left_out_follow_from_others():
    config = ModelConfig(**SIZES)
    assert (config.num_kv_heads, config.head_dim, config.ffn_size) == (4, 6, 96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, r"vocab_size=0 is invalid: expected a whole number from 1 on"),
        ({"max_length": -1}, r"max_length=-1 is invalid: expected a whole number from 1 on"),
        ({"num_layers": 1.5}, r"num_layers=1.5 is invalid: expected a whole number from 1 on"),
        ({"num_layers": True}, r"num_layers=True is invalid: expected a whole number from 1 on"),
        ({"hidden_size": "24"}, r"hidden_size='24' is invalid: expected a whole number from 1 on"),
        ({"num_heads": 0}, r"num_heads=0 is invalid: expected a whole number from 1 on"),
        ({"num_kv_heads": -2}, r"num_kv_heads=-2 is invalid: expected a whole number from 1 on"),
        ({"head_dim": -8}, r"head_dim=-8 is invalid: expected a whole number from 1 on"),
        ({"ffn_size": -8}, r"ffn_size=-8 is invalid: expected a whole number from 1 on"),
        ({"num_heads": 5}, r"hidden_size=24 is invalid: expected a multiple of num_heads=5.*give head_dim"),
        ({"num_kv_heads": 3}, r"num_kv_heads=3 is invalid: expected a divisor of num_heads=4"),
        ({"positions": "rotary", "head_dim": 7}, r"head_dim=7 is invalid: expected an even number"),
        ({"positions": "sinusoidal", "hidden_size": 25, "head_dim": 6}, r"hidden_size=25 is invalid: expected an even number"),
        ({"sliding_window": -1}, r"sliding_window=-1 is invalid: expected a whole number from 0 on"),
        ({"sliding_window": 2.5}, r"sliding_window=2.5 is invalid: expected a whole number from 0 on"),
        ({"norm": "batch"}, r"norm='batch' is invalid: expected one of 'layer', 'rms'"),
        ({"norm_place": "middle"}, r"norm_place='middle' is invalid: expected one of 'pre', 'post'"),
        ({"positions": "alibi"}, r"positions='alibi' is invalid: expected one of 'learned', 'sinusoidal', 'rotary'"),
        (
            {"activation": "swish"},
            r"activation='swish' is invalid: expected one of 'gelu', 'gelu_tanh', 'relu', 'silu'",
        ),
        ({"dropout": 1.0}, r"dropout=1.0 is invalid: expected a number from 0 to below 1"),
        ({"dropout": -0.1}, r"dropout=-0.1 is invalid: expected a number from 0 to below 1"),
        ({"attention_dropout": float("nan")}, r"attention_dropout=nan is invalid: expected a number from 0 to below 1"),
        ({"dropout": "0.1"}, r"dropout='0.1' is invalid: expected a number from 0 to below 1"),
        ({"norm_epsilon": 0.0}, r"norm_epsilon=0.0 is invalid: expected a finite number above 0"),
        ({"rope_theta": float("inf")}, r"rope_theta=inf is invalid: expected a finite number above 0"),
        ({"initializer_range": -0.02}, r"initializer_range=-0.02 is invalid: expected a finite number above 0"),
        ({"gated_ffn": "yes"}, r"gated_ffn='yes' is invalid: expected True or False"),
        ({"qk_norm": 1}, r"qk_norm=1 is invalid: expected True or False"),
        (
            {"rope_scaling": RopeScaling(factor=2.0)},
            r"rope_scaling=.* is invalid: expected None with positions='learned'",
        ),
        ({"positions": "rotary", "rope_scaling": 8.0}, r"rope_scaling=8.0 is invalid: expected a RopeScaling or None"),
    ],
)
def test_values_no_model_can_be_built_from_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**SIZES | change)


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 0.5},
        {"original_max_length": 0},
        {"low_frequency_factor": 0.0},
        {"low_frequency_factor": 4.0, "high_frequency_factor": 4.0},
    ],
)
def test_rope_scaling_that_stretches_nothing_is_refused(change):
    with pytest.raises(ValueError, match=r"rope_scaling: .* is invalid: expected"):
        RopeScaling(**{"factor": 8.0} | change)


def test_a_config_is_frozen_and_comparable():
    config = ModelConfig(**SIZES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dropout = 0.5
    assert config == ModelConfig(**SIZES) and hash(config) == hash(ModelConfig(**SIZES))


def test_replace_lets_derived_sizes_follow():
    config = ModelConfig(**SIZES).replace(hidden_size=32, num_heads=8)
    assert (config.num_kv_heads, config.head_dim, config.ffn_size) == (8, 4, 128)
    given = ModelConfig(**SIZES, head_dim=8, num_kv_heads=2, ffn_size=50).replace(hidden_size=32)
    assert (given.num_kv_heads, given.head_dim, given.ffn_size) == (2, 8, 50)
    assert ModelConfig(**SIZES).replace(hidden_size=32, ffn_size=7).ffn_size == 7


def test_replace_names_unknown_fields():
    with pytest.raises(ValueError, match=r"ModelConfig has no depth; its fields are .*num_layers"):
        ModelConfig(**SIZES).replace(depth=3)


@pytest.mark.parametrize("scaling", [None, RopeScaling(factor=32.0, low_frequency_factor=2.0)])
def test_json_round_trip(tmp_path, scaling):
    config = ModelConfig(**SIZES, positions="rotary", rope_scaling=scaling, num_kv_heads=2, remat=True, dropout=0.1)
    config.save(tmp_path / "config.json")
    assert ModelConfig.load(tmp_path / "config.json") == config
    assert set(json.loads((tmp_path / "config.json").read_text())) == {f.name for f in dataclasses.fields(ModelConfig)}
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config.json is not JSON"),
        ("[1]", r"config.json holds list, not the fields of a model"),
        (
            json.dumps({"vocab_size": 9}),
            r"config.json: .*lacks hidden_size, max_length, num_heads, num_layers",
        ),
        (json.dumps(SIZES | {"depth": 9}), r"config.json: .*unknown fields: depth"),
        (json.dumps(SIZES | {"dropout": 2}), r"config.json: dropout=2 is invalid"),
        (json.dumps(SIZES | {"num_heads": "4"}), r"config.json: num_heads='4' is invalid: expected a whole number from 1 on"),
        (json.dumps(SIZES | {"rope_scaling": {"stretch": 2}}), r"config.json: .*stretch"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        ModelConfig.load(tmp_path / "config.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json does not exist"):
        ModelConfig.load(tmp_path / "config.json")


def test_forward_flops_count_the_matrix_products():
    """By hand for D=4, N=2, K=1, H=2, F=8, V=10, one layer, rows of 3 tokens: 1, 2 and 3 keys, 2 on average."""
    config = ModelConfig(vocab_size=10, max_length=8, num_layers=1, hidden_size=4, num_heads=2, num_kv_heads=1, ffn_size=8)
    weights = 4 * (4 + 2 + 2) + 4 * 4 + 2 * 4 * 8 + 10 * 4
    scores_and_sums = 2 * 2 * 2 * 2
    assert config.forward_flops_per_token(3) == 2 * (weights + scores_and_sums)
    # One token in three is scored: the others need no more than keys and values.
    third = 4 * (4 + 2 + 2) + (4 * 4 + 2 * 4 * 8 + 10 * 4 + scores_and_sums) / 3
    assert config.forward_flops_per_token(3, targets=1 / 3) == int(2 * third)
    gated = config.replace(gated_ffn=True)
    assert gated.forward_flops_per_token(3) - config.forward_flops_per_token(3) == 2 * 4 * 8
    # A window of 2 leaves 1, 2 and 2 keys: 5/3 on average.
    window = config.replace(sliding_window=2).forward_flops_per_token(3)
    assert window == int(2 * (weights + 2 * 4 * 5 / 3))
