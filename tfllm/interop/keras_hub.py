"""Makes tfllm models of KerasHub's BERT and RoBERTa, with the same weights and outputs.

In: a backbone or a masked language model of KerasHub, or the name or folder of a KerasHub preset. Out: a tfllm model, and the
tokenizer where the preset or the preprocessor of the task has one. KerasHub is imported only to read a preset.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.layers.feedforward import ACTIVATIONS
from tfllm.models import MaskedLM, TextEmbedder
from tfllm.models.base import LanguageModel
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.wordpiece import WordPieceTokenizer
from tfllm.train.runs.weights import variables_by_name

Values = dict[str, np.ndarray]
_BACKBONES = ("BertBackbone", "RobertaBackbone")
_TASKS = ("BertMaskedLM", "RobertaMaskedLM")


def from_keras_hub(model: Any, *, dtype: str = "float32") -> tuple[MaskedLM | TextEmbedder, Tokenizer | None]:
    """The tfllm model of a KerasHub model or preset, and its tokenizer.

    >>> model, tokenizer = tfllm.from_keras_hub("bert_base_en_uncased")
    >>> model, tokenizer = tfllm.from_keras_hub(keras_hub.models.BertMaskedLM.from_preset("bert_base_en_uncased"))

    KerasHub's RoBERTa lacks the two position embeddings before position 0 and the one token type that Hugging Face's has. The
    result has them, all zeros, so its shapes are those of `preset("roberta-base")`.

    Args:
        model: `BertBackbone` or `RobertaBackbone` (-> `TextEmbedder`), `BertMaskedLM` or `RobertaMaskedLM` (-> `MaskedLM`);
            or a preset, as KerasHub's `from_preset` takes it: a name ("bert_base_en_uncased"), a handle (kaggle://…, hf://…)
            or a folder that `save_to_preset` wrote. The folder of a masked language model becomes a `MaskedLM`, any other
            preset a `TextEmbedder`.
        dtype: the model's dtype policy: "float32", "mixed_bfloat16" or "auto".

    Returns:
        The model; and the tokenizer of the preset or of the model's preprocessor, or None if there is none.

    Raises:
        ValueError: the model is of another class, or has a setting that tfllm does not support.
    """
    tokenizer = None
    if isinstance(model, (str, Path)):
        model, tokenizer = _from_preset(str(model))
    kind = type(model).__name__
    if kind not in (*_BACKBONES, *_TASKS) or not type(model).__module__.startswith("keras_hub."):
        accepted = ", ".join((*_BACKBONES, *_TASKS))
        raise ValueError(f"model={type(model).__module__}.{kind} is invalid: expected one of KerasHub's {accepted}.")
    backbone = model.backbone if kind in _TASKS else model
    config, values = _read_stack(backbone)
    task: type[LanguageModel] = TextEmbedder
    settings: dict[str, Any] = {}
    if kind in _TASKS:
        head, task = model.masked_lm_head, MaskedLM
        settings["transform_activation"] = _activation(head.intermediate_activation)
        settings["transform_epsilon"] = head.layer_norm_epsilon
        values |= _dense(head._intermediate_dense, "transform/dense")
        values |= _norm(head._intermediate_layer_norm, "transform/norm")
        values["head/bias"] = np.asarray(head._bias)
    ours = task(config, dtype=dtype, skip_init=True, **settings)
    for name, variable in variables_by_name(ours.variables).items():
        variable.assign(values[name])
    if (preprocessor := getattr(model, "preprocessor", None)) is not None:
        tokenizer = preprocessor.tokenizer
    return ours, None if tokenizer is None else _tokenizer(tokenizer)


def _from_preset(preset: str) -> tuple[Any, Any]:
    """KerasHub's model of a preset, and its tokenizer. A preset without a head is loaded as a backbone.

    Raises:
        ValueError: the preset is unknown.
    """
    import keras_hub  # takes seconds, and only presets need it

    task = Path(preset) / "task.json"
    if task.is_file() and json.loads(task.read_text())["class_name"] in _TASKS:
        return keras_hub.models.MaskedLM.from_preset(preset), None
    try:
        tokenizer = keras_hub.models.Tokenizer.from_preset(preset)
    except FileNotFoundError:
        tokenizer = None
    return keras_hub.models.Backbone.from_preset(preset), tokenizer


class _Stack(NamedTuple):
    config: ModelConfig
    values: Values


def _read_stack(backbone: Any) -> _Stack:
    bert = type(backbone).__name__ == "BertBackbone"
    block = backbone.transformer_layers[0]
    config = ModelConfig(
        vocab_size=backbone.vocabulary_size,
        max_length=backbone.max_sequence_length,
        num_layers=backbone.num_layers,
        hidden_size=backbone.hidden_dim,
        num_heads=backbone.num_heads,
        ffn_size=backbone.intermediate_dim,
        causal=False,
        num_types=backbone.num_segments if bert else 1,
        norm_place="post",
        embedding_norm=True,
        norm_epsilon=block.layer_norm_epsilon,
        position_offset=0 if bert else 2,
        activation=_activation(block.activation),
        pooler=bert,
        dropout=backbone.dropout,
        attention_dropout=backbone.dropout,
    )
    width = config.hidden_size
    position = backbone.position_embedding if bert else backbone.embeddings.position_embedding
    before = np.zeros([config.position_offset, width], np.float32)
    types = np.asarray(backbone.segment_embedding.embeddings) if bert else np.zeros([1, width], np.float32)
    values = {
        "encoder/token_embedding/embeddings": np.asarray(backbone.token_embedding.embeddings),
        "encoder/position_embedding/embeddings": np.concatenate([before, np.asarray(position.position_embeddings)]),
        "encoder/type_embedding/embeddings": types,
    }
    values |= _norm(backbone.embeddings_layer_norm, "encoder/embedding_norm")
    for i, layer in enumerate(backbone.transformer_layers):
        values |= _block(layer, f"encoder/block_{i}", width)
    if bert:
        values |= _dense(backbone.pooled_dense, "encoder/pooler/dense")
    return _Stack(config, values)


def _block(layer: Any, ours: str, width: int) -> Values:
    attention = layer._self_attention_layer
    parts = (attention.query_dense, attention.key_dense, attention.value_dense)
    return {
        f"{ours}/attention/qkv/kernel": np.concatenate([np.asarray(part.kernel).reshape(width, width) for part in parts], 1),
        f"{ours}/attention/qkv/bias": np.concatenate([np.asarray(part.bias).reshape(width) for part in parts]),
        f"{ours}/attention/output/kernel": np.asarray(attention.output_dense.kernel).reshape(width, width),
        f"{ours}/attention/output/bias": np.asarray(attention.output_dense.bias),
        **_norm(layer._self_attention_layer_norm, f"{ours}/attention_norm"),
        **_dense(layer._feedforward_intermediate_dense, f"{ours}/feedforward/up"),
        **_dense(layer._feedforward_output_dense, f"{ours}/feedforward/down"),
        **_norm(layer._feedforward_layer_norm, f"{ours}/feedforward_norm"),
    }


def _dense(layer: Any, ours: str) -> Values:
    return {f"{ours}/kernel": np.asarray(layer.kernel), f"{ours}/bias": np.asarray(layer.bias)}


def _norm(layer: Any, ours: str) -> Values:
    return {f"{ours}/scale": np.asarray(layer.gamma), f"{ours}/bias": np.asarray(layer.beta)}


def _activation(function: Any) -> Any:
    """Our name of an activation. It is found by its outputs, for in KerasHub one function can have several names.

    At these inputs the outputs of the two GELUs differ by 2e-4.
    """
    x = tf.constant([-1.0, 0.7])
    for name, ours in ACTIVATIONS.items():
        if np.abs(np.asarray(function(x)) - ours(x).numpy()).max() < 1e-6:
            return name
    raise ValueError(f"activation={function!r} is invalid: expected one of {', '.join(ACTIVATIONS)}.")


def _tokenizer(theirs: Any) -> Tokenizer:
    """Our tokenizer with the same vocabulary. An uncased WordPiece also strips accents, as BERT's does; KerasHub's does not."""
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(theirs, "merges"):
            (Path(folder) / "vocab.json").write_text(json.dumps(dict(theirs.vocabulary)))
            (Path(folder) / "merges.txt").write_text("".join(f"{merge}\n" for merge in theirs.merges))
            return ByteBPETokenizer.from_file(folder)
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(f"{piece}\n" for piece in theirs.vocabulary))
        return WordPieceTokenizer.from_file(path, lowercase=theirs.lowercase, split_cjk=theirs.split_on_cjk)
