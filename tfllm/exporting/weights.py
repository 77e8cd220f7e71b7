"""The weights of an export: each once, in the form that the served graph reads it in.

Enters: models. Leaves: variables to save, and a scope in which the models compute with them. In the model itself matrices are
float32 and [I, O], as training wants them; a server would cast or turn them at every request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.layers.base import Linear
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.quantized import Quantized, quantized, quantized_product
from tfllm.layers.stand_ins import StandIn, StandIns, use_stand_ins
from tfllm.layers.turned import turned_product, turned_rows
from tfllm.models.base import LanguageModel


@contextlib.contextmanager
def served_weights(*models: LanguageModel, quantize: Literal["int8"] | None = None) -> Iterator[list[tf.Variable]]:
    """The variables; inside, the models' layers use them. What is neither quantized nor generates keeps its own."""
    functions: dict[int, StandIn] = {}
    values: dict[int, tf.Variable] = {}
    replaced, kept = set[int](), list[tf.Variable]()
    for model in models:
        if quantize or model.causal:
            mine, copies = (_quantized if quantize else _turned)(model)
            functions |= mine.functions
            replaced |= mine.variables
            kept += copies
        for variable in model.weights:
            if id(variable) not in replaced:
                values[id(variable)] = _copied(variable, model.compute_dtype) if model.causal else variable.value
    with keras.StatelessScope() as scope, use_stand_ins(StandIns(functions, frozenset(replaced))):
        scope.state_mapping.update(values)
        yield [*kept, *values.values()]


def _copied(variable: Any, dtype: str) -> tf.Variable:
    """In the compute dtype. Norms and biases are small, and some are used in float32."""
    return tf.Variable(tf.cast(variable.value, dtype) if len(variable.shape) > 1 else variable.value, trainable=False)


def _turned(model: LanguageModel) -> tuple[StandIns, list[tf.Variable]]:
    """Kernels, and in float32 the vocabulary's table: in bfloat16 it is read faster as it is."""
    dtype, layers = model.dtype_policy.compute_dtype, list(model._flatten_layers())
    functions: dict[int, StandIn] = {}
    copies: dict[int, tf.Variable] = {}

    def copy(variable: Any) -> tf.Variable:
        return copies.setdefault(id(variable), tf.Variable(tf.transpose(tf.cast(variable.value, dtype)), trainable=False))

    for layer in layers:
        if isinstance(layer, Linear):
            functions[id(layer)] = partial(turned_product, kernel=copy(layer.kernel))
        elif isinstance(layer, VocabularyHead) and dtype == "float32":
            functions[id(layer)] = partial(tf.matmul, b=copy(layer.variable))
    for layer in layers:
        if isinstance(layer, Embedding) and id(layer.embeddings) in copies:
            functions[id(layer)] = partial(turned_rows, columns=copies[id(layer.embeddings)])
    return StandIns(functions, frozenset(copies)), list(copies.values())


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
