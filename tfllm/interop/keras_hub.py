"""KerasHub's BERT and RoBERTa as ours: the same weights, the same outputs.

Enters: a backbone or a task of KerasHub (KerasNLP is the same library), made or loaded by its own `from_preset`.
Leaves: our model, and our tokenizer where the task carries theirs.
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


def from_keras_hub(model: Any, *, dtype: str = "float32") -> tuple[Any, Tokenizer | None]:
    """Our model of a KerasHub model, and its tokenizer.

    >>> theirs = keras_hub.models.BertMaskedLM.from_preset("bert_base_en_uncased")
    >>> model, tokenizer = tfllm.from_keras_hub(theirs)

    A RoBERTa gets the two rows before position 0 and the one type of text that Hugging Face's has, all zeros: KerasHub left
    them out, and with them it is `preset("roberta-base")`.

    Args:
        model: `BertBackbone` or `RobertaBackbone` (-> `TextEmbedder`), `BertMaskedLM` or `RobertaMaskedLM` (-> `MaskedLM`).
        dtype: as every model's.

    Returns:
        The model; and the tokenizer of its preprocessor, or None where it has none.

    Raises:
        ValueError: another model, or one that computes what ours does not.
    """
    kind = type(model).__name__
    if kind not in (*_BACKBONES, *_TASKS) or not type(model).__module__.startswith("keras_hub."):
        accepted = ", ".join((*_BACKBONES, *_TASKS))
        raise ValueError(f"{type(model).__module__}.{kind} is not read here; accepted: KerasHub's {accepted}")
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
    preprocessor = getattr(model, "preprocessor", None)
    return ours, None if preprocessor is None else _tokenizer(preprocessor.tokenizer)


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
    """Our name of a function, by what it gives: theirs go by several names, and the two GELUs are 2e-4 apart here."""
    x = tf.constant([-1.0, 0.7])
    for name, ours in ACTIVATIONS.items():
        if np.abs(np.asarray(function(x)) - ours(x).numpy()).max() < 1e-6:
            return name
    raise ValueError(f"the activation {function!r} is none of {', '.join(ACTIVATIONS)}")


def _tokenizer(theirs: Any) -> Tokenizer:
    """Ours of the same vocabulary. An uncased WordPiece strips accents, too, as BERT's does; KerasHub's keeps them."""
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(theirs, "merges"):
            (Path(folder) / "vocab.json").write_text(json.dumps(dict(theirs.vocabulary)))
            (Path(folder) / "merges.txt").write_text("".join(f"{merge}\n" for merge in theirs.merges))
            return ByteBPETokenizer.from_file(folder)
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(f"{piece}\n" for piece in theirs.vocabulary))
        return WordPieceTokenizer.from_file(path, lowercase=theirs.lowercase, split_cjk=theirs.split_on_cjk)
