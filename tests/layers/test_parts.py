"""Norms, projections, feed-forward, embeddings and attention, each against numpy."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers.attention import MultiHeadAttention
from tfllm.layers.base import Linear
from tfllm.layers.block import TransformerBlock
from tfllm.layers.embeddings import Embedding
from tfllm.layers.feedforward import ACTIVATIONS, FeedForward
from tfllm.layers.norms import LayerNorm, RMSNorm, norm
from tfllm.layers.positions import rotary_frequencies, rotate, rotation

RNG = np.random.default_rng(0)


def filled(layer: keras.layers.Layer, *shape: int) -> keras.layers.Layer:
    """The layer with weights that no two sizes, signs or scales can be confused in."""
    if not layer.built:
        layer.build(shape)
    for variable in layer.variables:
        variable.assign(RNG.normal(0.3, 0.5, variable.shape))
    return layer


def value(variable) -> np.ndarray:
    return np.asarray(variable, np.float64)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return RNG.normal(0, scale, shape).astype(np.float32)


def test_layer_norm():
    layer, x = filled(LayerNorm(epsilon=0.1), 7), normal(2, 3, 7, scale=3) + 5
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(layer(x), expected * value(layer.scale) + value(layer.bias), atol=1e-5)


def test_rms_norm():
    layer, x = filled(RMSNorm(epsilon=0.1), 7), normal(2, 3, 7, scale=3) + 5
    expected = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(layer(x), expected * value(layer.scale), atol=1e-5)


def test_norms_begin_as_pure_normalisation_and_have_names():
    assert isinstance(norm("layer", epsilon=1e-5), LayerNorm) and isinstance(norm("rms", epsilon=1e-5), RMSNorm)
    layer = LayerNorm(epsilon=1e-5)
    layer.build([4])
    assert value(layer.scale).tolist() == [1] * 4 and value(layer.bias).tolist() == [0] * 4


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norms_of_bfloat16_are_computed_in_float32(kind):
    """Offset 64, spread 1: in bfloat16, whose steps there are 0.5, the sums would drown the spread."""
    layer = norm(kind, epsilon=1e-5, dtype="mixed_bfloat16")
    layer.build([64])
    x = tf.cast(64 + normal(4, 64), tf.bfloat16)
    y, exact = layer(x), norm(kind, epsilon=1e-5)(tf.cast(x, tf.float32))
    assert y.dtype == tf.bfloat16 and layer.scale.dtype == "float32"
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact, rtol=2**-8, atol=1e-6)


def test_linear_keeps_leading_axes():
    layer, x = filled(Linear(3, 5, use_bias=True, stddev=0.1)), normal(2, 4, 3)
    np.testing.assert_allclose(layer(x), x @ value(layer.kernel) + value(layer.bias), atol=1e-5)
    assert [v.name for v in filled(Linear(3, 5, use_bias=False, stddev=0.1)).variables] == ["kernel"]


def test_first_weights_have_the_standard_deviation_asked_for():
    layers = [Linear(200, 300, use_bias=True, stddev=0.07), Linear(200, 300, use_bias=True, stddev=0.07)]
    for layer in layers:
        layer.build()
        assert value(layer.kernel).std() == pytest.approx(0.07, rel=0.02)
        assert abs(value(layer.kernel).mean()) < 1e-3 and not value(layer.bias).any()
    assert not np.array_equal(value(layers[0].kernel), value(layers[1].kernel))


def test_embedding_reads_rows_and_casts_only_them():
    layer = filled(Embedding(9, 4, stddev=0.1, dtype="mixed_bfloat16"))
    rows = layer(tf.constant([[8, 0], [3, 3]]))
    assert rows.dtype == tf.bfloat16 and layer.embeddings.dtype == "float32"
    np.testing.assert_allclose(tf.cast(rows, tf.float32), value(layer.embeddings)[[[8, 0], [3, 3]]], rtol=2**-8)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        ("gelu_tanh", lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
        ("relu", lambda x: max(x, 0)),
        ("silu", lambda x: x / (1 + math.exp(-x))),
    ],
)
def test_activations(name, formula):
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    np.testing.assert_allclose(ACTIVATIONS[name](x), [formula(each) for each in x.tolist()], atol=2e-6)


@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward(gated):
    layer = FeedForward(5, activation="relu", gated=gated)
    x = normal(2, 4, 3)
    filled(layer, 2, 4, 3)
    inner = x @ value(layer.up.kernel) + value(layer.up.bias)
    inner = np.maximum(inner[..., :5], 0) * inner[..., 5:] if gated else np.maximum(inner, 0)
    np.testing.assert_allclose(layer(x), inner @ value(layer.down.kernel) + value(layer.down.bias), atol=1e-5)


def attend_by_hand(layer: MultiHeadAttention, x: np.ndarray, rope, *, heads: int, kv_heads: int, size: int) -> np.ndarray:
    """One head, one query, one key at a time."""
    batch, length, _ = x.shape
    columns = x @ value(layer.qkv.kernel) + value(layer.qkv.bias)
    columns = columns.reshape(batch, length, heads + 2 * kv_heads, size)

    def prepared(which, head_norm):
        chosen = np.moveaxis(columns[:, :, which], 1, 2)
        chosen = chosen / np.sqrt(np.square(chosen).mean(-1, keepdims=True) + 1e-6) * value(head_norm.scale)
        return rotate(tf.constant(chosen, tf.float32), rope).numpy()

    query = prepared(slice(0, heads), layer.query_norm)
    key = prepared(slice(heads, heads + kv_heads), layer.key_norm)
    out = np.zeros((batch, length, heads, size))
    for b, n, s in np.ndindex(batch, heads, length):
        group = n // (heads // kv_heads)
        scores = np.array([query[b, n, s] @ key[b, group, t] / math.sqrt(size) for t in range(s + 1)])
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        values = columns[b, : s + 1, heads + kv_heads + group]
        out[b, s, n] = shares @ values
    return out.reshape(batch, length, heads * size) @ value(layer.output_projection.kernel) + value(
        layer.output_projection.bias
    )


def test_attention_with_grouped_heads_norms_and_turns():
    layer = filled(MultiHeadAttention(6, 4, num_kv_heads=2, qk_norm="rms", norm_epsilon=1e-6), 2, 5, 10)
    x, rope = normal(2, 5, 10), rotation(tf.range(5)[None], rotary_frequencies(4, 100.0))
    y = layer(x, use_causal_mask=True, rope=rope)
    np.testing.assert_allclose(y, attend_by_hand(layer, x, rope, heads=6, kv_heads=2, size=4), atol=2e-5)


@pytest.mark.parametrize("place", ["pre", "post"])
def test_blocks_norm_before_each_sublayer_or_after_each_sum(place):
    block = filled(TransformerBlock(2, 9, num_kv_heads=1, head_dim=4, activation="relu", norm_place=place), 2, 5, 6)
    x, attended = tf.constant(normal(2, 5, 6)), block.attention

    if place == "pre":
        middle = x + attended(block.attention_norm(x))
        expected = middle + block.feedforward(block.feedforward_norm(middle))
    else:
        middle = block.attention_norm(x + attended(x))
        expected = block.feedforward_norm(middle + block.feedforward(middle))
    np.testing.assert_allclose(block(x), expected, atol=1e-5)


@pytest.mark.parametrize(("rows", "length", "read"), [(2, 1, 0), (None, 1, 0), (None, None, 1)])
def test_sizes_that_a_graph_knows_are_not_read(rows, length, read):
    layer = Linear(3, 5, use_bias=True, stddev=1.0)
    layer.build()
    spec = tf.TensorSpec([rows, length, 3])
    traced = tf.function(layer.call, autograph=False).get_concrete_function(spec)
    assert len([op for op in traced.graph.get_operations() if op.type == "Shape"]) == read
    x = tf.random.normal([2, 1, 3], seed=1)
    assert traced(x).shape == [2, 1, 5]
    np.testing.assert_allclose(traced(x), x @ layer.kernel + layer.bias, atol=1e-6)
    assert traced(x[:0] if rows is None else x).shape[1:] == [1, 5]
