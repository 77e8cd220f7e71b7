"""The weights of an export: each once, in the dtype and the orientation that the served graph reads it in.

Enters: a model. Leaves: variables to save, and a scope in which the model computes with them. In the model itself matrices are
float32 and [I, O], as training wants them; a server would cast or turn them at every request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.base import Linear
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.turned import use_turned
from tfllm.models.base import LanguageModel


@contextlib.contextmanager
def served_weights(*models: LanguageModel) -> Iterator[list[tf.Variable]]:
    """The variables; inside, the models' layers use them. A model that does not generate keeps its own."""
    if not models[0].causal:
        yield [variable.value for variable in models[0].weights]
        return
    turned, values = {}, {}
    for model in models:
        dtype = model.dtype_policy.compute_dtype
        to_turn = {id(variable) for variable in _turnable(model, dtype)}
        for variable in model.weights:
            # Norms and biases are small, and some are used in float32.
            value = tf.cast(variable.value, dtype) if len(variable.shape) > 1 else variable.value
            if id(variable) in to_turn:
                turned[id(variable)] = tf.Variable(tf.transpose(value), trainable=False)
            else:
                values[id(variable)] = tf.Variable(value, trainable=False)
    with keras.StatelessScope() as scope, use_turned(turned):
        scope.state_mapping.update(values)
        yield [*turned.values(), *values.values()]


def _turnable(model: LanguageModel, dtype: str) -> list[Any]:
    """Kernels, and in float32 the vocabulary's table: in bfloat16 it is read faster as it is."""
    layers = model._flatten_layers(include_self=False)
    found = [layer.kernel for layer in layers if isinstance(layer, Linear)]
    heads = [layer for layer in model._flatten_layers() if isinstance(layer, VocabularyHead)]
    return found + ([head.variable for head in heads] if dtype == "float32" else [])
