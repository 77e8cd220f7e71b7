"""The layers in anyone's Keras model: against Keras' own attention, with its masks, its files and its dtype policies."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers import (
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    RMSNorm,
    RotaryPositions,
    SinusoidalPositions,
    StackOutput,
    TransformerBlock,
    TransformerStack,
)

N, H, D, B, S, T = 4, 6, 10, 2, 5, 7


def normal(*shape: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [len(shape), sum(shape)])


def filled(layer: keras.layers.Layer) -> keras.layers.Layer:
    random = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(random.normal(1.0 if variable.path.endswith("scale") else 0.0, 0.3, variable.shape))
    return layer


def keras_attention(layer: MultiHeadAttention, x: tf.Tensor, memory: tf.Tensor) -> keras.layers.MultiHeadAttention:
    """Keras' own, with the layer's weights."""
    theirs = keras.layers.MultiHeadAttention(N, H, dropout=0.0)
    theirs.build(x.shape, memory.shape)
    projections = [layer.query, layer.key_value] if layer.is_cross_attention else [layer.qkv]
    kernels = [part for each in projections for part in tf.split(each.kernel, each.kernel.shape[1] // (N * H), axis=1)]
    biases = [part for each in projections for part in tf.split(each.bias, each.bias.shape[0] // (N * H))]
    values = [tf.reshape(each, [-1, N, H]) for each in kernels]
    values = [value for pair in zip(values, [tf.reshape(each, [N, H]) for each in biases], strict=True) for value in pair]
    output = layer.output_projection
    theirs.set_weights([*values, tf.reshape(output.kernel, [N, H, D]), output.bias])
    return theirs


@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("masks", ["none", "attention_mask", "padding", "all"])
def test_attention_is_keras_own(crossing, masks):
    x, memory, layer = normal(B, S, D), normal(B, T, 8), MultiHeadAttention(N, H)
    inputs = dict(memory=memory) if crossing else {}
    layer(x, **inputs)
    theirs = keras_attention(filled(layer), x, memory if crossing else x)
    keys, asked, of_keras = T if crossing else S, {}, {}
    if masks in ("attention_mask", "all"):
        asked["attention_mask"] = of_keras["attention_mask"] = np.random.default_rng(1).random((B, S, keys)) < 0.6
    if masks in ("padding", "all"):
        padding = np.arange(keys) < np.array([[keys], [3]])
        asked["memory_mask" if crossing else "mask"] = of_keras["value_mask"] = of_keras["key_mask"] = padding
    if masks == "all" and not crossing:
        asked["use_causal_mask"] = of_keras["use_causal_mask"] = True
    ours = layer(x, return_attention_scores=True, **inputs, **asked)
    expected, scores = theirs(x, memory if crossing else x, return_attention_scores=True, **of_keras)
    seen = ours.scores.numpy().max(-1).min(1) > 0  # a row of which nothing is seen has no meaning in either
    seen &= np.all(of_keras.get("attention_mask", np.ones((B, S, keys), bool)).any(-1, keepdims=True), -1)
    if masks == "all":
        there = of_keras["attention_mask"] & padding[:, None]
        there &= np.tril(np.ones((S, S), bool)) if not crossing else True
        seen = there.any(-1)
    assert seen.sum() > 4
    np.testing.assert_allclose(ours.output.numpy()[seen], expected.numpy()[seen], atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(ours.scores.numpy(), 1, 2)[seen], np.moveaxis(scores.numpy(), 1, 2)[seen], atol=1e-5)
    np.testing.assert_allclose(layer(x, **inputs, **asked).numpy()[seen], ours.output.numpy()[seen], atol=1e-5)


def translator(dtype: str = "float32") -> keras.Model:
    """A small encoder-decoder as docs/layers.md makes it, and every other layer once."""
    policy = dict(dtype=dtype)
    source, target = keras.Input([None], dtype="int32"), keras.Input([None], dtype="int32")
    table = keras.layers.Embedding(20, 8, mask_zero=True, **policy)
    blocks = dict(num_heads=2, ffn_size=12, dropout=0.3, attention_dropout=0.3) | policy
    memory = TransformerStack(1, **blocks, norm_place="post")(SinusoidalPositions(scale=True, **policy)(table(source)))
    decoder = TransformerStack(2, role="decoder_with_cross_attention", rope_theta=100.0, **blocks)
    x = RMSNorm(**policy)(decoder(table(target), memory=memory))
    x = LayerNorm(**policy)(FeedForward(9, activation="silu", gated=True, **policy)(x))
    x = TransformerBlock(2, 12, role="decoder", num_kv_heads=1, qk_norm="rms", **policy)(x)
    return keras.Model([source, target], keras.layers.Dense(20, dtype="float32")(x))


SOURCE, TARGET = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 2]]), np.array([[1, 12, 0, 0], [1, 9, 8, 7]])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_model_is_read_back(dtype, tmp_path):
    model = filled(translator(dtype))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert {variable.dtype for variable in again.weights} == {"float32"}
    np.testing.assert_array_equal(again([SOURCE, TARGET]), model([SOURCE, TARGET]))
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "TransformerStack" in "".join(lines) and f"{model.count_params():,}" in "".join(lines)


def test_padding_of_source_and_target_is_not_seen():
    """What `Embedding(mask_zero=True)` says reaches self- and cross-attention; a decoder's tokens see none behind them."""
    model = filled(translator())
    whole = model([SOURCE, TARGET])
    np.testing.assert_allclose(model([SOURCE[:1, :3], TARGET[:1]])[0, :2], whole[0, :2], atol=1e-5)
    np.testing.assert_allclose(model([SOURCE, TARGET[:, :2]]), whole[:, :2], atol=1e-5)
    other = SOURCE.copy()
    other[0, 2] = 11
    assert np.abs(model([other, TARGET])[0, :2] - whole[0, :2]).max() > 1e-3


def test_fit_drops_units_and_learns():
    keras.utils.set_random_seed(0)
    ids, rows = keras.Input([None], dtype="int32"), TARGET
    x = SinusoidalPositions()(keras.layers.Embedding(20, 8, mask_zero=True)(ids))
    stack = TransformerStack(1, num_heads=2, ffn_size=12, role="decoder", dropout=0.3, attention_dropout=0.3, remat=True)
    model, inputs = keras.Model(ids, keras.layers.Dense(20)(stack(x))), rows
    one, other = model(inputs, training=True), model(inputs, training=True)
    assert np.abs(one - other).max() > 1e-4, "every call in training draws its own dropout"
    np.testing.assert_array_equal(model(inputs), model(inputs, training=False))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0))
    losses = model.fit(inputs, np.roll(rows, -1, axis=1), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.3


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention, self.cross = MultiHeadAttention(2, dropout=0.2), MultiHeadAttention(2, 3, output_size=5)
        self.rope = RotaryPositions(4)

    def call(self, inputs):
        x, memory = inputs
        x = self.attention(x, rope=self.rope(tf.range(tf.shape(x)[1])[None]), use_causal_mask=True)
        return self.cross(x, memory=memory)


def test_a_subclassed_model_is_read_back(tmp_path):
    model, inputs = Subclassed(), (normal(B, S, 8), normal(B, T, 3))
    model(inputs)
    expected = filled(model)(inputs)
    assert expected.shape == (B, S, 5) and np.abs(model(inputs, training=True) - expected).max() > 1e-4
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"Subclassed": Subclassed})
    np.testing.assert_array_equal(again(inputs), expected)


def test_a_decoder_makes_keys_and_values_of_its_memory_once():
    """By token, with two continuations of each memory, as all at once; the memory is not copied for them."""
    stack = TransformerStack(2, num_heads=4, ffn_size=9, num_kv_heads=2, role="decoder_with_cross_attention")
    x, memory, there = normal(4, S, 8), normal(2, T, 6), np.arange(T) < np.array([[T], [4]])
    stack(x, memory=tf.repeat(memory, 2, axis=0))
    filled(stack)
    expected = stack(x, memory=tf.repeat(memory, 2, axis=0), memory_mask=np.repeat(there, 2, axis=0))
    cache = stack.with_memory(stack.new_cache(4, S), memory, there)
    assert cache.memory.keys[0].shape == (2, 2, T, 2)
    for i in range(S):
        found = stack.run(x[:, i : i + 1], cache=cache, output_attentions=True)
        cache = found.cache
        assert isinstance(found, StackOutput) and found.cross_attentions[1].shape == (4, 4, 1, T)
        np.testing.assert_allclose(found.last_hidden_state[:, 0], expected[:, i], atol=1e-5)


def test_attentions_over_a_memory_of_one_vector_in_a_graph():
    stack = TransformerStack(2, num_heads=2, ffn_size=9, role="decoder_with_cross_attention")
    x, memory = normal(B, S, 8), normal(B, 1, 8)
    found = tf.function(lambda: stack(x, memory=memory, output_attentions=True).cross_attentions, autograph=False)()
    assert [each.shape for each in found] == [(B, 2, S, 1)] * 2
    np.testing.assert_allclose(found[0], np.ones([B, 2, S, 1]), atol=1e-6)


def test_what_is_asked_for_changes_no_value():
    stack, x = TransformerStack(2, num_heads=2, ffn_size=9, role="decoder"), normal(B, S, 8)
    expected = stack(x)
    found = filled(stack)(x, output_hidden_states=True, output_attentions=True)
    expected = stack(x)
    np.testing.assert_allclose(found.last_hidden_state, expected, atol=1e-5)
    assert len(found.hidden_states) == 3 and found.hidden_states[0] is not None and found.cross_attentions == ()
    np.testing.assert_array_equal(found.hidden_states[2], found.last_hidden_state)
    for scores in found.attentions:
        np.testing.assert_allclose(tf.reduce_sum(scores, -1), np.ones((B, 2, S)), atol=1e-5)
        assert (np.triu(scores, 1) == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHeadAttention(4, num_kv_heads=3), "num_kv_heads=3 is invalid: expected a divisor of num_heads=4"),
        (lambda: MultiHeadAttention(3)(normal(1, 2, 8)), "num_heads=3 is invalid: expected a divisor of the width 8"),
        (lambda: FeedForward(4, activation="tanh"), "activation='tanh' is invalid: expected 'gelu'"),
        (lambda: TransformerBlock(2, 4, role="cross"), "role='cross' is invalid: expected 'encoder', 'decoder'"),
        (lambda: TransformerBlock(2, 4, norm="batch"), "norm='batch' is invalid: expected 'layer' or 'rms'"),
        (lambda: TransformerBlock(2, 4)(normal(1, 2, 8), memory=normal(1, 2, 8)), "role='encoder' is invalid with a memory"),
        (lambda: TransformerStack(0, num_heads=2, ffn_size=4), "num_layers=0 is invalid: expected at least 1"),
        (lambda: MultiHeadAttention(2)(normal(1, 2, 8), attention_mask=tf.ones([2], tf.bool)), "attention_mask of shape"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layer_is_for_itself_or_for_a_memory():
    layer = MultiHeadAttention(2)
    layer(normal(1, 2, 8))
    with pytest.raises(ValueError, match="memory=a tensor is invalid: expected None, as in this layer's first call"):
        layer(normal(1, 2, 8), memory=normal(1, 2, 8))
