import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.layers import fused
from tfllm.train.optimizers import adamw, averaged_weights


def test_sparse_gradients_are_those_of_the_dense_sum():
    # Row 3 comes twice: its values add up before they are squared, in the norm and in the second moment.
    rows = tf.IndexedSlices(tf.constant([[3.0, 0.0], [1.0, 1.0], [-1.0, 4.0]]), tf.constant([3, 1, 3]), (5, 2))
    dense = tf.constant([[0, 0], [1, 1], [0, 0], [2, 4], [0, 0]], tf.float32)
    results = []
    for gradient in (rows, dense):
        variables = [keras.Variable(np.ones((5, 2), "float32"), name="token_embedding")]
        optimizer = adamw(0.1, clip_norm=1.0)
        optimizer.build(variables)
        for scale in (1.0, 0.5):
            tf.function(lambda: optimizer.apply([gradient]))()  # noqa: B023
            tf.function(lambda: optimizer.apply([dense * scale]))()  # noqa: B023
        results.append(variables[0].numpy())
    np.testing.assert_array_equal(*results)


def test_names_that_would_collide_are_refused():
    twins = [keras.Variable(np.ones(2, "float32"), name="kernel") for _ in range(2)]
    with pytest.raises(ValueError, match=r"several variables are called \['kernel'\]"):
        adamw(0.1).build(twins)


def fitted(ema, epochs=2):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(adamw(0.05, ema=ema), "mse")
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    model.fit(x, x.sum(1, keepdims=True), batch_size=8, epochs=epochs, verbose=0)
    return model, x


def test_averages_follow_and_swap_back_bit_for_bit():
    model, x = fitted(ema=0.5, epochs=1)
    plain, _ = fitted(ema=None, epochs=1)
    weights = [v.numpy() for v in model.trainable_variables]
    for left, right in zip(weights, plain.trainable_variables, strict=True):
        np.testing.assert_array_equal(left, right.numpy())  # fit did not put the averages in their place
    with averaged_weights(model.optimizer):
        averaged = [v.numpy() for v in model.trainable_variables]
        evaluated = model.evaluate(x, x.sum(1, keepdims=True), verbose=0)
    assert any(np.abs(a - w).max() > 1e-3 for a, w in zip(averaged, weights, strict=True))
    for left, right in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(left, right.numpy())

    swapped = model.evaluate(x, x.sum(1, keepdims=True), verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()])
    assert swapped == pytest.approx(evaluated, rel=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_average_by_hand(compiled, monkeypatch):
    monkeypatch.setattr(fused, "MIN_ELEMENTS", 0 if compiled else 1 << 40)
    variable = keras.Variable([1.0], name="bias")
    optimizer = adamw(1.0, ema=0.75, clip_norm=None)
    optimizer.compiled = compiled
    optimizer.build([variable])
    with averaged_weights(optimizer):
        assert float(variable[0]) == 1.0  # nothing averaged yet
    step = tf.function(lambda: optimizer.apply([tf.constant([2.0])]))
    for _ in range(3):
        step()
    # Adam's steps on a constant gradient are 1: weights 0, -1, -2; averages 0, -0.25, -0.6875.
    with pytest.raises(RuntimeError), averaged_weights(optimizer):
        assert float(variable[0]) == pytest.approx(-0.6875, abs=1e-5)
        raise RuntimeError
    assert float(variable[0]) == pytest.approx(-2.0, abs=1e-5)


def test_averages_asked_for_but_not_kept():
    with pytest.raises(ValueError, match="keeps no averages: make it with ema"), averaged_weights(adamw(0.1)):
        pass


def test_variables_without_gradient_are_averaged_too():
    used, unused = keras.Variable([1.0], name="used"), keras.Variable([5.0], name="unused")
    optimizer = adamw(0.1, ema=0.9)
    with pytest.warns(UserWarning, match="unused"):
        optimizer.apply([tf.constant([1.0]), None], [used, unused])
    with averaged_weights(optimizer):
        assert float(unused[0]) == 5.0


REPLICAS = """
from tfllm import train as training  # first: it brings TensorFlow sooner
import numpy as np, keras, tensorflow as tf
from tfllm.layers import fused
from tfllm.train.optimizers import adamw, averaged_weights, lion, muon

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
SHAPES = {"token_embedding": (7, 4), "kernel": (4, 6), "bias": (6,)}

def train(make, strategy, replicas):
    random = np.random.default_rng(0)
    with strategy.scope():
        start = {n: random.normal(size=s).astype("float32") for n, s in SHAPES.items()}
        variables = [keras.Variable(value, name=name) for name, value in start.items()]
        optimizer = make(0.01, ema=0.9, clip_norm=0.5)
        optimizer.build(variables)

    @tf.function
    def step(rows, *gradients):
        def replica():
            # Replica r of two has a share of 0.25 or 0.75, and every second row of the sparse gradient.
            r = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = 1.0 if replicas == 1 else 0.25 + 0.5 * tf.cast(r, tf.float32)
            ids = tf.constant([3, 1, 3, 2])
            mine = tf.IndexedSlices(rows[r::replicas], ids[r::replicas], (7, 4))
            optimizer.apply([mine, *[share * g for g in gradients]], variables)
        strategy.run(replica)

    for _ in range(5):
        step(*[tf.constant(random.normal(size=s), tf.float32) for s in [(4, 4), (4, 6), (6,)]])
    weights = [v.numpy() for v in variables]
    with strategy.scope(), averaged_weights(optimizer):
        weights += [v.numpy() for v in variables]
    copies = [v.value for v in variables] + [v.value for v in optimizer.variables]
    for copy in copies:
        locals_ = [c.numpy() for c in strategy.experimental_local_results(copy)]
        assert len(locals_) == replicas and all((c == locals_[0]).all() for c in locals_), copy
    return weights

for make in (adamw, muon, lion):
    one = train(make, tf.distribute.get_strategy(), 1)
    two = train(make, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 2)
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-6)
print("equal")
"""


def test_two_replicas_do_as_one_device():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]


def test_a_step_that_finds_no_batch_leaves_everything_as_it_was():
    ids = np.arange(32, dtype=np.int32).reshape(2, 16)
    features = {"token_ids": ids, "target_ids": ids, "target_weights": np.ones((2, 16), np.float32)}
    one = tf.data.Dataset.from_tensors(features)
    weights, histories = [], []
    for data in (one.repeat().take(2), one.repeat().take(2).filter(lambda _: True)):  # of the second, nobody knows the end
        model = tfllm.CausalLM(tfllm.preset("gpt2-tiny", num_layers=1))
        model.compile(adamw(1e-2, weight_decay=10.0))
        histories.append(model.fit(data, verbose=0).history)
        weights.append([np.array(variable) for variable in model.variables + model.optimizer.variables])
    for known, unknown in zip(*weights, strict=True):
        np.testing.assert_array_equal(known, unknown)
    assert histories[0] == histories[1]
