"""Two foundations every layer stands on: a composite that builds itself, and the linear map.

Weights get their sizes in `__init__` and come into being in `build()`, outermost first, so that a variable's path names
its place (`causal_lm/decoder/block_0/attention/qkv/kernel`) before any tensor was seen.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.mesh import gathered, whole


class Configurable(keras.layers.Layer):
    """A layer whose config is the arguments of its constructor, as Keras keeps them; `dtype` may be a policy."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        policy = kwargs.get("dtype")
        if isinstance(policy, keras.DTypePolicy):  # Keras keeps strings and numbers only
            kwargs["dtype"] = policy.name
        return super().__new__(cls, *args, **kwargs)


class Composite(Configurable):
    """A layer made of layers: building it builds them, in the order they were created, for inputs of its own shape."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        for layer in self._layers:
            if not layer.built:  # as layers that another model has, too
                layer.build(input_shape)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """For `model.summary(expand_nested=True)`."""
        return list(self._layers)

    def __dir__(self) -> list[str]:
        # Keras saves what it finds here, and the layers stand under their own names already.
        return [name for name in super().__dir__() if name != "layers"]


class Linear(keras.layers.Layer):
    """x @ kernel (+ bias) on the last axis, as one two-dimensional product: the shape oneDNN and cuBLAS want.

    This class is the interface, and the implementation that is trained: a kernel [I, O]. Other implementations inherit it and
    write `product` and `matrix` (`transposed.py`, `quantized.py`); `models.replace_layers` puts them into a model.

    Args:
        input_size, output_sizes: I, and O as the widths of the maps that are fused into one.
        use_bias: add a bias [O], zero at first.
        stddev: of the kernel's initial values, drawn from a normal distribution.
    """

    def __init__(self, input_size: int, *output_sizes: int, use_bias: bool, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.sizes, self.parts = (input_size, sum(output_sizes)), output_sizes
        self.use_bias, self.stddev = use_bias, stddev
        self.output_shape: tuple[int | None, ...] = (None, None, sum(output_sizes))
        """For `model.summary()`, as every layer's."""
        # On a mesh: devices that have a part each of every fused map; is the input to be gathered first?
        self.groups, self.gathers = 1, False

    def build(self, input_shape: Any = None) -> None:
        self.kernel = self.add_weight(name="kernel", shape=self.sizes, initializer=normal(self.stddev))
        # For optimizers that treat a matrix as a matrix (`train.muon`): fused maps are several.
        self.kernel.logical_widths = self.parts
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=self.sizes[1:], initializer="zeros")

    def call(self, x: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """[..., I] -> [..., O]."""
        flat = self.product(tf.reshape(x, [-1, self.sizes[0]]), options)
        return tf.reshape(flat, [*sizes_of(x)[:-1], self.sizes[1]])

    def product(self, x: tf.Tensor, options: CallOptions) -> tf.Tensor:
        """x @ matrix + bias. [M, I] -> [M, O]."""
        x, kernel = gathered(x) if self.gathers else x, self._value(self.kernel)
        return affine(x, kernel, self._value(self.bias), options=options) if self.use_bias else tf.matmul(x, kernel)

    @property
    def matrix(self) -> tf.Tensor:
        """What the layer multiplies by, for copies of it in another form: float32 [I, O]."""
        return tf.convert_to_tensor(self.kernel)

    def settings(self) -> dict[str, Any]:
        """The constructor's keywords that make a layer like this one."""
        return dict(use_bias=self.use_bias, stddev=self.stddev, name=self.name, dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        own = dict(input_size=self.sizes[0], output_sizes=self.parts, use_bias=self.use_bias, stddev=self.stddev)
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Linear:
        config = dict(config)
        return cls(config.pop("input_size"), *config.pop("output_sizes"), **config)

    def _value(self, variable: Any) -> tf.Tensor:
        value = tf.convert_to_tensor(variable)
        # Parts that do not begin where a device's columns do can only be told apart in the whole.
        return whole(value) if len(self.parts) > 1 and self.groups == 1 else value


def constant(value: tf.Tensor | tf.Variable, name: str, layer: keras.layers.Layer, *, autocast: bool = False) -> keras.Variable:
    """A variable with this value that is not trained, `name` of `layer`: what implementations for inference hold."""
    value = tf.convert_to_tensor(value)  # Keras would share a tf.Variable
    variable = keras.Variable(value, dtype=value.dtype.name, trainable=False, autocast=autocast, name=name)
    variable._path = f"{layer.path or layer.name}/{name}"
    return variable


def sizes_of(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The sizes of x as `tf.reshape` takes them: -1 for one that the graph does not know; read from x itself only for more.

    What reads a shape can run as soon as the product of x can, and for the second of two TensorFlow wakes another thread.
    """
    static = list(x.shape)
    if static.count(None) <= 1:
        return [-1 if size is None else size for size in static]
    return [size if known is None else known for known, size in zip(static, tf.unstack(tf.shape(x)), strict=True)]


@custom_gradient
def affine(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
    """x @ kernel + bias. [M, I], [I, O], [O] -> [M, O]."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        by_kernel = tf.matmul(x, upstream, transpose_a=True)
        return tf.matmul(upstream, kernel, transpose_b=True), by_kernel, sum_rows(upstream)

    return tf.nn.bias_add(tf.matmul(x, kernel), bias), gradient


def normal(stddev: float) -> keras.initializers.Initializer:
    """Draws a matrix's initial values about 0. A `stddev` of 0 makes zeros, without drawing anything."""
    return keras.initializers.RandomNormal(stddev=stddev) if stddev else keras.initializers.Zeros()


def sum_rows(x: tf.Tensor) -> tf.Tensor:
    """[M, O] -> [O], as a product with ones, which oneDNN sums in float32: a bfloat16 reduction of 4096 rows is 20% off."""
    return tf.matmul(tf.ones([1, tf.shape(x)[0]], x.dtype), x)[0]
