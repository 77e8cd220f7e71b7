"""In place of its own matrix a layer uses what stands in for it, and says the same."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers import turned
from tfllm.layers.base import Linear
from tfllm.layers.embeddings import Embedding
from tfllm.layers.heads import VocabularyHead
from tfllm.layers.stand_ins import StandIns, by_rows, is_one_row, is_replaced, use_stand_ins
from tfllm.layers.turned import turned_product, turned_rows

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 12, 13, 40])
@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_turned_products_of_any_number_of_rows(rows, by_default, dtype, within, monkeypatch):
    monkeypatch.setattr(turned, "ONEDNN_BY_DEFAULT", by_default)
    x, kernel = (tf.cast(RANDOM.standard_normal(shape), dtype) for shape in ([rows, 16], [24, 16]))
    expected = tf.cast(x, tf.float64).numpy() @ tf.cast(kernel, tf.float64).numpy().T
    np.testing.assert_allclose(tf.cast(turned_product(x, kernel), tf.float64), expected, rtol=within, atol=10 * within)


def test_layers_use_the_copy_in_place_of_the_variable():
    linear = Linear(16, 8, 4, use_bias=True, stddev=0.1)
    table = Embedding(30, 16, stddev=0.1)
    linear.build()
    linear.bias.assign(RANDOM.standard_normal(12))
    table.build()
    head = VocabularyHead(16, 30, embedding=table, stddev=0.1)
    head.build()
    x, ids = tf.constant(RANDOM.standard_normal([2, 3, 16]), tf.float32), tf.constant([[3, 4, 29], [0, 3, 3]])
    expected = linear(x), table(ids), head(x)
    kernel, columns = tf.transpose(linear.kernel), tf.transpose(table.embeddings)
    functions = {id(linear): partial(turned_product, kernel=kernel), id(head): partial(tf.matmul, b=columns)}
    functions |= {id(table): partial(turned_rows, columns=columns)}
    linear.kernel.assign(tf.zeros_like(linear.kernel))
    table.embeddings.assign(tf.zeros_like(table.embeddings))
    with use_stand_ins(StandIns(functions, frozenset({id(linear.kernel)}))):
        found = linear(x), table(ids), head(x)
        assert is_replaced(linear.kernel) and not is_replaced(linear.bias)
    for mine, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)
    assert not np.any(head(x)), "outside, the variables are used again"
    assert not is_replaced(linear.kernel)


def test_a_loop_branches_once_for_all_its_products():
    model = object()

    def step(x):
        for _ in range(5):
            x = x + 1 if is_one_row() else tf.cond(tf.shape(x)[0] <= 1, lambda x=x: x + 1, lambda x=x: x + 10)
        return x

    def function_of(asked, told_apart):
        @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
        def function(x):
            with use_stand_ins(StandIns({}, frozenset(), told_apart)):
                return by_rows(asked, tf.shape(x)[0], lambda: step(x))

        return function

    known, other = function_of(model, frozenset({id(model)})), function_of(object(), frozenset({id(model)}))
    for rows, added in ((1, 5), (2, 50), (13, 50)):
        for function in (known, other):
            np.testing.assert_array_equal(function(tf.zeros([rows, 2])), np.full([rows, 2], added))
    assert branches(other.get_concrete_function().graph) == {"outside": 5, "inside": 0}
    assert branches(known.get_concrete_function().graph) == {"outside": 1, "inside": 5}  # for several rows


@pytest.mark.parametrize(("by_default", "inside"), [(True, 1), (False, 0)])
def test_one_row_is_multiplied_without_asking(by_default, inside, monkeypatch):
    monkeypatch.setattr(turned, "ONEDNN_BY_DEFAULT", by_default)
    model, kernel = object(), tf.ones([4, 2])

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def product(x):
        with use_stand_ins(StandIns({}, frozenset(), frozenset({id(model)}))):
            return by_rows(model, tf.shape(x)[0], lambda: turned_product(x, kernel))

    for rows in (1, 3):
        np.testing.assert_array_equal(product(tf.ones([rows, 2])), np.full([rows, 4], 2))
    assert branches(product.get_concrete_function().graph) == {"outside": 1, "inside": inside}


def branches(graph):
    """How many in a graph, and in its functions."""
    graph = graph.as_graph_def()
    inside = [node for function in graph.library.function for node in function.node_def]
    counts = (sum(node.op in ("If", "StatelessIf") for node in nodes) for nodes in (graph.node, inside))
    return dict(zip(("outside", "inside"), counts, strict=True))
