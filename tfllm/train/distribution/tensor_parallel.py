"""Tensor parallelism with DTensor: a strategy for models that are too large for one device.

Input: the shape of a (data, model) mesh. Output: a `tf.distribute.Strategy`. Rows are split over the mesh's data axis,
    weights and
optimizer slots over its model axis (`sharding.RULES`). DTensor turns the program for one device into one for all devices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from keras.src.backend.common.name_scope import current_path  # where a variable that is being made stands
from tensorflow.experimental import dtensor

from tfllm.layers.attention import MultiHeadAttention
from tfllm.layers.feedforward import FeedForward
from tfllm.train.distribution.sharding import DATA, MODEL, MeshVariable, layout_of, split_axis


class TensorParallel(tf.distribute.Strategy):
    """Runs one program on a mesh of devices. Inputs are whole batches; results are whole, too.

    Args:
        mesh: sizes of its data and model axes.
        devices: names of that many devices, the model axis running fastest.
    """

    def __init__(self, mesh: tuple[int, int], *, devices: Sequence[str]):
        # Combined sums are computed later, and so are the writes that need them: a read after such a write returned the old
        # value.
        os.environ["DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION"] = "0"
        self.mesh = dtensor.create_mesh([(DATA, mesh[0]), (MODEL, mesh[1])], devices=list(devices))
        super().__init__(_Extended(self, self.mesh))

    def function(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` as a graph on the mesh. Ordinary tensors are copied to every device; results stay on the mesh."""

        @tf.function(autograph=False)
        def inside(*args: Any) -> Any:
            with self.scope():
                return call(*args)

        return lambda *args: inside(*tf.nest.map_structure(self._everywhere, args))

    def from_outside(self, call: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        """`call` for ordinary tensors, with an ordinary tensor as its result."""
        on_mesh = self.function(lambda *args: self.whole(call(*args)))
        return lambda *args: self.here(on_mesh(*args))

    def whole(self, value: tf.Tensor) -> tf.Tensor:
        """The same tensor, whole on every device."""
        return dtensor.relayout(value, layout_of(self.mesh, len(value.shape), None))

    def here(self, value: tf.Tensor) -> tf.Tensor:
        """An ordinary tensor from one that is whole on every device."""
        return dtensor.unpack(value)[0]

    def _everywhere(self, value: Any) -> Any:
        if not isinstance(value, tf.Tensor) or dtensor.is_dtensor(value):
            return value
        return dtensor.copy_to_mesh(value, layout_of(self.mesh, len(value.shape), None))


class _Extended(tf.distribute.StrategyExtended):
    """The methods that `tf.distribute` calls, for a strategy with one replica on a mesh."""

    def __init__(self, strategy: TensorParallel, mesh: dtensor.Mesh):
        super().__init__(strategy)
        self.mesh = self._mesh = mesh

    def _create_variable(self, next_creator: Any, **kwargs: Any) -> MeshVariable:
        initial, like = kwargs.pop("initial_value"), kwargs.pop("colocate_with", None)
        for name in ("use_resource", "expected_shape", "distribute_strategy", "experimental_enable_variable_lifting"):
            kwargs.pop(name, None)
        value = tf.convert_to_tensor(initial() if callable(initial) else initial, kwargs.get("dtype"))
        if isinstance(like, MeshVariable) and like.shape == value.shape:
            variable = MeshVariable(value, mesh=self._mesh, axis=like.axis, **kwargs)
            if like.fused:
                variable.fuse(like.fused)
            return variable
        axis = split_axis(f"{current_path()}/{kwargs.get('name')}", value.shape, self._mesh.dim_size(MODEL))
        return MeshVariable(value, mesh=self._mesh, axis=axis, **kwargs)

    def call_for_each_replica(self, fn: Callable[..., Any], args: Any = (), kwargs: Any = None) -> Any:
        with tf.distribute.ReplicaContext(self._container_strategy(), replica_id_in_sync_group=0):
            whole = self._container_strategy().whole
            return tf.nest.map_structure(lambda each: whole(each) if tf.is_tensor(each) else each, fn(*args, **(kwargs or {})))

    def _update(self, var: Any, fn: Callable[..., Any], args: Any, kwargs: Any, group: bool) -> Any:
        def like_variable(value: Any) -> Any:
            # DTensor crashes in a fused update whose gradient is split differently from its variable.
            alike = isinstance(value, tf.Tensor) and value.shape == var.shape
            return dtensor.relayout(value, var.layout) if alike else value

        return fn(var, *tf.nest.map_structure(like_variable, args), **kwargs)

    def _validate_colocate_with_variable(self, colocate_with_variable: Any) -> None:
        pass

    def _experimental_distribute_dataset(self, dataset: Any, options: Any) -> MeshBatches:
        return MeshBatches(dataset, self._mesh)

    def _reduce_to(self, reduce_op: Any, value: Any, destinations: Any, options: Any) -> Any:
        return value

    def _local_results(self, value: Any) -> tuple[Any]:
        return (value,)

    def value_container(self, value: Any) -> Any:
        return value

    @property
    def _num_replicas_in_sync(self) -> int:
        return 1

    @property
    def worker_devices(self) -> tuple[str, ...]:
        return tuple(self._mesh.local_devices())

    parameter_devices = worker_devices

    def _use_merge_call(self) -> bool:
        return True

    def _in_multi_worker_mode(self) -> bool:
        return False

    def _get_local_replica_id(self, replica_id_in_sync_group: Any) -> Any:
        return replica_id_in_sync_group


class MeshBatches:
    """A dataset whose batches are on the mesh. Strings, which a mesh does not support, are left out."""

    def __init__(self, dataset: tf.data.Dataset, mesh: dtensor.Mesh):
        self._dataset, self._mesh = dataset, mesh
        self.element_spec = dataset.element_spec

    def __iter__(self) -> Iterator[Any]:
        for batch in self._dataset:
            yield spread(batch, self._mesh)


def spread(batch: Any, mesh: dtensor.Mesh) -> Any:
    """Splits the rows over the data axis; copies all rows to every device if they do not divide evenly."""
    data, model = mesh.dim_size(DATA), mesh.dim_size(MODEL)

    def put(value: tf.Tensor) -> tf.Tensor:
        if not value.shape.rank or value.shape[0] % data:
            return dtensor.copy_to_mesh(value, dtensor.Layout.replicated(mesh, len(value.shape)))
        parts = [part for part in tf.split(value, data) for _ in range(model)]
        return dtensor.pack(parts, dtensor.Layout.batch_sharded(mesh, DATA, len(value.shape)))

    if isinstance(batch, dict):
        batch = {name: value for name, value in batch.items() if value.dtype != tf.string}
    return tf.nest.map_structure(put, batch)


def arrange(model: Any) -> None:
    """Arranges the fused kernels of a model on a mesh: each device has whole heads, and gate and value of the same units.

    Raises:
        ValueError: there are fewer heads than devices.
    """
    strategy = model.distribute_strategy
    if not isinstance(strategy, TensorParallel):
        return
    devices = strategy.mesh.dim_size(MODEL)
    for layer in model._flatten_layers():
        if isinstance(layer, MultiHeadAttention):
            if layer.heads[0] % devices:
                raise ValueError(
                    f"num_heads={layer.heads[0]} cannot be shared by the {devices} devices of the mesh's model axis: "
                    "give a mesh whose model axis divides it"
                )
            if layer.heads[1] % devices == 0:
                _fuse(layer.qkv, devices)
            else:  # fewer key heads than devices: kernels are split, but every device computes all heads
                layer.output_projection.gathers = True
        elif isinstance(layer, FeedForward) and layer.gated:
            _fuse(layer.up, devices)


def _fuse(linear: Any, devices: int) -> None:
    linear.groups = devices
    for variable in linear.variables:
        variable._value.fuse(linear.parts)
