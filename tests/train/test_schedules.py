import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.train.schedules import WarmupSchedule, schedule


def rates(curve, steps):
    return np.array([float(curve(step)) for step in steps])


def test_linear_is_the_docstrings_row():
    curve = schedule("linear", peak=1.0, steps=6, warmup_steps=2, final_fraction=0.0)
    np.testing.assert_allclose(rates(curve, range(8)), [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0], atol=1e-7)


def test_wsd_is_the_docstrings_row():
    curve = schedule("wsd", peak=1.0, steps=8, warmup_steps=2, decay_steps=4, final_fraction=0.0)
    row = [0.5, 1, 1, 1, 1, 0.5, 0.2929, 0.1340, 0]
    np.testing.assert_allclose(rates(curve, range(9)), row, atol=5e-5)


def test_wsd_decays_over_the_last_fifth_unless_told():
    curve = schedule("wsd", peak=2.0, steps=100, warmup_steps=10)
    # Step 85 is a quarter into the decay of 80..100: 2 * (0.1 + 0.9 * (1 - sqrt(1/4))).
    np.testing.assert_allclose(rates(curve, [79, 80, 85, 100, 500]), [2, 2, 1.1, 0.2, 0.2], rtol=1e-6)


def test_cosine_by_hand():
    curve = schedule("cosine", peak=3e-4, steps=110, warmup_steps=10)
    # From 10 to 110: cos 0, cos 60 degrees, cos 90 degrees, cos 180 degrees.
    by_hand = [3e-5, 3e-4, 3e-4, 3e-4 * (0.1 + 0.9 * 0.75), 3e-4 * 0.55, 3e-5, 3e-5]
    np.testing.assert_allclose(rates(curve, [0, 9, 10, 10 + 100 / 3, 60, 110, 10**6]), by_hand, rtol=1e-5)


def test_constant_and_no_warmup():
    np.testing.assert_allclose(rates(schedule("constant", peak=0.5, steps=4), range(6)), 0.5)
    np.testing.assert_allclose(rates(schedule("constant", peak=0.5, steps=4, warmup_steps=2), range(4)), [0.25, 0.5, 0.5, 0.5])
    assert float(schedule("cosine", peak=0.5, steps=4)(0)) == 0.5


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant", "wsd"])
def test_round_trip_and_graph(shape):
    curve = schedule(shape, peak=0.01, steps=50, warmup_steps=5)
    config = json.loads(json.dumps(keras.optimizers.schedules.serialize(curve)))
    again = keras.optimizers.schedules.deserialize(config)
    assert isinstance(again, WarmupSchedule)
    assert again.get_config() == curve.get_config()
    traced = tf.function(again, input_signature=[tf.TensorSpec([], tf.int64)])
    np.testing.assert_allclose(rates(traced, range(60)), rates(curve, range(60)), rtol=1e-6)
    assert traced.get_concrete_function().output_shapes == tf.TensorShape([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "cos"}, "cosine, linear, constant, wsd"),
        ({"peak": 0.0}, "above 0"),
        ({"peak": float("nan")}, "above 0"),
        ({"warmup_steps": 10}, "is invalid: expected 0 or more, and fewer than steps="),
        ({"warmup_steps": -1}, "is invalid: expected 0 or more, and fewer than steps="),
        ({"steps": 0}, "is invalid: expected 0 or more, and fewer than steps="),
        ({"final_fraction": 1.5}, "0 to 1"),
        ({"shape": "constant", "final_fraction": 0.1}, "no decay"),
        ({"decay_steps": 3}, "only 'wsd' has it"),
        ({"shape": "wsd", "warmup_steps": 8, "decay_steps": 3}, "decay_steps=3 is invalid: expected 1 to 2"),
        ({"shape": "wsd", "decay_steps": 0}, "decay_steps=0 is invalid: expected 1 to 10"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        schedule(**{"shape": "cosine", "peak": 1.0, "steps": 10, **arguments})
