"""The shuffled order of training rows, as a function of the seed: any step can be computed without those before it.

In: the number of a draw. Out: the store, the epoch and the row that it takes.
Draw g of a run is row g mod B of step g div B. With one store, draw g is number g mod R of epoch g div R, where R is the number
of rows of an epoch; a permutation keyed by (seed, epoch) gives the row. With several stores, draws come in blocks of BLOCK.
Each block takes every store's share exactly (largest remainder), in an order keyed by (seed, block), and each store counts its
own draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

BLOCK = 10_000

ROUNDS = 16
"""Of the cipher behind the permutation. With the default of 4, epochs of 65,536 rows correlate by up to 0.97."""


def draws_per_store(weights: Sequence[float], block: int = BLOCK) -> list[int]:
    """How many of `block` draws each weight gets; they add up exactly.

        weights 1 1 1, block 10  ->  4 3 3

    Raises:
        ValueError: a weight is not above 0, or too small for a single draw.
    """
    total = sum(weights)
    if any(not 0 < weight < float("inf") for weight in weights):
        raise ValueError(f"weights={list(weights)} is invalid: expected finite numbers above 0.")
    exact = [weight * block / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: (counts[place] - exact[place], place))
    for place in by_remainder[: block - sum(counts)]:
        counts[place] += 1
    if 0 in counts:
        raise ValueError(
            f"weights={list(weights)} is invalid: expected each to be at least {0.5 / block:g} of their sum. Remove the store "
            "of the smallest."
        )
    return counts


def hash_uint32(value: tf.Tensor) -> tf.Tensor:
    """Neighbours in, unrelated numbers out: lowbias32 of Wellons' hash prospector. uint32, any shape."""

    def shifted(x: tf.Tensor, bits: int) -> tf.Tensor:
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(bits, tf.uint32)))

    value = shifted(value, 16) * tf.constant(0x7FEB352D, tf.uint32)
    value = shifted(value, 15) * tf.constant(0x846CA68B, tf.uint32)
    return shifted(value, 16)


def random_keys(seed: int, *numbers: tf.Tensor) -> tf.Tensor:
    """Three words that depend on all bits of the seed and the numbers (int64 [B] each). uint32 [B, 3].

    The op uses only the low bits of each word (8 of them for 65,536 rows), so plain counters would soon
    repeat.
    """
    state = hash_uint32(tf.constant(seed, tf.uint32))
    for number in numbers:
        low, high = tf.cast(number, tf.uint32), tf.cast(number // 2**32, tf.uint32)
        state = hash_uint32(hash_uint32(state + low) + high)
    return hash_uint32(state[..., None] + tf.constant([1, 2, 3], tf.uint32))


def random_uint32(key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """A number for every counter of a row: what stateless random ops give, with a seed a row.

    Args:
        key: uint32 [B, 2 or more], from `random_keys`.
        counter: int [n], [B, n] or [m, B, n]; from -2**31 on, it may be negative.

    Returns:
        uint32, as `counter` broadcast with [B, 1].
    """
    return hash_uint32(hash_uint32(key[:, :1] + tf.cast(counter, tf.uint32)) + key[:, 1:2])


def random_below(number: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """int64, any shape: from 0 to below `limit` (int64, up to 2**31), as evenly as `number` (uint32) is spread.

    0, 2**31, 2**32 - 1 with limit 10  ->  0 5 9
    """
    return tf.bitwise.right_shift(tf.cast(number, tf.int64) * limit, tf.constant(32, tf.int64))


def random_bool(number: tf.Tensor, share: float) -> tf.Tensor:
    """bool, any shape: true for `share` (0 to 1) of all numbers (uint32)."""
    return tf.cast(number, tf.int64) < round(share * 2**32)


def random_int63(words: tf.Tensor) -> tf.Tensor:
    """The first two of uint32 [B, 2 or more] as one number of 63 bits: int64 [B]."""
    return tf.cast(words[:, 0], tf.int64) * 2**31 + tf.cast(words[:, 1] // 2, tf.int64)


def permute_index(index: tf.Tensor, size: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Where `index` goes in a permutation of `size` numbers.

        indices 0 1 2 3 of 4, one key  ->  each of 0 1 2 3 once

    Args:
        index, size: int64 [B], index below size.
        key: uint32 [B, 3].

    Returns:
        int64 [B].
    """
    # The raw op: tf.random.experimental.index_shuffle (2.21) pads a batch of seeds on the wrong axis.
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=key, max_index=size - 1, rounds=ROUNDS)


def choose_store(draw: tf.Tensor, counts: Sequence[int], seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The store of a draw, and the number of the draw among that store's own.

        counts 2 1 (blocks of 3), draws 0 1 2 | 3 4 5, say in the order 0 1 0 | 0 0 1
        -> stores 0 1 0 | 0 0 1; numbers 0 0 1 | 2 3 1

    (The numbers inside a block follow the permutation, so they may come in another order.)

    Args:
        draw: int64 [B].
        counts: of a block, by store.

    Returns:
        Two int64 [B].
    """
    if len(counts) == 1:
        return tf.zeros_like(draw), draw
    size = sum(counts)
    block = draw // size
    place = permute_index(draw % size, tf.fill(tf.shape(draw), tf.constant(size, tf.int64)), random_keys(seed, block))
    edges = tf.constant([sum(counts[: store + 1]) for store in range(len(counts))], tf.int64)
    store = tf.searchsorted(edges, place, side="right", out_type=tf.int64)
    share = tf.gather(tf.constant(counts, tf.int64), store)
    return store, block * share + place - tf.gather(edges, store) + share
