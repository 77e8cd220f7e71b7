"""Sums and rows over the replicas that do a step together.

Input: tensors of one replica, inside `strategy.run`. Output: tensors that are the same on all replicas.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class GatheredRows(NamedTuple):
    """The rows of all replicas."""

    values: tf.Tensor
    """[R, ...]; gradients flow to the replica that a row comes from."""
    first: tf.Tensor
    """int32 []: index of this replica's first row."""
    count: tf.Tensor
    """int32 []: number of this replica's rows."""

    def are_local(self, indices: tf.Tensor) -> tf.Tensor:
        """Whether the rows at these indices are this replica's. int32 [...] -> bool [...]"""
        return (indices >= self.first) & (indices < self.first + self.count)


def local_value(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """This worker's copy of a result that is the same on all replicas."""
    return tf.nest.map_structure(lambda each: strategy.experimental_local_results(each)[0], value)


def sum_over_replicas(values: Any) -> Any:
    """Sums each tensor over all replicas; called inside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return tf.nest.pack_sequence_as(values, context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(values)))


def gather_rows(rows: tf.Tensor) -> GatheredRows:
    """Gathers the rows of all replicas, in the order of the replicas. Their numbers may differ, and be 0.

    Replica 0 has a, b; replica 1 has c -> both: a b c; first 0 and 2.
    """
    context, count = tf.distribute.get_replica_context(), tf.shape(rows)[0]
    if context is None or context.num_replicas_in_sync == 1:
        return GatheredRows(rows, tf.constant(0), count)
    replicas = context.num_replicas_in_sync
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    counts = sum_over_replicas(tf.where(tf.range(replicas) == replica, count, 0))
    first, total = tf.reduce_sum(counts[:replica]), tf.reduce_sum(counts)
    around = tf.concat([[[first, total - first - count]], tf.zeros([tf.rank(rows) - 1, 2], tf.int32)], 0)
    return GatheredRows(sum_over_replicas(tf.pad(rows, around)), first, count)
