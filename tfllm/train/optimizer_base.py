"""The base class of `tfllm.train.optimizers`: the order of a step, decoupled weight decay, averaged weights (EMA).

Input: gradients of a model's trainable variables: each replica's part of the sum, or the sum. Output: updated variables.

Order of a step: gradients made dense and summed over the replicas; clipped by their global norm (Keras clips
each replica's share before the sum, which is another result than on one device); weights of rank 2 and more
multiplied by `1 - learning_rate * weight_decay` (Loshchilov & Hutter 2019, arXiv:1711.05101); the update; the
averages.
"""

import collections
import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.fused import fused

Scalars = dict[str, tf.Tensor]
DECAY_FACTOR, CLIP_FACTOR = "decay_factor", "clip_factor"
"""Names of scalars of an update: factor of the variable after decay, factor of the gradient after clipping."""


class DecoupledOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that takes the step above. A subclass makes its slots in `build` and writes `update`.

    Args:
        learning_rate: a number >= 0, a schedule of the step, or a callable without arguments.
        weight_decay: times the learning rate, the share of a weight lost in a step. Variables of rank 0 and 1
            (biases, scales of norms) lose none; with `decay_embeddings=False` nor do those with "embedding"
            in their path.
        clip_norm: greatest global norm of the gradients; None leaves them as they are.
        layer_decay: factor of the learning rate from each block to the one below it, and to the embeddings below all
            (Clark et al. 2020, arXiv:2003.10555): fine-tuning takes 0.8 to 0.95. 1: all learn alike.
        ema: momentum of the weights' moving average, say 0.999; None keeps none. See `averaged_weights`.
        name: first part of every variable's path. Checkpoints go by it, so Keras' counting up is left out.
    Raises:
        ValueError: an argument out of range; in `build`, variables that would share a name in a checkpoint.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        weight_decay: float,
        clip_norm: float | None,
        layer_decay: float,
        ema: float | None,
        decay_embeddings: bool,
        name: str,
    ) -> None:
        if isinstance(learning_rate, int | float):
            check_argument(0 <= learning_rate < math.inf, "learning_rate", learning_rate, "a finite number >= 0")
            learning_rate = float(learning_rate)
        check_argument(0 <= weight_decay < math.inf, "weight_decay", weight_decay, "a finite number >= 0 (0 for none)")
        check_argument(
            clip_norm is None or clip_norm > 0,
            "clip_norm",
            clip_norm,
            "a number > 0, or None for no clipping",
        )
        check_argument(0 < layer_decay <= 1, "layer_decay", layer_decay, "0 < layer_decay <= 1")
        check_argument(ema is None or 0 <= ema < 1, "ema", ema, "0 <= ema < 1, or None for no average")
        use_ema = ema is not None
        super().__init__(learning_rate, weight_decay, use_ema=use_ema, ema_momentum=ema or 0.0, name=name)
        self.clip_norm, self.layer_decay, self.ema, self.decay_embeddings = clip_norm, layer_decay, ema, decay_embeddings
        self._norm: tf.Tensor | None = None
        self.compiled = False
        """May `update` have a variable's step compiled by XLA? While a training step says so (`apply_sum`)."""

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self._decays = [self._use_weight_decay(variable) for variable in variables]
        self._rates = layer_decay_factors([path_of(variable) for variable in variables], self.layer_decay)
        counts = collections.Counter(path_of(variable).replace("/", "_") for variable in variables)
        shared = [path for path, count in counts.items() if count > 1]
        if shared:
            raise ValueError(f"several variables are called {shared}: give their layers different names")

    def _use_weight_decay(self, variable: Any) -> bool:
        if len(variable.shape) < 2 or (not self.decay_embeddings and "embedding" in path_of(variable)):
            return False
        return super()._use_weight_decay(variable)

    def scalars(self) -> Scalars:
        """Scalars that all variables need in this step, float32 [], computed once."""
        return {"learning_rate": tf.cast(self.learning_rate, tf.float32)}

    def update(self, variable: Any, gradient: tf.Tensor, index: int, scalars: Scalars) -> None:
        """Updates one variable and its slots (number `index`) on their device.

        Args:
            scalars: those above in the variable's dtype, and what `decay` and `clip` are to do.
        """
        raise NotImplementedError

    def apply_sum(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[Any], norm: tf.Tensor, *, compiled: bool = False
    ) -> None:
        """`apply` for gradients summed over the replicas already, whose global norm (float32 []) is known.

        Args:
            compiled: XLA may compile the step of a variable, on one device.
        """
        self._norm, self.compiled = norm, compiled
        try:
            self.apply(gradients, variables)
        finally:
            self._norm, self.compiled = None, False

    def _backend_apply_gradients(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        total, norm = list(gradients), self._norm
        if norm is None:
            dense = [_dense(gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)]
            total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, dense)
        scalars = self.scalars()
        if self.clip_norm is not None:
            norm = tf.linalg.global_norm(total) if norm is None else norm
            scale = self.clip_norm / tf.maximum(norm, self.clip_norm)
            scalars[CLIP_FACTOR] = tf.where(tf.math.is_finite(norm), scale, math.nan)
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_all,
            self._distribution_strategy,
            total,
            [variable.value for variable in variables],
            scalars,
            # The first average is the first step's weights: there is nothing before them.
            tf.where(tf.equal(self.iterations, 0), 0.0, self.ema_momentum),
        )

    def _update_all(self, strategy: Any, gradients: Any, variables: Any, scalars: Any, momentum: Any) -> None:
        for gradient, variable in zip(gradients, variables, strict=True):
            strategy.extended.update(variable, self._update_one, args=(gradient, scalars), group=False)
        for variable, average in _averaged(self):
            strategy.extended.update(average.value, self._follow, args=(variable.value, momentum), group=False)

    def _update_one(self, variable: Any, gradient: tf.Tensor, scalars: Scalars) -> None:
        index = self._get_variable_index(variable)
        scalars = {name: tf.cast(value, variable.dtype) for name, value in scalars.items()}
        if self._rates[index] != 1:
            scalars["learning_rate"] *= self._rates[index]
        if self.weight_decay and self._decays[index]:
            scalars[DECAY_FACTOR] = 1.0 - self.weight_decay * scalars["learning_rate"]
        # Not before there is a gradient: a step that finds no batch left, or is refused, must leave the weights alone.
        with tf.control_dependencies([gradient]):
            self.update(variable, tf.cast(gradient, variable.dtype), index, scalars)

    def _follow(self, average: Any, variable: Any, momentum: tf.Tensor) -> None:
        _moved_towards(average, variable, momentum, compiled=self.compiled)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Does nothing. Keras would make the averages the weights when `fit` ends; the next `fit` would start there."""

    def get_config(self) -> dict[str, Any]:
        base = super().get_config()
        names = ("weight_decay", "clip_norm", "layer_decay", "ema", "decay_embeddings", "name")
        return {"learning_rate": base["learning_rate"]} | {name: getattr(self, name) for name in names}


@contextlib.contextmanager
def averaged_weights(optimizer: Any) -> Iterator[None]:
    """A context in which the model's trainable weights are their averages. Afterwards they are what they were, bit for bit.

        with averaged_weights(model.optimizer):
            model.evaluate(validation)

    Averages and weights are swapped, so do not save a checkpoint inside. Before the first step nothing changes.
    (`keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which loses last bits, and does not
    swap back after `predict`.)

    Raises:
        ValueError: the optimizer keeps no averages.
    """
    if not optimizer.use_ema:
        raise ValueError(f"the optimizer {optimizer.name!r} keeps no averages: make it with ema=0.999")
    pairs = _averaged(optimizer) if optimizer.iterations.numpy() else []
    _swap(pairs)
    try:
        yield
    finally:
        _swap(pairs)


def layer_decay_factors(paths: Sequence[str], decay: float) -> list[float]:
    """Factors of the learning rate by depth.

    "encoder/token_embedding/embeddings" "encoder/block_0/…" "encoder/block_1/…" "head/kernel", 0.5 -> 0.125 0.25 0.5 1.0
    """
    blocks = [re.search(r"/block_(\d+)/", path) for path in paths]
    count = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    depths = [
        int(found[1]) if found else -1 if "_embedding/" in path or "embedding_norm/" in path else count
        for found, path in zip(blocks, paths, strict=True)
    ]
    return [decay ** (count - depth) for depth in depths]


def decay(variable: Any, scalars: Scalars) -> None:
    """Applies weight decay to the variable, if it has any."""
    if DECAY_FACTOR in scalars:
        variable.assign(variable * scalars[DECAY_FACTOR])


def clip(gradient: tf.Tensor, scalars: Scalars) -> tf.Tensor:
    """The gradient, clipped by the global norm if `clip_norm` is set."""
    return gradient * scalars[CLIP_FACTOR] if CLIP_FACTOR in scalars else gradient


def check_argument(is_valid: bool, name: str, value: Any, expected: str) -> None:
    """Raises ValueError, unless the argument is valid."""
    if not is_valid:
        raise ValueError(f"{name}={value!r} is invalid: expected {expected}.")


def path_of(variable: Any) -> str:
    """Keras path of a variable; the name of a bare tf.Variable."""
    return getattr(variable, "path", variable.name)


def _averaged(optimizer: Any) -> list[tuple[Any, Any]]:
    """Pairs of trainable variable and average."""
    if not optimizer.use_ema:
        return []
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))


def _swap(pairs: list[tuple[Any, Any]]) -> None:
    for left, right in pairs:
        held = left.numpy()
        left.assign(right)
        right.assign(held)


@fused
def _moved_towards(average: Any, variable: Any, momentum: tf.Tensor, *, compiled: bool) -> None:
    average.assign_add((1.0 - tf.cast(momentum, average.dtype)) * (variable - average))


def _dense(gradient: Any, variable: Any) -> tf.Tensor:
    """Rows that came twice are added up here: the norm of a sum is not that of its parts."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    return tf.convert_to_tensor(gradient)
