"""An export holds every weight once, as its graph reads it."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf


def saved(folder) -> list[tuple[list[int], str]]:
    """Shape and dtype of every variable."""
    path = str(folder / "variables" / "variables")
    dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    return [(shape, dtypes[name].name) for name, shape in tf.train.list_variables(path) if dtypes[name] != tf.string]


@pytest.mark.parametrize("name", ["greedy", "sampling"])
def test_every_weight_once_in_the_dtype_of_the_graph(name, request):
    exported = request.getfixturevalue(name)
    matrices = exported.model.dtype_policy.compute_dtype
    ours = Counter(
        (*sorted(variable.shape), matrices if len(variable.shape) > 1 else "float32") for variable in exported.model.weights
    )
    assert Counter((*sorted(shape), dtype) for shape, dtype in saved(exported.folder)) == ours


def test_kernels_are_turned(greedy):
    shapes = [tuple(shape) for shape, _ in saved(greedy.folder)]
    config = greedy.model.config
    assert shapes.count((config.hidden_size, config.ffn_size)) == config.num_layers  # down, [F, D] in the model
    assert (config.hidden_size, config.vocab_size) in shapes  # the tied table, [V, D] in the model


def test_few_rows_and_many_are_continued_alike(greedy, served):
    texts = [f"def f{i}(self" for i in range(20)]
    ask = served["serving_default"]
    together = ask(prompt=tf.constant(texts))["text"].numpy()
    alone = [ask(prompt=tf.constant([text]))["text"].numpy()[0] for text in texts[:5]]
    np.testing.assert_array_equal(together[:5], alone)
