"""Metrics that are a sum divided by a weight, in float64: exact for any number of tokens, batches and replicas.

Input: the sums and weights of each step. Output: Keras metrics.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Ratio(keras.metrics.Metric):
    """sum / weight.

    The sums are float64: in float32 a count of single tokens stops growing at 2^24, minutes into a run.
    """

    def __init__(self, name: str, **kwargs: Any):
        super().__init__(name=name, dtype="float64", **kwargs)
        self.total, self.weight = self._sum("total"), self._sum("weight")

    def _sum(self, name: str) -> keras.Variable:
        # Keras' own variables have a value per replica, which all workers must sum together when one reads them. The sums
        # added here are the same on every replica, so one worker can read them alone.
        with keras.name_scope(self.name):
            return keras.Variable(
                "zeros", shape=(), dtype="float64", trainable=False, aggregation="only_first_replica", name=name
            )

    def update_state(self, total: tf.Tensor, weight: tf.Tensor) -> None:
        """Adds the sum and the weight of one batch over all replicas, float32 [] each."""
        self.total.assign_add(tf.cast(total, tf.float64))
        self.weight.assign_add(tf.cast(weight, tf.float64))

    def result(self) -> tf.Tensor:
        """float32 []; the value for 0 before the first update."""
        return tf.cast(self.value_of(tf.math.divide_no_nan(self.total.value, self.weight.value)), tf.float32)

    def sums(self) -> tuple[float, float]:
        """The sum and the weight so far."""
        return float(np.asarray(self.total)), float(np.asarray(self.weight))

    @staticmethod
    def value_of(ratio: tf.Tensor) -> tf.Tensor:
        """The metric's value for a sum divided by its weight. float64 [] -> float64 []."""
        return ratio


class Perplexity(Ratio):
    """exp(nats / tokens)."""

    @staticmethod
    def value_of(ratio: tf.Tensor) -> tf.Tensor:
        return tf.exp(ratio)


class BitsPerByte(Ratio):
    """Bits of the text's tokens (ends of documents included) divided by its UTF-8 bytes; comparable across tokenizers."""

    @staticmethod
    def value_of(ratio: tf.Tensor) -> tf.Tensor:
        return ratio / math.log(2)
