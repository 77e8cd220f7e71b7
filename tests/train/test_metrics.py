"""Metrics: exact where float32 is not, and zero before anything was counted."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfllm.train.metrics import BitsPerByte, Perplexity, Ratio


def test_sums_over_weights_and_not_means_of_means():
    metric = Ratio("loss")
    for total, weight in ((10.0, 2.0), (1.0, 8.0), (0.0, 0.0)):
        metric.update_state(tf.constant(total), tf.constant(weight))
    assert float(metric.result()) == pytest.approx(1.1, abs=1e-7) and metric.result().dtype == tf.float32
    metric.reset_state()
    assert float(metric.result()) == 0


def test_counting_goes_on_past_two_to_the_24():
    metric = Ratio("accuracy")
    metric.update_state(tf.constant(2.0**24), tf.constant(2.0**25))
    for _ in range(3):
        metric.update_state(tf.constant(1.0), tf.constant(1.0))
    assert metric.total.numpy() == 2**24 + 3 and metric.weight.numpy() == 2**25 + 3
    assert {variable.dtype for variable in metric.variables} == {"float64"}


def test_perplexity_and_bits_per_byte():
    perplexity, bits = Perplexity("perplexity"), BitsPerByte("bits_per_byte")
    for nats, tokens, size in ((6.0, 2.0, 4.0), (3.0, 1.0, 8.0)):
        perplexity.update_state(tf.constant(nats), tf.constant(tokens))
        bits.update_state(tf.constant(nats), tf.constant(size))
    assert float(perplexity.result()) == pytest.approx(math.exp(3), rel=1e-6)
    assert float(bits.result()) == pytest.approx(9 / 12 / math.log(2), rel=1e-6)
    assert float(Perplexity("perplexity").result()) == 1 and float(BitsPerByte("bits").result()) == 0


def test_in_a_graph():
    metric = Perplexity("perplexity")
    update = tf.function(metric.update_state)
    for _ in range(4):
        update(tf.constant(np.float32(2.0)), tf.constant(np.float32(4.0)))
    assert float(tf.function(metric.result)()) == pytest.approx(math.exp(0.5), rel=1e-6)
