"""Our model with a peer's weights, and how far the two are apart."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from cases import Outcome, Place, places, weight

from tfllm.config import ModelConfig
from tfllm.models import CausalLM
from tfllm.train.weights import named


class Difference(NamedTuple):
    """The largest of each kind."""

    logits: float
    """Absolute."""
    loss: float
    """Relative."""
    gradients: dict[str, float]
    """A parameter's largest difference over its largest value."""


def ours(config: ModelConfig, batch: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], seed: int) -> Outcome:
    """Logits, loss and gradients of our model with the weights of `seed`, by the names of PyTorch."""
    table = places(config)
    if set(table) != set(shapes):
        raise AssertionError(f"parameters without a place: {sorted(set(table) ^ set(shapes))}")
    model = CausalLM(config)
    model.compile(keras.optimizers.SGD())
    variables = named(model.trainable_variables)
    values = {name: np.full(variable.shape, np.nan, np.float32) for name, variable in variables.items()}
    for name, shape in shapes.items():
        _part(values, table[name])[...] = weight(name, shape, seed)
    for name, variable in variables.items():
        if np.isnan(values[name]).any():
            raise AssertionError(f"{name} is not covered by the peer's parameters")
        variable.assign(values[name])
    features = {name: tf.constant(value) for name, value in batch.items()}
    with tf.GradientTape() as tape:
        objective = model.objective(features | {"dropout_seed": tf.constant(0)}, training=True)
        loss = objective.loss / objective.weight
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    dense = {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in zip(variables, gradients, strict=True)}
    by_their_name = {name: _part(dense, table[name]) for name in shapes}
    return Outcome(model(features).numpy(), float(loss), by_their_name)


def difference(ours: Outcome, theirs: Outcome) -> Difference:
    gradients = {}
    for name, expected in theirs.gradients.items():
        assert expected.shape == ours.gradients[name].shape and expected.any(), name
        gradients[name] = float(np.abs(ours.gradients[name] - expected).max() / np.abs(expected).max())
    logits = float(np.abs(ours.logits - theirs.logits).max())
    return Difference(logits, abs(ours.loss - theirs.loss) / abs(theirs.loss), gradients)


def assert_equal(ours: Outcome, theirs: Outcome) -> None:
    """The limits of the parity promise: logits within 1e-4, every parameter's gradient within 1e-3 of its largest value."""
    apart = difference(ours, theirs)
    worst = max(apart.gradients, key=apart.gradients.__getitem__)
    print(f"logits {apart.logits:.1e}, loss {apart.loss:.1e}, gradients {apart.gradients[worst]:.1e} ({worst})")
    assert ours.logits.std() > 0.5, "weights too small to tell anything"
    assert apart.logits < 1e-4
    assert apart.loss < 1e-5
    assert apart.gradients[worst] < 1e-3, worst


def _part(values: dict[str, np.ndarray], place: Place) -> np.ndarray:
    part = values[place.variable][..., place.columns]
    return part.T if place.transposed else part
