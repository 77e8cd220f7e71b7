"""Our model with a peer's weights, and how far the two are apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from cases import Case, Outcome, there, weight

from tfllm import tasks
from tfllm.interop.configs import family_of
from tfllm.interop.huggingface import fill
from tfllm.interop.weight_mapping import weight_mapping
from tfllm.train.runs.weights import variables_by_name


class Difference(NamedTuple):
    """The largest of each kind."""

    logits: float
    """Absolute."""
    loss: float
    """Relative."""
    gradients: dict[str, float]
    """A parameter's largest difference over its largest value."""


def model_of(case: Case, shapes: dict[str, tuple[int, ...]], seed: int) -> tuple[Any, dict[str, Any]]:
    """Our model with the weights of `seed`, and where each weight of PyTorch's, of these shapes, stands in it."""
    model = tasks.get(case.task).model_class(case.config, **case.settings)
    pairs = case.settings.get("next_sentence", False)
    table = weight_mapping(family_of(case.config), case.config, case.task, next_sentence=pairs)
    fill(model, {name: weight(name, shape, seed) for name, shape in shapes.items()}, table)
    return model, table


def ours(case: Case, batch: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], seed: int) -> Outcome:
    """Logits, loss and gradients of our model with the weights of `seed`, by the names of PyTorch."""
    model, table = model_of(case, shapes, seed)
    model.compile(keras.optimizers.SGD())
    features = {name: tf.constant(value) for name, value in batch.items()}
    variables = variables_by_name(model.trainable_variables)
    with tf.GradientTape() as tape:
        objective = model.loss_and_metrics(
            features | {"dropout_seed": tf.zeros(len(features["token_ids"]), tf.int32)}, training=True
        )
        loss = objective.loss / objective.weight
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    dense = {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in zip(variables, gradients, strict=True)}
    logits = {"logits": there(case, model(features).numpy(), batch)}
    if case.settings.get("next_sentence", False):
        logits["pair_logits"] = model.pair_scores(features).numpy()
    return Outcome(logits, float(loss), {name: table[name].of(dense) for name in shapes})


def difference(ours: Outcome, theirs: Outcome) -> Difference:
    # What moves all scores of a softmax alike (a bias of all keys) has a gradient of zero, but for rounding.
    least = 1e-3 * max(np.abs(value).max() for value in theirs.gradients.values())
    gradients = {}
    for name, expected in theirs.gradients.items():
        assert expected.shape == ours.gradients[name].shape and expected.any(), name
        gradients[name] = float(np.abs(ours.gradients[name] - expected).max() / max(np.abs(expected).max(), least))
    assert set(ours.logits) == set(theirs.logits)
    logits = max(float(np.abs(ours.logits[name] - theirs.logits[name]).max()) for name in ours.logits)
    return Difference(logits, abs(ours.loss - theirs.loss) / abs(theirs.loss), gradients)


def assert_equal(ours: Outcome, theirs: Outcome) -> None:
    """The limits of the parity promise: logits within 1e-4, every parameter's gradient within 1e-3 of its largest value."""
    apart = difference(ours, theirs)
    worst = max(apart.gradients, key=apart.gradients.__getitem__)
    print(f"logits {apart.logits:.1e}, loss {apart.loss:.1e}, gradients {apart.gradients[worst]:.1e} ({worst})")
    assert ours.logits["logits"].std() > 0.1, "weights too small to tell anything"
    assert apart.logits < 1e-4
    assert apart.loss < 1e-5
    assert apart.gradients[worst] < 1e-3, worst
