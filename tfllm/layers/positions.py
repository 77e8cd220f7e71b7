"""How a model knows where a token stands: sinusoidal (Vaswani et al. 2017) and rotary (Su et al. 2021) positions.

Inputs: positions, int32 [B, S]. Outputs: vectors that are added to the tokens' vectors, or the rotation of queries and keys.
Learned positions are an embedding (`embeddings.py`). Rotary frequencies may be stretched as Llama 3 does.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfllm.layers.base import Configurable


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which queries and keys are rotated, float32 [B, 1, S, H/2] (or B = 1)."""

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
    """The rotation of each position. int32 [B, S], float32 [H/2] -> `Rotation`."""
    angles = tf.cast(positions, tf.float32)[:, None, :, None] * frequencies
    return Rotation(tf.cos(angles), tf.sin(angles))


def rotate(x: tf.Tensor, rope: Rotation) -> tf.Tensor:
    """Rotates unit i with unit i + H/2, as Llama's published weights expect. [B, N, S, H] -> [B, N, S, H]."""
    cos, sin = tf.cast(rope.cos, x.dtype), tf.cast(rope.sin, x.dtype)
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cos - second * sin, second * cos + first * sin], axis=-1)


def sinusoids(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Sines in the even units, cosines in the odd ones. int32 [B, S] -> float32 [B, S, size]."""
    frequencies = (10_000.0 ** (-np.arange(0, size, 2) / size)).astype(np.float32)
    angles = tf.cast(positions, tf.float32)[..., None] * frequencies
    pairs = tf.stack([tf.sin(angles), tf.cos(angles)], axis=-1)
    return tf.reshape(pairs, tf.concat([tf.shape(positions), [size]], 0))


@keras.saving.register_keras_serializable(package="tfllm")
class SinusoidalPositions(Configurable):
    """Adds the sinusoids of Vaswani et al. 2017 (section 3.5) to a sequence of vectors. It has no weights.

    >>> x = tfllm.layers.SinusoidalPositions()(keras.layers.Embedding(1000, 512, mask_zero=True)(ids))

    Args:
        scale: multiply the vectors by sqrt(D) first, as the paper does with its embeddings (section 3.4).
    """

    def __init__(self, *, scale: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.supports_masking = scale, True

    def call(self, x: tf.Tensor, positions: tf.Tensor | None = None) -> tf.Tensor:
        """Vectors with their positions.

        Args:
            x: [B, S, D].
            positions: int [B, S]; 0 ... S-1 unless given.

        Returns:
            [B, S, D], in the compute dtype.
        """
        size = x.shape[-1]
        positions = tf.range(tf.shape(x)[1])[None] if positions is None else positions
        x = x * tf.constant(math.sqrt(size), x.dtype) if self.scale else x
        return x + tf.cast(sinusoids(positions, size), x.dtype)

    def compute_output_shape(self, x_shape: Any, positions_shape: Any = None) -> Any:
        return x_shape


@keras.saving.register_keras_serializable(package="tfllm")
class RotaryPositions(Configurable):
    """The rotation of queries and keys by their positions (Su et al. 2021, arXiv:2104.09864). It has no weights.

    >>> rope = tfllm.layers.RotaryPositions(64)(positions)
    >>> y = tfllm.layers.MultiHeadAttention(8, 64)(x, rope=rope)

    Args:
        head_dim: H, even.
        theta: the base of the frequencies theta^(-2i/H).
        factor, low_frequency_factor, high_frequency_factor, original_max_length: how Llama 3 stretches long wavelengths;
            `factor=1` leaves them as they are.
    """

    def __init__(
        self,
        head_dim: int,
        theta: float = 10_000.0,
        *,
        factor: float = 1.0,
        low_frequency_factor: float = 1.0,
        high_frequency_factor: float = 4.0,
        original_max_length: int = 8192,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._frequencies = rotary_frequencies(
            head_dim,
            theta,
            factor=factor,
            low_frequency_factor=low_frequency_factor,
            high_frequency_factor=high_frequency_factor,
            original_max_length=original_max_length,
        )

    def call(self, positions: tf.Tensor) -> Rotation:
        """int [B, S] (or [1, S], the same for all rows) -> cosines and sines, float32 [B, 1, S, H/2]."""
        return rotation(positions, self._frequencies)
