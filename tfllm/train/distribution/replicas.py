"""What replicas that take a step together tell each other, and what one of them knows."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class GatheredRows(NamedTuple):
    """The rows of all replicas."""

    values: tf.Tensor
    """[R, ...], with a gradient to the replica that each row is of."""
    first: tf.Tensor
    """int32 []: where this replica's begin."""
    count: tf.Tensor
    """int32 []: how many are this replica's."""

    def are_local(self, places: tf.Tensor) -> tf.Tensor:
        """Are the rows at these places this replica's? bool, as the places."""
        return (places >= self.first) & (places < self.first + self.count)


def local_value(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """Of a result that is the same on all replicas, this worker's."""
    return tf.nest.map_structure(lambda each: strategy.experimental_local_results(each)[0], value)


def sum_over_replicas(values: Any) -> Any:
    """Each tensor sum_over_replicas over all replicas, from inside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return tf.nest.pack_sequence_as(values, context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(values)))


def gather_rows(rows: tf.Tensor) -> GatheredRows:
    """The rows of all replicas, in the replicas' order; a replica may have more of them than another, or none.

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
