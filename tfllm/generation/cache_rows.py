"""Rows of a cache in another order: what a search that drops some continuations and doubles others needs."""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.cache import Cache


def reordered(cache: Cache, rows: tf.Tensor) -> Cache:
    """The cache whose row i is row `rows[i]` of the old one; as it is where the order is. rows: int32 [B]."""

    def gathered() -> Cache:
        return tf.nest.map_structure(lambda each: tf.gather(each, rows) if each.shape.rank else each, cache)

    return tf.cond(tf.reduce_all(rows == tf.range(tf.size(rows))), lambda: cache, gathered)
