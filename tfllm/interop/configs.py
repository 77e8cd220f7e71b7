"""Hugging Face's `config.json` and our `ModelConfig`: which fields are equal, and which values are not supported.

In: the fields of a `config.json`, or a `ModelConfig`. Out: the other of the two. To find what a family of models does not have,
a config is written and read again: a field that comes back with another value is not supported. Source: the configuration
classes of Transformers 5, and the files that older versions wrote.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tfllm.config import ModelConfig, RopeScaling

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_WRITTEN_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}


class _Family(NamedTuple):
    """How the `config.json` of one `model_type` is read and written."""

    names: dict[str, str]
    """Field of `ModelConfig` -> key of `config.json`."""
    fixed: dict[str, Any]
    """Fields of `ModelConfig` that have the same value in all models of the family."""
    defaults: dict[str, Any]
    """Values of keys that `config.json` may omit. It must have all other keys."""
    only: dict[str, Any]
    """Keys of `config.json` of which only one value is supported."""


_NO_BIAS = dict(qkv_bias=False, attention_output_bias=False, ffn_bias=False)
_ENCODER = _Family(
    names=dict(
        vocab_size="vocab_size",
        max_length="max_position_embeddings",
        num_layers="num_hidden_layers",
        hidden_size="hidden_size",
        num_heads="num_attention_heads",
        ffn_size="intermediate_size",
        num_types="type_vocab_size",
        norm_epsilon="layer_norm_eps",
        activation="hidden_act",
        dropout="hidden_dropout_prob",
        attention_dropout="attention_probs_dropout_prob",
        initializer_range="initializer_range",
        tied_embeddings="tie_word_embeddings",
    ),
    fixed=dict(causal=False, norm_place="post", embedding_norm=True),
    defaults=dict(
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        initializer_range=0.02,
        tie_word_embeddings=True,
        pad_token_id=1,
    ),
    only=dict(position_embedding_type="absolute", is_decoder=False, add_cross_attention=False, pruned_heads={}),
)
_GPT2 = _Family(
    names=dict(
        vocab_size="vocab_size",
        max_length="n_positions",
        num_layers="n_layer",
        hidden_size="n_embd",
        num_heads="n_head",
        ffn_size="n_inner",
        norm_epsilon="layer_norm_epsilon",
        activation="activation_function",
        dropout="resid_pdrop",
        attention_dropout="attn_pdrop",
        initializer_range="initializer_range",
        tied_embeddings="tie_word_embeddings",
    ),
    fixed={},
    defaults=dict(
        n_positions=1024,
        n_inner=None,
        layer_norm_epsilon=1e-5,
        activation_function="gelu_new",
        resid_pdrop=0.1,
        attn_pdrop=0.1,
        initializer_range=0.02,
        tie_word_embeddings=True,
    ),
    only=dict(scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False),
)
_LLAMA = _Family(
    names=dict(
        vocab_size="vocab_size",
        max_length="max_position_embeddings",
        num_layers="num_hidden_layers",
        hidden_size="hidden_size",
        num_heads="num_attention_heads",
        num_kv_heads="num_key_value_heads",
        head_dim="head_dim",
        ffn_size="intermediate_size",
        norm_epsilon="rms_norm_eps",
        activation="hidden_act",
        attention_dropout="attention_dropout",
        initializer_range="initializer_range",
        tied_embeddings="tie_word_embeddings",
        qkv_bias="attention_bias",
        attention_output_bias="attention_bias",
        ffn_bias="mlp_bias",
    ),
    fixed=dict(norm="rms", positions="rotary", gated_ffn=True),
    defaults=dict(
        num_key_value_heads=None,
        head_dim=None,
        rms_norm_eps=1e-6,
        hidden_act="silu",
        attention_dropout=0.0,
        initializer_range=0.02,
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
    ),
    only=dict(pretraining_tp=1),
)


def _without(names: dict[str, str], *fields: str) -> dict[str, str]:
    return {field: name for field, name in names.items() if field not in fields}


_BIASES = ("qkv_bias", "attention_output_bias", "ffn_bias")
_FAMILIES: dict[str, _Family] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "gpt2": _GPT2,
    "openai-gpt": _GPT2._replace(
        names=_without(_GPT2.names, "ffn_size") | dict(activation="afn"),
        fixed=dict(norm_place="post"),
        defaults=_GPT2.defaults | dict(n_positions=512, afn="gelu"),
        only={},
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA._replace(
        names=_without(_LLAMA.names, *_BIASES) | dict(sliding_window="sliding_window"),
        fixed=_LLAMA.fixed | _NO_BIAS,
        defaults=_LLAMA.defaults | dict(sliding_window=4096),
        only={},
    ),
    "qwen2": _LLAMA._replace(
        names=_without(_LLAMA.names, *_BIASES),
        fixed=_LLAMA.fixed | _NO_BIAS | dict(qkv_bias=True),
        only=dict(use_sliding_window=False),
    ),
    "qwen3": _LLAMA._replace(
        names=_without(_LLAMA.names, "ffn_bias"),
        fixed=_LLAMA.fixed | dict(ffn_bias=False, qk_norm=True),
        defaults=_LLAMA.defaults | dict(head_dim=128),
        only=dict(use_sliding_window=False),
    ),
}
_FREE = {"dropout", "attention_dropout", "initializer_range", "remat", "pooler"}
"""Fields that do not change the outputs of a trained model; and `pooler`, which is derived from the weights."""


def read_config(values: dict[str, Any]) -> ModelConfig:
    """The architecture of a `config.json`, with `pooler=False`.

    Raises:
        ValueError: the kind of model or a value is not supported, or a key is missing. The message names it.
    """
    name = values.get("model_type")
    if name not in _FAMILIES:
        raise ValueError(
            f"model_type={name!r} is invalid: expected one of {', '.join(_FAMILIES)}. Give a folder of such a model."
        )
    family = _FAMILIES[name]
    for key, accepted in family.only.items():
        if values.get(key) not in (None, accepted):
            raise ValueError(f"{key}={values[key]!r} is invalid: expected {accepted!r}. Give a folder of such a model.")
    if missing := sorted({key for key in family.names.values() if key not in values and key not in family.defaults}):
        raise ValueError(
            f"config.json is incomplete: expected {', '.join(missing)}. Add the values that the model was trained with."
        )
    theirs = family.defaults | {key: value for key, value in values.items() if key not in _OPTIONAL or value is not None}
    ours = {field: theirs[key] for field, key in family.names.items()} | family.fixed
    ours["activation"] = _activation(name, family.names["activation"], ours["activation"])
    for field in ("num_kv_heads", "head_dim", "ffn_size", "sliding_window"):
        ours[field] = ours.get(field) or 0  # null: derived from other fields
    if name == "roberta":
        ours["position_offset"] = theirs["pad_token_id"] + 1
        ours["max_length"] -= ours["position_offset"]
    if "positions" in family.fixed:
        ours |= _read_rope(values)
    return ModelConfig(**ours)


_OPTIONAL = ("pad_token_id", "tie_word_embeddings")
"""Keys that are ignored if their value is null."""


def write_config(config: ModelConfig, name: str) -> dict[str, Any]:
    """The `config.json` of the family `name`. It lacks those values of `config` that the family does not have."""
    family = _FAMILIES[name]
    values: dict[str, Any] = {"model_type": name}
    values |= {key: getattr(config, field) for field, key in family.names.items()} | family.only
    key = family.names["activation"]
    values[key] = _WRITTEN_ACTIVATIONS[config.activation]
    if name == "openai-gpt":
        values[key] = {"gelu_tanh": "gelu"}.get(config.activation, config.activation)
    if "resid_pdrop" in values:
        values["embd_pdrop"] = config.dropout
    if "type_vocab_size" in values:
        values["type_vocab_size"] = max(config.num_types, 1)
    if name == "roberta":
        values["pad_token_id"] = max(config.position_offset, 1) - 1
        values["max_position_embeddings"] += config.position_offset
    if name == "mistral":
        values["sliding_window"] = config.sliding_window or None
    if "positions" in family.fixed:
        values |= _write_rope(config)
    return values


def family_of(config: ModelConfig) -> str:
    """The `model_type` whose models are of this architecture.

    Raises:
        ValueError: there is none. The message names the fields in which the nearest family differs.
    """
    differences: dict[str, list[str]] = {}
    for name, family in _FAMILIES.items():
        if family.fixed.get("causal", True) != config.causal:
            continue
        again = read_config(write_config(config, name)).to_dict()
        differences[name] = [
            f"{key}={value!r} (expected {again[key]!r})"
            for key, value in config.to_dict().items()
            if key not in _FREE and again[key] != value
        ]
        if not differences[name]:
            return name
    nearest = min(differences, key=lambda name: len(differences[name]))
    raise ValueError(
        f"Hugging Face has no class for this architecture. The nearest, {nearest!r}, differs in "
        f"{', '.join(differences[nearest])}. "
        "Export the model with tfllm.export, or train a model with the expected values."
    )


def _activation(family: str, key: str, name: str) -> str:
    if family == "openai-gpt" and name == "gelu":
        return "gelu_tanh"
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"{key}={name!r} is invalid: expected one of {', '.join(_ACTIVATIONS)}. Give a folder of such a model."
        )
    return _ACTIVATIONS[name]


def _read_rope(values: dict[str, Any]) -> dict[str, Any]:
    """Rotary positions: `rope_parameters` of Transformers 5, or `rope_theta` and `rope_scaling` of older versions."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    theta = rope.get("rope_theta", values.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return {"rope_theta": theta}
    if kind != "llama3":
        raise ValueError(f"rope_type={kind!r} is invalid: expected 'default' or 'llama3'. Give a folder of such a model.")
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    if missing := [name for name in names if name not in rope]:
        raise ValueError(
            f"rope_scaling of config.json is incomplete: expected {', '.join(missing)}. Add the values that the model was "
            "trained with."
        )
    scaling = RopeScaling(
        factor=rope["factor"],
        low_frequency_factor=rope["low_freq_factor"],
        high_frequency_factor=rope["high_freq_factor"],
        original_max_length=rope["original_max_position_embeddings"],
    )
    return {"rope_theta": theta, "rope_scaling": scaling}


def _write_rope(config: ModelConfig) -> dict[str, Any]:
    """The keys of Transformers 5 and those of older versions."""
    if config.rope_scaling is None:
        return {
            "rope_theta": config.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        }
    scaling = {
        "rope_type": "llama3",
        "factor": config.rope_scaling.factor,
        "low_freq_factor": config.rope_scaling.low_frequency_factor,
        "high_freq_factor": config.rope_scaling.high_frequency_factor,
        "original_max_position_embeddings": config.rope_scaling.original_max_length,
    }
    rope = scaling | {"rope_theta": config.rope_theta}
    return {"rope_theta": config.rope_theta, "rope_scaling": scaling, "rope_parameters": rope}
