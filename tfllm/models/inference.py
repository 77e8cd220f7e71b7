"""A model's weights as inference reads them: each once, in the form that is fastest where nothing changes it.

Input: a model. Output: a model of the same class, by `replace_layers`, with implementations for inference. In the model itself
matrices are float32 and [I, O], as training wants them; decoding would cast or transpose them at every step.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.layers.base import Linear, constant
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.onednn import packs
from tfllm.layers.packed import PackedEmbedding, PackedVocabularyHead
from tfllm.layers.quantized import Int8Embedding, Int8Linear, Int8VocabularyHead
from tfllm.layers.transposed import TransposedEmbedding, TransposedLinear, TransposedVocabularyHead
from tfllm.models.base import LanguageModel
from tfllm.models.folder import get
from tfllm.models.layer_replacement import Rule, replace_layers, with_variables
from tfllm.train.distribution.tensor_parallel import TensorParallel

Quantization = Literal["int8"] | None


class InferenceModel:
    """A model, and the one that computes in its place: a decoder with copies of all weights, an encoder where it is quantized.

    `for_inference` makes one to generate with, `tfllm.export` those of an export.
    """

    def __init__(self, model: LanguageModel, quantize: Quantization = None, prepack: bool = False):
        self.model, self.config = model, model.config
        self.replaced = replace_layers(model, _rule(model, quantize, prepack)) if model.causal or quantize else model
        """Computes."""

    @property
    def variables(self) -> list[tf.Variable]:
        """Of the model that computes, each once."""
        return [variable.value for variable in self.replaced.variables]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"an InferenceModel, which generates, streams and drafts, has no {name}; .model is what was copied"
        )

    def __reduce__(self) -> Any:
        raise TypeError("an InferenceModel belongs to its model: make another with tfllm.for_inference")


def for_inference(model: LanguageModel | str | Path, *, quantize: Quantization = None, prepack: bool = False) -> InferenceModel:
    """The decoder as it is now, for `tfllm.generate`, `tfllm.stream` and as a draft model, at the speed of an export.

    >>> fast = tfllm.for_inference(model, quantize="int8")
    >>> [answer] = tfllm.generate(fast, tokenizer, "def main(", max_new_tokens=20)

    It has copies of the weights, beside the model's own: when the model is trained on, make another. A small model gains
    little. It drafts for other models, not for the one it was made of.

    Args:
        model: a `CausalLM`, or the path of its folder.
        quantize: "int8" keeps the matrices of stack and vocabulary in 8 bits, and multiplies in 8 bits: a token of GPT-2 small
            takes 0.5 of its time in float32 (without VNNI 0.8), of a smaller model more, for a little quality
            (docs/performance.md). Only on x86 processors, where TensorFlow runs oneDNN.
        prepack: oneDNN keeps each matrix once more, as the processor reads it soonest. Several texts at once are continued
            sooner, in bfloat16 one is, too; each kind of decoding takes memory for the weights again. int8 does so always.
            Only on x86 processors, where TensorFlow runs oneDNN, in bfloat16 only on those with AVX-512.

    Raises:
        ValueError: the model is no decoder, is on a mesh, `quantize` is unknown, or it or `prepack` wants another processor or
            dtype.
    """
    model = get(model)
    if isinstance(model, InferenceModel):
        raise ValueError("for_inference was given what it made; give that one's .model")
    if not isinstance(model, LanguageModel) or not model.causal:
        raise ValueError(f"for_inference takes a CausalLM, got {type(model).__name__}; tfllm.export makes others faster")
    if isinstance(model.distribute_strategy, TensorParallel):
        raise ValueError("the model is on a mesh, where nothing is copied: load it on one device")
    check_form(model, quantize, prepack)
    return InferenceModel(model, quantize, prepack)


def check_form(model: LanguageModel, quantize: Any, prepack: Any) -> None:
    """Raises ValueError."""
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize={quantize!r} is unknown: give 'int8', or leave it out")
    if not isinstance(prepack, bool):
        raise ValueError(f"prepack={prepack!r} must be True or False")
    if (quantize or prepack) and platform.machine().lower() not in ("x86_64", "amd64"):
        asked = f"quantize={quantize!r}" if quantize else "prepack=True"
        raise ValueError(f"{asked} wants an x86 processor, this one is {platform.machine()}: leave it out")
    dtype = model.dtype_policy.compute_dtype
    if prepack and not quantize and dtype == "float16":
        raise ValueError(
            "prepack=True is of float32 and mixed_bfloat16, the model is mixed_float16: load it with another dtype"
        )
    if prepack and not quantize and not packs(dtype):
        raise ValueError(f"prepack=True in {dtype} wants a processor with AVX-512, which this one has not: leave it out")


def computing_model(model: Any) -> Any:
    """The language model that computes for `model`: an `InferenceModel`'s own, else itself. None for None."""
    return model.replaced if isinstance(model, InferenceModel) else model


def cast_matrices(model: Any) -> Any:
    """Inside a graph: a mixed-precision model whose matrices are cast here, once; else each step of a loop would cast them.

    A model whose matrices have the compute dtype, or which is on a mesh, is given back.
    """
    if not isinstance(model, LanguageModel) or isinstance(model.distribute_strategy, TensorParallel):
        return model

    def is_wide(variable: keras.Variable) -> bool:
        return len(variable.shape) > 1 and variable.dtype != model.compute_dtype

    def is_cast(layer: keras.layers.Layer) -> bool:
        table = type(layer) is Embedding and _is_tied(layer, model)
        own = type(layer) is Linear or (type(layer) is VocabularyHead and not layer.tied)
        return (table or own) and any(map(is_wide, layer.variables))

    def cast(variable: keras.Variable) -> keras.Variable | tf.Tensor:
        return tf.cast(variable.value, model.compute_dtype) if is_wide(variable) else variable

    if not any(map(is_cast, model._flatten_layers())):
        return model
    return replace_layers(model, lambda layer, path: with_variables(layer, cast) if is_cast(layer) else None)


def _rule(model: LanguageModel, quantize: Quantization, prepack: bool) -> Rule:
    """What is neither quantized nor of a decoder stays the model's own."""
    if quantize:
        return _quantized(model)
    return _transposed(model, prepack)


def _transposed(model: LanguageModel, prepack: bool) -> Rule:
    """Kernels, and in float32 the vocabulary's table: in bfloat16 it is read faster as it is."""
    in_float32 = model.compute_dtype == "float32"

    def rule(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if isinstance(layer, Linear):
            return TransposedLinear(layer, prepack=prepack)
        if isinstance(layer, Embedding) and _is_tied(layer, model) and (in_float32 or prepack):
            return TransposedEmbedding(layer, prepack=prepack) if in_float32 else PackedEmbedding(layer)
        if isinstance(layer, VocabularyHead) and not layer.tied and (in_float32 or prepack):
            return TransposedVocabularyHead(layer, prepack=prepack) if in_float32 else PackedVocabularyHead(layer)
        return _copied(layer)

    return rule


def _quantized(model: LanguageModel) -> Rule:
    """The stack's kernels and the vocabulary's; vectors are still looked up in a table of the compute dtype."""
    stack = f"{model.name}/{model.stack.name}/"

    def rule(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if isinstance(layer, Linear) and path.startswith(stack):
            return Int8Linear(layer)
        if isinstance(layer, VocabularyHead) and not layer.tied:
            return Int8VocabularyHead(layer)
        if isinstance(layer, Embedding) and _is_tied(layer, model):
            return Int8Embedding(layer, _copied(layer).embeddings if model.causal else layer.embeddings)
        return _copied(layer) if model.causal else None

    return rule


def _is_tied(layer: keras.layers.Layer, model: LanguageModel) -> bool:
    """Is it the embedding whose table the vocabulary head has, too?"""
    return layer is model.stack.token_embedding and model.ties_head


def _copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    """With variables of its own: matrices in the compute dtype. Norms and biases are small, and some are used in float32."""

    def copy(variable: keras.Variable) -> keras.Variable:
        value = tf.cast(variable.value, layer.compute_dtype) if len(variable.shape) > 1 else variable.value
        return constant(value, variable.name, layer, autocast=variable._autocast)

    return with_variables(layer, copy)
