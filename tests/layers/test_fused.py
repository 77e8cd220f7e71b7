"""Functions that XLA compiles: where, and to the same values; rounding to bfloat16 by integers."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import DROPOUT_SEED, TARGET_IDS, TARGET_WEIGHTS, TOKEN_IDS
from tfllm.layers import fused
from tfllm.layers.call_options import TRAINING
from tfllm.layers.dropout import add_dropped, dropout
from tfllm.models import CausalLM
from tfllm.train import adamw

DTYPES = [tf.float32, tf.bfloat16]


@fused.fused
def doubled(x: tf.Tensor, *, more: float = 0.0, compiled: bool) -> tf.Tensor:
    return 2 * x + more


def compiled_calls(graph: tf.Graph) -> int:
    return sum(each.attr["_XlaMustCompile"].b for each in graph.as_graph_def().library.function)


@pytest.mark.parametrize(
    ("shape", "asked", "expected"),
    [([256, 256], True, 1), ([256, 256], False, 0), ([255, 256], True, 0), ([None, 512], True, 0), (None, True, 0)],
)
def test_a_training_step_compiles_what_is_large_and_of_known_size(shape, asked, expected):
    def step(x: tf.Tensor) -> tf.Tensor:
        return doubled(x, compiled=asked)

    graph = tf.function(step).get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph
    assert compiled_calls(graph) == expected
    assert doubled(tf.constant([3.0]), more=1.0, compiled=asked).numpy() == [7.0]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_to_the_nearest_and_even(dtype, jit_compile):
    bits = np.random.default_rng(0).integers(0, 1 << 32, 100_000, np.uint32)
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << 16) | 0x8000
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -3.4e38, 1e-40], np.float32).view(np.uint32)
    nans = np.array([0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF], np.uint32)  # the first is a GPU's
    values = np.concatenate([bits, ties, special, nans]).view(np.float32)

    def inside(x: tf.Tensor) -> tf.Tensor:
        return fused.rounded(x, dtype, compiled=True)

    ours = tf.function(inside, jit_compile=jit_compile)(values).numpy()
    if dtype == tf.float32:
        np.testing.assert_array_equal(ours, values)
        return
    np.testing.assert_array_equal(np.isnan(ours.astype(np.float32)), np.isnan(values))
    large = np.abs(values) >= np.finfo(np.float32).tiny  # XLA takes the smallest for 0
    np.testing.assert_array_equal(ours[large].view(np.uint16), values[large].astype(ml_dtypes.bfloat16).view(np.uint16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_is_the_same_mask_compiled_and_in_its_gradient(dtype):
    x, residual = (tf.cast(tf.random.stateless_normal([8, 64, 512], [i, 0]), dtype) for i in range(2))
    seeds = tf.range(8)

    def run(x: tf.Tensor, residual: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, residual])
            plain, added = dropout(x, 0.3, seeds, TRAINING), add_dropped(residual, x, 0.3, seeds, TRAINING)
            total = tf.reduce_sum(tf.cast(plain, tf.float32)) + tf.reduce_sum(tf.cast(added, tf.float32))
        return [plain, added, *tape.gradient(total, [x, residual])]

    op_by_op, compiled = run(x, residual), tf.function(run)(x, residual)
    for ours, theirs in zip(compiled, op_by_op, strict=True):
        np.testing.assert_allclose(
            tf.cast(ours, tf.float32), tf.cast(theirs, tf.float32), rtol=1e-6 if dtype == tf.float32 else 2**-8
        )
    kept = compiled[0].numpy().astype(np.float32) != 0
    scale = 256 / (256 - round(0.3 * 256))
    np.testing.assert_allclose(compiled[2].numpy().astype(np.float32), 2 * scale * kept, rtol=2**-8)
    assert 0.69 < kept.mean() < 0.71


def test_a_models_gradients_and_updates_are_compiled_and_its_scores_are_not():
    model = CausalLM(ModelConfig(vocab_size=512, hidden_size=512, num_layers=1, num_heads=2, max_length=64, dropout=0.1))
    model.compile(adamw(0.01))
    rows = {
        TOKEN_IDS: tf.zeros([16, 64], tf.int32),
        TARGET_IDS: tf.zeros([16, 64], tf.int32),
        TARGET_WEIGHTS: tf.ones([16, 64]),
    }
    gradients = tf.function(lambda: model._gradients(rows | {DROPOUT_SEED: tf.range(16)})).get_concrete_function()
    assert compiled_calls(gradients.graph) >= 8
    step = tf.function(lambda: model.train_step(rows)).get_concrete_function()
    assert compiled_calls(step.graph) >= compiled_calls(gradients.graph) + 4, "kernels of four shapes, each updated in one pass"
    assert compiled_calls(tf.function(lambda: model.test_step(rows)).get_concrete_function().graph) == 0


def losses(config: ModelConfig, dtype: str, **settings) -> list[float]:
    model = CausalLM(config, dtype=dtype, seed=3)
    model.compile(adamw(0.01), **settings)
    ids = np.random.default_rng(0).integers(0, 512, (16, 65), np.int32)
    rows = {TOKEN_IDS: ids[:, :-1], TARGET_IDS: ids[:, 1:], TARGET_WEIGHTS: np.ones((16, 64), np.float32)}
    data = tf.data.Dataset.from_tensors(rows).repeat()
    return model.fit(data, epochs=5, steps_per_epoch=1, verbose=0).history["loss"]


@pytest.mark.parametrize(
    ("dtype", "remat", "settings"),
    [
        ("mixed_bfloat16", False, {}),
        pytest.param("float32", True, {"gradient_accumulation": 2}, marks=pytest.mark.slow),
        pytest.param("float32", False, {"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_training_is_the_same_compiled_and_op_by_op(dtype, remat, settings, monkeypatch):
    config = ModelConfig(
        vocab_size=512,
        hidden_size=64,
        num_layers=2,
        num_heads=2,
        max_length=64,
        dropout=0.1,
        attention_dropout=0.1,
        remat=remat,
    )
    monkeypatch.setattr(fused, "MIN_ELEMENTS", 1 << 40)
    expected = losses(config, dtype, **settings)
    monkeypatch.setattr(fused, "MIN_ELEMENTS", 0)
    found = losses(config, dtype, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 2e-3)
    assert found[-1] < found[0] - 0.1
