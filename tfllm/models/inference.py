"""Copies of a model for inference, whose layers store the weights in the fastest layout for inference.

In: a model. Out: a model of the same class, in which `replace_layers` has replaced the layers. In the original model a matrix
is float32 [I, O], as training needs it, so decoding casts or transposes it at each step.
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
    """A model, and its copy for inference. An encoder is copied only if it is quantized.

    `tfllm.for_inference` and `tfllm.export` make such objects.
    """

    def __init__(self, model: LanguageModel, quantize: Quantization = None, prepack: bool = False):
        self.model, self.config = model, model.config
        self.replaced = replace_layers(model, _rule(model, quantize, prepack)) if model.causal or quantize else model
        """The copy, which computes."""

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables of the copy, each once."""
        return [variable.value for variable in self.replaced.variables]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"InferenceModel has no attribute {name!r}: expected model or variables. It can only generate text and draft. For "
            "other uses take the model that was copied: .model"
        )

    def __reduce__(self) -> Any:
        raise TypeError("an InferenceModel cannot be copied or pickled. Make another with tfllm.for_inference.")


def for_inference(model: LanguageModel | str | Path, *, quantize: Quantization = None, prepack: bool = False) -> InferenceModel:
    """A copy of a decoder for `tfllm.generate` and `tfllm.stream`, as model or as draft model. It is as fast as an export.

    >>> fast = tfllm.for_inference(model, quantize="int8")
    >>> [answer] = tfllm.generate(fast, tokenizer, "def main(", max_new_tokens=20)

    The copy has its own weights: after more training of the model, make another copy. A small model becomes only a little
    faster. The copy cannot be the draft model of the model that it was made from.

    Args:
        model: a `CausalLM`, or the path of its folder.
        quantize: "int8" stores the matrices of the blocks and of the vocabulary in 8 bits, and multiplies in 8 bits. A token
            of GPT-2 small then takes half as long as in float32 (0.8 times without VNNI). The gain is less for smaller models.
            The quality is slightly lower (docs/performance.md). Only on x86 processors, where TensorFlow runs oneDNN.
        prepack: oneDNN keeps another copy of each matrix, in the layout that the processor reads fastest. Several prompts at
            once become faster; in bfloat16 also one prompt. Each kind of decoding takes memory for another copy of the weights.
            "int8" always does this. Only on x86 processors, where TensorFlow runs oneDNN; in bfloat16 only with AVX-512.

    Returns:
        An `InferenceModel`.

    Raises:
        ValueError: the model is no decoder or is on a mesh, or `quantize` or `prepack` needs another value, processor or dtype.
    """
    model = get(model)
    if isinstance(model, InferenceModel):
        raise ValueError("model=InferenceModel is invalid: expected a model that for_inference did not copy. Give its .model.")
    if not isinstance(model, LanguageModel) or not model.causal:
        raise ValueError(
            f"model={type(model).__name__} is invalid: expected a CausalLM. Export another model with tfllm.export to make it "
            "faster."
        )
    if isinstance(model.distribute_strategy, TensorParallel):
        raise ValueError(
            f"model={type(model).__name__} is invalid: expected a model on one device, and this one is on a mesh. Save it, and "
            "load it outside the strategy's scope."
        )
    check_form(model, quantize, prepack)
    return InferenceModel(model, quantize, prepack)


def check_form(model: LanguageModel, quantize: Any, prepack: Any) -> None:
    """Raises ValueError if `quantize` or `prepack` needs another value, processor or dtype."""
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize={quantize!r} is invalid: expected 'int8' or None.")
    if not isinstance(prepack, bool):
        raise ValueError(f"prepack={prepack!r} is invalid: expected True or False.")
    if (quantize or prepack) and platform.machine().lower() not in ("x86_64", "amd64"):
        name, accepted = ("quantize", None) if quantize else ("prepack", False)
        raise ValueError(
            f"{name}={(quantize or prepack)!r} is invalid: expected {accepted} on this processor, {platform.machine()}, as it "
            f"needs x86. Remove {name}."
        )
    dtype = model.dtype_policy.compute_dtype
    if prepack and not quantize and dtype == "float16":
        raise ValueError(
            "prepack=True is invalid: expected False, for the model has dtype='mixed_float16'. Load the model with "
            "dtype='float32' or dtype='mixed_bfloat16'."
        )
    if prepack and not quantize and not packs(dtype):
        raise ValueError(
            f"prepack=True is invalid: expected False, for in {dtype} it needs AVX-512, which this processor does not have. "
            "Remove prepack=True."
        )


def computing_model(model: Any) -> Any:
    """The language model that computes: the copy of an `InferenceModel`, else `model` itself. None -> None."""
    return model.replaced if isinstance(model, InferenceModel) else model


def cast_matrices(model: Any) -> Any:
    """A mixed-precision model whose matrices are cast here once. Otherwise each step of a decoding loop would cast them.

    Call it inside a graph. A model whose matrices have the compute dtype, or which is on a mesh, is returned unchanged.
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
    """The rule for `replace_layers`. Without `quantize` it is a decoder's."""
    if quantize:
        return _quantized(model)
    return _transposed(model, prepack)


def _transposed(model: LanguageModel, prepack: bool) -> Rule:
    """Transposes kernels, and in float32 the vocabulary's table. In bfloat16 the table is faster as it is."""
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
    """Quantizes the kernels of the blocks and the vocabulary. Embeddings are looked up in a table of the compute dtype."""
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
    """Is it the embedding whose table the vocabulary head uses, too?"""
    return layer is model.stack.token_embedding and model.ties_head


def _copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer with copies of its variables: matrices in the compute dtype, norms and biases in their own dtype."""

    def copy(variable: keras.Variable) -> keras.Variable:
        value = tf.cast(variable.value, layer.compute_dtype) if len(variable.shape) > 1 else variable.value
        return constant(value, variable.name, layer, autocast=variable._autocast)

    return with_variables(layer, copy)
