"""Layers with a transposed matrix give what the layers they were made of gave; a loop is traced for one row and for several."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.generation.decode import by_rows
from tfllm.layers import transposed
from tfllm.layers.base import Linear
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.transposed import (
    TransposedEmbedding,
    TransposedLinear,
    TransposedVocabularyHead,
    transposed_product,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 12, 13, 40])
@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_transposed_products_of_any_number_of_rows(rows, by_default, dtype, within, monkeypatch):
    monkeypatch.setattr(transposed, "ONEDNN_BY_DEFAULT", by_default)
    x, kernel = (tf.cast(RANDOM.standard_normal(shape), dtype) for shape in ([rows, 16], [24, 16]))
    expected = tf.cast(x, tf.float64).numpy() @ tf.cast(kernel, tf.float64).numpy().T
    np.testing.assert_allclose(tf.cast(transposed_product(x, kernel), tf.float64), expected, rtol=within, atol=10 * within)


def test_transposed_layers_give_the_same_from_copies():
    linear = Linear(16, 8, 4, use_bias=True, stddev=0.1)
    table = Embedding(30, 16, stddev=0.1)
    linear.build()
    linear.bias.assign(RANDOM.standard_normal(12))
    table.build()
    tied, own = (VocabularyHead(16, 30, tied=tied, stddev=0.1) for tied in (True, False))
    own.build()
    x, ids = tf.constant(RANDOM.standard_normal([2, 3, 16]), tf.float32), tf.constant([[3, 4, 29], [0, 3, 3]])
    expected = linear(x), table(ids), tied(x, embedding=table), own(x)
    copies = TransposedLinear(linear), TransposedEmbedding(table), TransposedVocabularyHead(own)
    for copy, layer in zip(copies, (linear, table, own), strict=True):
        np.testing.assert_array_equal(copy.matrix, layer.matrix)
        assert copy.trainable_variables == [] and copy.name == layer.name
    for variable in (linear.kernel, linear.bias, table.embeddings, own.kernel):
        variable.assign(tf.zeros_like(variable))
    found = copies[0](x), copies[1](ids), tied(x, embedding=copies[1]), copies[2](x)
    for mine, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)
    assert not np.any(tied(x, embedding=table)), "the layers themselves have their own variables"


class OneRowDiffers(keras.layers.Layer):
    """Adds 1 to one row, 10 to several."""

    one_row_differs = True

    def call(self, x, options):
        return x + 1 if options.one_row else tf.cond(tf.shape(x)[0] <= 1, lambda: x + 1, lambda: x + 10)


def test_a_loop_branches_once_for_all_its_products():
    def function_of(model):
        layer = OneRowDiffers()

        def steps(x, options):
            for _ in range(5):
                x = layer(x, options=options)
            return x

        @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
        def function(x):
            return by_rows(model, tf.shape(x)[0], lambda options: steps(x, options))

        return function

    known, other = function_of(keras.Sequential([OneRowDiffers()])), function_of(keras.Sequential([keras.layers.Dense(2)]))
    for rows, added in ((1, 5), (2, 50), (13, 50)):
        for function in (known, other):
            np.testing.assert_array_equal(function(tf.zeros([rows, 2])), np.full([rows, 2], added))
    assert branches(other.get_concrete_function().graph) == {"outside": 5, "inside": 0}
    assert branches(known.get_concrete_function().graph) == {"outside": 1, "inside": 5}  # for several rows


@pytest.mark.parametrize(("by_default", "inside"), [(True, 1), (False, 0)])
def test_one_row_is_multiplied_without_asking(by_default, inside, monkeypatch):
    monkeypatch.setattr(transposed, "ONEDNN_BY_DEFAULT", by_default)
    model, kernel = keras.Sequential([OneRowDiffers()]), tf.ones([4, 2])

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def product(x):
        return by_rows(model, tf.shape(x)[0], lambda options: transposed_product(x, kernel, options))

    for rows in (1, 3):
        np.testing.assert_array_equal(product(tf.ones([rows, 2])), np.full([rows, 4], 2))
    assert branches(product.get_concrete_function().graph) == {"outside": 1, "inside": inside}


def branches(graph):
    """How many in a graph, and in its functions."""
    graph = graph.as_graph_def()
    inside = [node for function in graph.library.function for node in function.node_def]
    counts = (sum(node.op in ("If", "StatelessIf") for node in nodes) for nodes in (graph.node, inside))
    return dict(zip(("outside", "inside"), counts, strict=True))
