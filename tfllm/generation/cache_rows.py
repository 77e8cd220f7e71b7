"""Rows of a cache by number: searches drop some continuations and copy others.

Input: a cache and row numbers. Output: the cache with these rows.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm.layers.cache import Cache


def gather_rows(cache: Cache, rows: tf.Tensor) -> Cache:
    """The cache whose row i is row `rows[i]` of `cache`. If the order stays, nothing is copied. rows: int32 [B]."""

    def gathered() -> Cache:
        own = tf.nest.map_structure(lambda each: tf.gather(each, rows) if each.shape.rank else each, cache._replace(memory=()))
        return own._replace(memory=cache.memory)

    return tf.cond(tf.reduce_all(rows == tf.range(tf.size(rows))), lambda: cache, gathered)
