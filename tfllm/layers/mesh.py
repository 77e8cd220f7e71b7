"""What layers do otherwise on a mesh of devices, for what DTensor makes of the usual way.

The mesh is `tfllm.train.distribution.tensor_parallel`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.experimental import dtensor


def on_mesh() -> bool:
    """Is this program made for a mesh?"""
    return hasattr(tf.distribute.get_strategy().extended, "mesh")


def whole(x: tf.Tensor) -> tf.Tensor:
    """The same, all of it on every device."""
    if not on_mesh():
        return x
    mesh = tf.distribute.get_strategy().extended.mesh
    return dtensor.relayout(x, dtensor.Layout.replicated(mesh, len(x.shape)))


def gathered(x: tf.Tensor) -> tf.Tensor:
    """The same, every row whole where it stands. [M, D] -> [M, D]."""
    if not on_mesh():
        return x
    mesh = tf.distribute.get_strategy().extended.mesh
    return dtensor.relayout(x, dtensor.Layout([dtensor.MATCH, dtensor.UNSHARDED], mesh))


def split(x: tf.Tensor, widths: Sequence[int], *, axis: int, groups: int) -> list[tf.Tensor]:
    """The outputs of fused projections, one by one, where each of `groups` devices has a part of every projection.

    axis of q q k k v v, 1 group -> q q | k k | v v; of q k v q k v, 2 groups -> the same
    """
    if len(widths) == 1:
        return [x]
    if groups == 1:
        return tf.split(x, widths, axis=axis)
    shape = tf.unstack(tf.shape(x))
    axis %= len(shape)
    grouped = tf.reshape(x, [*shape[:axis], groups, sum(widths) // groups, *shape[axis + 1 :]])
    parts = tf.split(grouped, [width // groups for width in widths], axis=axis + 1)
    return [tf.reshape(part, [*shape[:axis], width, *shape[axis + 1 :]]) for part, width in zip(parts, widths, strict=True)]


def concat(parts: Sequence[tf.Tensor], *, axis: int, groups: int) -> tf.Tensor:
    """The fused output of which `split` gives the parts."""
    if len(parts) == 1:
        return parts[0]
    if groups == 1:
        return tf.concat(parts, axis)
    shape = [*parts[0].shape]
    grouped = [tf.reshape(part, [*shape[:axis], groups, part.shape[axis] // groups, *shape[axis + 1 :]]) for part in parts]
    return tf.reshape(tf.concat(grouped, axis + 1), [*shape[:axis], -1, *shape[axis + 1 :]])


def as_bytes(words: tf.Tensor) -> tf.Tensor:
    """The four bytes of each word, the lowest first. uint32 [B, n] -> uint8 [B, n, 4]."""
    if not on_mesh():
        return tf.bitcast(words, tf.uint8)
    # DTensor takes a bitcast for element-wise, and loses which axis was split.
    return tf.stack(
        [tf.cast(tf.bitwise.right_shift(words, tf.constant(8 * i, tf.uint32)) & 255, tf.uint8) for i in range(4)], -1
    )
