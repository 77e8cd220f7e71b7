"""Outputs and gradients of every layer against automatic gradients of its definition in float64.

Several layers write their gradient by hand; what they may not change is what comes out.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers import dot_product_attention, fused
from tfllm.layers.attention import MultiHeadAttention
from tfllm.layers.base import Linear
from tfllm.layers.call_options import TRAINING, CallOptions
from tfllm.layers.dropout import add_dropped, dropout
from tfllm.layers.feedforward import ACTIVATIONS, FeedForward
from tfllm.layers.masks import attention_mask, causal_mask
from tfllm.layers.norms import norm
from tfllm.layers.stack import TransformerStack
from tfllm.layers.stateless_random import fold_in

WITHIN = {"float32": 1e-5, "mixed_bfloat16": 0.025}
POLICIES = list(WITHIN)


@pytest.fixture(autouse=True)
def all_sizes_are_compiled(monkeypatch):
    monkeypatch.setattr(fused, "MIN_ELEMENTS", 0)


def assert_follows(layer, definition, x: np.ndarray, *, call=None) -> None:
    """`layer(x)` and its gradients by x and by every weight are those of `definition(x, weights)`, op by op and compiled."""
    layer.build(x.shape)
    random = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(0.5 if variable.path.endswith("scale") else 0.1, 0.5, variable.shape))
    # Values that bfloat16 can hold, so that only the computation differs.
    x = tf.cast(tf.cast(x, tf.bfloat16), layer.compute_dtype)
    for variable in layer.trainable_variables:
        variable.assign(tf.cast(tf.cast(variable.value, tf.bfloat16), tf.float32))
    weights = [variable.value for variable in layer.trainable_variables]
    exact = [tf.cast(each, tf.float64) for each in (x, *weights)]
    names = [variable.path.split("/", 1)[-1] for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = definition(exact[0], dict(zip(names, exact[1:], strict=True)))
        upstream = tf.cast(random.normal(size=expected.shape), tf.bfloat16)
        total = tf.reduce_sum(expected * tf.cast(upstream, tf.float64))
    theirs = [expected, *tape.gradient(total, exact)]

    def output_and_gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            y = (call or layer)(x, options=TRAINING)
            gradients = tape.gradient(y, [x, *weights], output_gradients=tf.cast(upstream, y.dtype))
        return [y, *gradients]

    for run in (output_and_gradients, tf.function(output_and_gradients, autograph=False)):
        for name, one, other in zip(("output", "by x", *names), run(x), theirs, strict=True):
            apart = np.abs(tf.cast(one, tf.float64) - other).max() / np.abs(other).max()
            assert apart < WITHIN[layer.dtype_policy.name], f"{name}: {apart:.1e}"


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, scale, shape)


@pytest.mark.parametrize("policy", POLICIES)
def test_layer_norm(policy):
    def definition(x, weights):
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(centred**2, -1, keepdims=True)
        return centred / tf.sqrt(variance + 0.1) * weights["scale"] + weights["bias"]

    assert_follows(norm("layer", epsilon=0.1, dtype=policy), definition, 2 + normal(2, 5, 9, scale=2))


@pytest.mark.parametrize("policy", POLICIES)
def test_rms_norm(policy):
    def definition(x, weights):
        return x / tf.sqrt(tf.reduce_mean(x**2, -1, keepdims=True) + 0.1) * weights["scale"]

    assert_follows(norm("rms", epsilon=0.1, dtype=policy), definition, 1 + normal(2, 5, 9, scale=2))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("use_bias", [False, True])
def test_linear(policy, use_bias):
    def definition(x, weights):
        return tf.einsum("bsi,io->bso", x, weights["kernel"]) + weights.get("bias", 0)

    assert_follows(Linear(6, 7, use_bias=use_bias, stddev=0.1, dtype=policy), definition, normal(2, 5, 6))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward(activation, gated, policy):
    plain = {
        "gelu": lambda x: x * (1 + tf.math.erf(x / np.sqrt(2))) / 2,
        "gelu_tanh": lambda x: x * (1 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
        "relu": lambda x: tf.maximum(x, 0),
        "silu": lambda x: x / (1 + tf.exp(-x)),
    }[activation]

    def definition(x, weights):
        inner = x @ weights["up/kernel"] + weights["up/bias"]
        inner = plain(inner[..., :8]) * inner[..., 8:] if gated else plain(inner)
        return inner @ weights["down/kernel"] + weights["down/bias"]

    layer = FeedForward(8, activation=activation, gated=gated, dtype=policy)
    assert_follows(layer, definition, normal(2, 5, 6))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_out_have_no_gradient_of_nan(activation):
    x = tf.constant([-1e4, -60.0, -10.0, 0.0, 10.0, 60.0, 1e4])
    for each in (x, tf.cast(x, tf.bfloat16)):
        with tf.GradientTape() as tape:
            tape.watch(each)
            y = ACTIVATIONS[activation](each)
        slope = tape.gradient(y, each)
        np.testing.assert_allclose(tf.cast(y, tf.float32)[::6], [0, 1e4], rtol=0.01)
        np.testing.assert_allclose(tf.cast(slope, tf.float32).numpy()[[0, 1, 5, 6]], [0, 0, 1, 1], atol=1e-3)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("way", ["at once", "in blocks", "at places"])
def test_attention(way, rate, policy, monkeypatch):
    """Grouped heads over two packed documents, with the dropout's mask in the definition, too."""
    monkeypatch.setattr(dot_product_attention, "BLOCK", 3 if way == "in blocks" else 100)
    heads, kv_heads, size, length = 4, 2, 3, 6
    seed = tf.constant([11, 12])
    wanted = tf.constant([[5, 0, 3], [2, 2, 4]]) if way == "at places" else None
    kept = dropout(tf.ones([2, heads, length if wanted is None else 3, length]), rate, seed)
    if way == "in blocks":
        first, second = (dropout(tf.ones([2, heads, 3, 3 * (i + 1)]), rate, fold_in(seed, i)) for i in range(2))
        kept = tf.concat([tf.pad(first, [[0, 0], [0, 0], [0, 0], [0, 3]]), second], 2)
    places, segments = tf.constant([[0, 1, 2, 3, 0, 1]]), tf.constant([[1, 1, 1, 1, 2, 2]])
    mask = attention_mask(places, segments, key_positions=places, key_segments=segments, causal=True)

    def definition(x, weights):
        columns = tf.reshape(x @ weights["qkv/kernel"] + weights["qkv/bias"], [2, length, heads + 2 * kv_heads, size])
        query, key, value = tf.split(columns, [heads, kv_heads, kv_heads], axis=2)
        key, value = (tf.repeat(each, heads // kv_heads, axis=2) for each in (key, value))
        scores = tf.einsum("bsnh,btnh->bnst", query, key) / np.sqrt(size) - tf.where(mask, tf.constant(0, tf.float64), 3e4)
        scores = scores if wanted is None else tf.gather(scores, wanted, axis=2, batch_dims=1)
        shares = tf.nn.softmax(scores) * tf.cast(kept, tf.float64)
        mixed = tf.reshape(tf.einsum("bnst,btnh->bsnh", shares, value), [2, -1, heads * size])
        return mixed @ weights["output/kernel"] + weights["output/bias"]

    layer = MultiHeadAttention(heads, size, num_kv_heads=kv_heads, dropout=rate, dtype=policy)
    asked = dict(attention_mask=mask, use_causal_mask=True, seed=seed, output_positions=wanted)
    assert_follows(layer, definition, normal(2, length, 6), call=lambda x, options: layer(x, options=options, **asked))


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("way", ["at once", "in blocks"])
@pytest.mark.parametrize("shape", [(1, 4, 6, 6), (2, 1, 1, 6), (1, 1, 6, 6)])
def test_a_bias_gets_the_gradient_of_automatic_differentiation(shape, way, rate, monkeypatch):
    """Summed over the axes that it is broadcast over, for heads that share keys, op by op and compiled."""
    monkeypatch.setattr(dot_product_attention, "BLOCK", 3 if way == "in blocks" else 100)
    query, key, value = (tf.random.stateless_normal([2, heads, 6, 3], [heads, i]) for i, heads in enumerate((4, 2, 2)))
    mask, bias, seed = causal_mask(6), tf.random.stateless_normal(shape, [5, 5]), tf.constant([11, 12])
    kept = dropout(tf.ones([2, 2, 12, 6]), rate, seed)  # as grouped heads draw it
    if way == "in blocks":
        parts = [dropout(tf.ones([2, 2, 6, 3 * (i + 1)]), rate, fold_in(seed, i)) for i in range(2)]
        parts = [tf.reshape(each, [2, 4, 3, -1]) for each in parts]
        kept = tf.concat([tf.pad(parts[0], [[0, 0], [0, 0], [0, 0], [0, 3]]), parts[1]], 2)
    kept = tf.reshape(kept, [2, 4, 6, 6])

    def definition(bias):
        scores = tf.einsum("bnsh,bnth->bnst", query, tf.repeat(key, 2, axis=1)) + tf.where(mask, 0.0, -3e4) + bias
        return tf.matmul(tf.nn.softmax(scores) * kept, tf.repeat(value, 2, axis=1))

    def ours(bias, options=CallOptions()):
        given = dict(mask=mask, bias=bias, is_causal=True, rate=rate, seed=seed)
        return dot_product_attention.dot_product_attention(query, key, value, options=options, **given)

    def gradient(attend, *options):
        with tf.GradientTape() as tape:
            tape.watch(bias)
            total = tf.reduce_sum(attend(bias, *options) ** 2)
        return tape.gradient(total, bias)

    expected = gradient(definition)
    assert np.abs(expected).max() > 0.1
    for found in (gradient(ours), tf.function(gradient, autograph=False)(ours, TRAINING)):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("role", ["decoder", "encoder"])
def test_a_bias_gets_the_gradient_of_finite_differences(role, remat, monkeypatch):
    """Through a stack with dropout and grouped heads, whose causal rows are split into blocks."""
    monkeypatch.setattr(dot_product_attention, "BLOCK", 3)
    sizes = dict(num_heads=4, num_kv_heads=2, ffn_size=9, dropout=0.1, attention_dropout=0.3, stddev=0.3)
    keras.utils.set_random_seed(0)
    stack = TransformerStack(2, role=role, remat=remat, **sizes)
    stack.build([2, 6, 8])
    x, along = tf.random.stateless_normal([2, 6, 8], [1, 2]), tf.random.stateless_normal([1, 4, 6, 6], [3, 4])
    upstream, bias = tf.random.stateless_normal([2, 6, 8], [5, 6]), tf.random.stateless_normal([1, 4, 6, 6], [7, 8])

    def total(bias):
        found = stack.run(x, bias=bias, training=True, seed=tf.constant([3, 4]))
        return tf.reduce_sum(found.last_hidden_state * upstream)

    with tf.GradientTape() as tape:
        tape.watch(bias)
        value = total(bias)
    slope = tf.reduce_sum(tape.gradient(value, bias) * along)
    step = 3e-3
    expected = (total(bias + step * along) - total(bias - step * along)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=5e-3)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("compiled", [False, True])
def test_second_gradients_go_through_dropout(dtype, compiled):
    """Of the squared norm of the gradient of sum(dropout(x^2)^2), against those of a mask that is given."""
    x, seed = tf.cast(tf.random.stateless_normal([2, 32], [1, 2]), dtype), tf.constant([3, 4])
    mask = dropout(tf.ones([2, 32], dtype), 0.5, seed)
    options = CallOptions(compiled=compiled)

    def second(drop) -> tf.Tensor:
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(tf.cast(drop(x * x), tf.float32) ** 2)
            norm = tf.reduce_sum(tf.cast(inner.gradient(value, x), tf.float32) ** 2)
        return outer.gradient(norm, x)

    for ours, theirs in (
        (lambda y: dropout(y, 0.5, seed, options), lambda y: y * mask),
        (lambda y: add_dropped(y, y, 0.5, seed, options), lambda y: y + y * mask),
    ):
        found = tf.function(second)(ours) if compiled else second(ours)
        expected = tf.cast(second(theirs), tf.float32)
        np.testing.assert_allclose(tf.cast(found, tf.float32), expected, rtol=1e-5 if dtype == tf.float32 else 0.1)


def test_second_gradients_go_through_attentions_dropout():
    """Against differences of the first, along one direction."""
    query, key, value = (tf.random.stateless_normal([1, 2, 6, 4], [i, 0]) for i in range(3))
    along = tf.random.stateless_normal([1, 2, 6, 4], [9, 9])

    def norm_of_gradient(query: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(query)
            mixed = dot_product_attention.dot_product_attention(query, key, value, rate=0.5, seed=tf.constant([7]))
            total = tf.reduce_sum(mixed**2)
        return tf.reduce_sum(tape.gradient(total, query) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(query)
        value_here = norm_of_gradient(query)
    slope = tf.reduce_sum(tape.gradient(value_here, query) * along)
    step = 1e-2
    expected = (norm_of_gradient(query + step * along) - norm_of_gradient(query - step * along)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=5e-3)
