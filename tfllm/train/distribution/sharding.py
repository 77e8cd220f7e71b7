"""How weights are split over the devices of a (data, model) mesh.

Input: a variable's path and value. Output: a variable whose parts are on the devices of the mesh's model axis.
Source: Megatron (Shoeybi et al. 2019, arXiv:1909.08053). The first matrix of a pair is split by columns, the second by rows,
    so that
a block sums over devices twice; the vocabulary is split by rows. Every other variable is whole on every device.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from tfllm.layers.mesh import gathered

DATA, MODEL = "data", "model"


class Rule(NamedTuple):
    """Variables whose path matches the pattern are split along the first of `axes` whose length the mesh divides."""

    pattern: str
    axes: tuple[int, ...]
    size: str
    """The fields of `ModelConfig` that determine the axis' length, for messages."""


RULES = (
    Rule(r"/attention/qkv/(kernel|bias)$", (-1,), "(num_heads + 2 num_kv_heads) head_dim"),
    Rule(r"/attention/output/kernel$", (0,), "num_heads head_dim"),
    Rule(r"/feedforward/up/(kernel|bias)$", (-1,), "ffn_size"),
    Rule(r"/feedforward/down/kernel$", (0,), "ffn_size"),
    Rule(r"/token_embedding/embeddings$", (0, 1), "vocab_size and hidden_size"),
    Rule(r"_lm/head/kernel$", (0, 1), "vocab_size and hidden_size"),
)


def split_axis(path: str, shape: Sequence[int], devices: int) -> int | None:
    """The axis along which a variable is split over the mesh's model axis; None if it is whole on every device.

    >>> split_axis("causal_lm/decoder/block_0/feedforward/up/kernel", [64, 256], 2)
    1

    Raises:
        ValueError: it should be split, and its length is not a multiple of `devices`.
    """
    for rule in RULES:
        if devices > 1 and re.search(rule.pattern, path):
            for axis in rule.axes:
                if shape[axis] % devices == 0:
                    return axis % len(shape)
            raise ValueError(
                f"{path} is {list(shape)}: {rule.size} cannot be split over the {devices} devices of the mesh's model axis. "
                "Give a mesh whose model axis divides it"
            )
    return None


class MeshVariable(dtensor.DVariable):
    """A variable in parts, one per device of the model axis, with the same parts along the data axis.

    `numpy` returns the whole in its usual order, and a plain value is assigned in that order.

    Matrices that are fused into one kernel are split separately, so that each device's columns are a smaller kernel of this
    kind: q q k k v v on two devices, fused (2, 2, 2): q k v | q k v.
    """

    axis: int | None
    fused: tuple[int, ...] = ()

    def __init__(self, value: tf.Tensor, *, mesh: dtensor.Mesh, axis: int | None, **kwargs: Any):
        self.axis, self.mesh = axis, mesh
        super().__init__(self._placed(value), **kwargs)

    @property
    def devices(self) -> int:
        """Number of parts."""
        return self.mesh.dim_size(MODEL)

    @property
    def groups(self) -> int:
        """Number of devices that have a part of each fused matrix."""
        return self.devices if self.fused else 1

    def fuse(self, widths: Sequence[int]) -> None:
        """Declares that the last axis holds several matrices side by side, and splits each of them separately."""
        whole = self.numpy()
        self.fused = tuple(widths)
        self.assign(whole)

    def assign(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if tf.executing_eagerly() and not (isinstance(value, tf.Tensor) and dtensor.is_dtensor(value)):
            value = self._placed(value)
        return super().assign(value, *args, **kwargs)

    def numpy(self) -> np.ndarray:
        """The whole value, in its usual order."""
        parts = [part.numpy() for part in dtensor.unpack(self.read_value())[: self.devices]]
        if self.axis is None:
            return parts[0]
        if not self.fused:
            return np.concatenate(parts, self.axis)
        ends = np.cumsum([width // self.devices for width in self.fused])[:-1]
        each = [np.split(part, ends, axis=-1) for part in parts]
        return np.concatenate([piece for pieces in zip(*each, strict=True) for piece in pieces], -1)

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """Rows of the table. int32 [...] -> [..., D]."""
        if self.axis == 0:
            return _rows(self, indices)
        found = super().sparse_read(indices, name)
        if self.axis is None:
            return found
        flat = gathered(tf.reshape(found, [-1, self.shape[1]]))
        return tf.reshape(flat, tf.concat([tf.shape(indices), self.shape[1:]], 0))

    def local_bytes(self) -> int:
        """Bytes of the part on one device."""
        return int(np.prod(dtensor.unpack(self.read_value())[0].shape)) * self.dtype.size

    def _placed(self, value: Any) -> tf.Tensor:
        """The value as a tensor in parts on the devices."""
        value = tf.convert_to_tensor(value, getattr(self, "_dtype", None))
        layout = layout_of(self.mesh, len(value.shape), self.axis)
        return dtensor.pack(self._parts(value) * self.mesh.dim_size(DATA), layout)

    def _parts(self, value: tf.Tensor) -> list[tf.Tensor]:
        if self.axis is None:
            return [value] * self.devices
        if not self.fused:
            return tf.split(value, self.devices, axis=self.axis)
        maps = [tf.split(one, self.devices, axis=-1) for one in tf.split(value, self.fused, axis=-1)]
        return [tf.concat(pieces, -1) for pieces in zip(*maps, strict=True)]


def layout_of(mesh: dtensor.Mesh, rank: int, axis: int | None) -> dtensor.Layout:
    """The layout of a tensor that is split along `axis` over the mesh's model axis; None for whole."""
    return dtensor.Layout([MODEL if i == axis else dtensor.UNSHARDED for i in range(rank)], mesh)


def _rows(table: MeshVariable, ids: tf.Tensor) -> tf.Tensor:
    """Looks up rows of a table that is split by rows: each device looks up its own, and the results are added."""
    devices, (rows, size), rank = table.devices, table.shape, len(ids.shape)
    rows //= devices
    parts = tf.reshape(table.read_value(), [devices, rows, size])
    first = tf.reshape(tf.range(devices) * rows, [devices] + [1] * rank)
    places = tf.expand_dims(ids, 0) - first
    here = (places >= 0) & (places < rows)
    found = tf.gather(parts, tf.where(here, places, 0), batch_dims=1)
    return tf.reduce_sum(tf.where(tf.expand_dims(here, -1), found, 0.0), 0)
