"""A model's weights as inference reads them: each once, in the form that is fastest where nothing changes it.

Enters: models. Leaves: variables, and a scope in which the models compute with them. In the model itself matrices are float32
and [I, O], as training wants them; decoding would cast or turn them at every step.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.layers.base import Linear
from tfllm.layers.devices import ONEDNN_BY_DEFAULT
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.onednn import packs
from tfllm.layers.own_gradient import without_gradients
from tfllm.layers.packed import packed_product
from tfllm.layers.quantized import Quantized, quantized, quantized_product
from tfllm.layers.stand_ins import StandIn, StandIns, use_stand_ins
from tfllm.layers.turned import turned_product, turned_rows
from tfllm.models.base import LanguageModel
from tfllm.models.folder import get
from tfllm.train.distribution.tensor_parallel import TensorParallel

Quantization = Literal["int8"] | None


class InferenceModel:
    """A model, and the weights it has inside `computing`: a decoder copies, an encoder its own where nothing is quantized.

    `for_inference` makes one to generate with, `tfllm.export` those of an export.
    """

    def __init__(self, model: LanguageModel, quantize: Quantization = None, prepack: bool = False):
        self.model, self.config = model, model.config
        self.stand_ins, copies = _stand_ins(model, quantize, prepack)
        self.tells_apart = model.compute_dtype == "float32" and not quantize and (prepack or ONEDNN_BY_DEFAULT)
        """Is one row multiplied in another way than several?"""
        self.values = {
            id(variable): _copied(variable, model.compute_dtype) if model.causal else variable.value
            for variable in model.weights
            if id(variable) not in self.stand_ins.variables
        }
        self.variables: list[tf.Variable] = [*copies, *self.values.values()]

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


@contextlib.contextmanager
def computing(*models: Any) -> Iterator[list[Any]]:
    """The language models, None where none was given; inside, an `InferenceModel`'s has its weights, and none has gradients."""
    fast = [model for model in models if isinstance(model, InferenceModel)]
    functions: dict[int, StandIn] = {}
    replaced = set[int]()
    with without_gradients(), contextlib.ExitStack() as stack:
        if fast:
            for model in fast:
                functions |= model.stand_ins.functions
                replaced |= model.stand_ins.variables
            scope = stack.enter_context(keras.StatelessScope())
            told_apart = frozenset(id(each.model) for each in fast if each.tells_apart)
            stack.enter_context(use_stand_ins(StandIns(functions, frozenset(replaced), told_apart)))
            for model in fast:
                scope.state_mapping.update(model.values)
        yield [model.model if isinstance(model, InferenceModel) else model for model in models]


def _stand_ins(model: LanguageModel, quantize: Quantization, prepack: bool) -> tuple[StandIns, list[tf.Variable]]:
    """And the variables that they read. What is neither quantized nor generates keeps its own."""
    if quantize:
        return _quantized(model)
    return _turned(model, prepack) if model.causal else (StandIns({}, frozenset()), [])


def _copied(variable: Any, dtype: str) -> tf.Variable:
    """In the compute dtype. Norms and biases are small, and some are used in float32."""
    return tf.Variable(tf.cast(variable.value, dtype) if len(variable.shape) > 1 else variable.value, trainable=False)


def _turned(model: LanguageModel, prepack: bool) -> tuple[StandIns, list[tf.Variable]]:
    """Kernels, and in float32 the vocabulary's table: in bfloat16 it is read faster as it is."""
    dtype, layers = model.dtype_policy.compute_dtype, list(model._flatten_layers())
    functions: dict[int, StandIn] = {}
    copies: dict[int, tf.Variable] = {}

    def copy(variable: Any) -> tf.Variable:
        return copies.setdefault(id(variable), tf.Variable(tf.transpose(tf.cast(variable.value, dtype)), trainable=False))

    def product(plain: StandIn, matrix: tf.Variable, *, transpose_b: bool = False) -> StandIn:
        return partial(packed_product, matrix=matrix, plain=plain, transpose_b=transpose_b) if prepack else plain

    for layer in layers:
        if isinstance(layer, Linear):
            kernel = copy(layer.kernel)
            functions[id(layer)] = product(partial(turned_product, kernel=kernel), kernel, transpose_b=True)
        elif isinstance(layer, VocabularyHead) and dtype == "float32":
            columns = copy(layer.variable)
            functions[id(layer)] = product(partial(tf.matmul, b=columns), columns)
        elif isinstance(layer, VocabularyHead) and prepack:
            functions[id(layer)] = partial(_scores_packed, layer)
    for layer in layers:
        if isinstance(layer, Embedding) and id(layer.embeddings) in copies:
            functions[id(layer)] = partial(turned_rows, columns=copies[id(layer.embeddings)])
    return StandIns(functions, frozenset(copies)), list(copies.values())


def _scores_packed(head: VocabularyHead, hidden: tf.Tensor) -> tf.Tensor:
    """By the table that vectors are looked up in, too. [M, D] -> [M, V]."""
    plain = partial(tf.matmul, b=head.kernel, transpose_b=True)
    return packed_product(hidden, head.kernel, plain=plain, transpose_b=True)


def _quantized(model: LanguageModel) -> tuple[StandIns, list[tf.Variable]]:
    """The stack's kernels and the vocabulary's; vectors are still looked up in a table of the compute dtype."""
    linear = [layer for layer in model.stack._flatten_layers() if isinstance(layer, Linear)]
    heads = [layer for layer in model._flatten_layers() if isinstance(layer, VocabularyHead)]
    kernels = {id(layer): layer.kernel.value for layer in linear}
    kernels |= {id(layer): tf.transpose(layer.variable.value) for layer in heads}
    functions: dict[int, StandIn] = {}
    copies: list[tf.Variable] = []
    for layer, kernel in kernels.items():
        matrix = Quantized(*(tf.Variable(each, trainable=False) for each in quantized(kernel)))
        functions[layer] = partial(quantized_product, matrix=matrix)
        copies += matrix
    tables = {id(layer.embeddings) for layer in model._flatten_layers() if isinstance(layer, Embedding)}
    replaced = {id(layer.kernel) for layer in linear} | {id(layer.variable) for layer in heads} - tables
    return StandIns(functions, frozenset(replaced)), copies
