"""How a model knows where a token stands: sinusoidal (Vaswani et al. 2017) and rotary (Su et al. 2021) positions.

Learned positions are an embedding (`embeddings.py`). Rotary frequencies may be stretched as Llama 3 does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Rotation(NamedTuple):
    """What turns queries and keys: cosines and sines, float32 [B, 1, S, H/2] (or B = 1)."""

    cos: tf.Tensor
    sin: tf.Tensor


def rotary_frequencies(
    head_dim: int,
    theta: float,
    *,
    factor: float = 1.0,
    low_frequency_factor: float = 1.0,
    high_frequency_factor: float = 4.0,
    original_max_length: int = 8192,
) -> np.ndarray:
    """Radians a position for each pair of units: theta^(-2i/H), stretched where `factor` > 1. float32 [H/2].

    >>> rotary_frequencies(4, 10_000.0)
    array([1.  , 0.01], dtype=float32)
    """
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    turns = original_max_length * frequencies / (2 * math.pi)
    kept = np.clip((turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor), 0, 1)
    return (frequencies * (kept + (1 - kept) / factor)).astype(np.float32)


def rotation(positions: tf.Tensor, frequencies: np.ndarray) -> Rotation:
    """The turn of each position. int32 [B, S], float32 [H/2] -> `Rotation`."""
    angles = tf.cast(positions, tf.float32)[:, None, :, None] * frequencies
    return Rotation(tf.cos(angles), tf.sin(angles))


def rotate(x: tf.Tensor, turn: Rotation) -> tf.Tensor:
    """Turns unit i with unit i + H/2, as Llama's published weights expect. [B, N, S, H] -> [B, N, S, H]."""
    cos, sin = tf.cast(turn.cos, x.dtype), tf.cast(turn.sin, x.dtype)
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cos - second * sin, second * cos + first * sin], axis=-1)


def sinusoids(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Sines in the even units, cosines in the odd ones. int32 [B, S] -> float32 [B, S, size]."""
    frequencies = (10_000.0 ** (-np.arange(0, size, 2) / size)).astype(np.float32)
    angles = tf.cast(positions, tf.float32)[..., None] * frequencies
    pairs = tf.stack([tf.sin(angles), tf.cos(angles)], axis=-1)
    return tf.reshape(pairs, tf.concat([tf.shape(positions), [size]], 0))
