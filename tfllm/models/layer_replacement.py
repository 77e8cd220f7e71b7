"""`replace_layers`: a model whose leaf layers are others, as a rule says. int8, prepack, LoRA and pruning are calls of it.

Input: a model, and a rule from a layer to its replacement. Output: another model of the same class, structure and variable
paths. Layers that are not replaced belong to both models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras
import tensorflow as tf

from tfllm.models.base import LanguageModel

Model = TypeVar("Model", bound=LanguageModel)
Rule = Callable[[keras.layers.Layer, str], keras.layers.Layer | None]
"""(a leaf layer, its path) -> the layer in its place, or None to keep it."""


def replace_layers(model: Model, rule: Rule) -> Model:
    """A model like `model`, with the layers that `rule` gives. `model` stays as it is.

    >>> def rule(layer, path):
    ...     return LoRALinear(layer, rank=8) if isinstance(layer, Linear) and "/attention/" in path else None
    >>> adapted = replace_layers(model, rule)

    A layer that is kept is the same object in both models: it takes no memory again, training one model trains the other, and
    `layer.trainable` is the same for both. A replacement is called as the layer it replaces is, so it inherits from that one's
    interface (`Linear`, `Embedding`, `VocabularyHead`). If it is not built, it is built at its place, so its variables have the
    paths that they would have there.

    Args:
        rule: called for each leaf layer, a layer that the model's constructor makes without layers inside, with its path:
            "causal_lm/decoder/block_0/attention/qkv". A layer that an earlier `replace_layers` put there is given as it is.

    Returns:
        A model that is not compiled.
    """

    def fill(new: LanguageModel) -> None:
        _fill(new, model, rule, model.name)

    return type(model).from_config(model.get_config() | {"before_build": fill})


def with_variables(
    layer: keras.layers.Layer, convert: Callable[[keras.Variable], keras.Variable | tf.Tensor]
) -> keras.layers.Layer:
    """A layer like a leaf layer `layer`, whose variables, or tensors in place of them, are those that `convert` gives."""
    copy = type(layer).from_config(layer.get_config())
    for name, value in vars(layer).items():
        if isinstance(value, keras.Variable):
            setattr(copy, name, convert(value))
    copy.built = True
    return copy


def _fill(new: keras.layers.Layer, old: keras.layers.Layer, rule: Rule, path: str) -> None:
    """Puts the layers of `old`, or their replacements, in the places of those that `new`, not built, was made with."""
    new.trainable = old.trainable
    for made, there in zip(list(new._layers), list(old._layers), strict=True):
        here = f"{path}/{there.name}"
        if made._layers:
            _fill(made, there, rule, here)
            continue
        replacement = rule(there, here)
        if replacement is not None:
            replacement.output_shape = there.output_shape  # for `model.summary()`
        _put(new, made, replacement or there)


def _put(parent: keras.layers.Layer, made: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    [name] = [name for name, value in vars(parent).items() if value is made]
    parent._tracker.replace_tracked_value("layers", made, layer)  # in Keras' list of layers, whose order is that of the weights
    setattr(parent, name, layer)
