"""AdamW, Muon and Lion.

Input: gradients of a model's trainable variables. Output: updated variables. They are Keras optimizers, for
`compile`, `apply` and `get_config`; all their state is in `variables`. `tfllm.train.optimizer_base` says in which
order a step goes.

Sources: Kingma & Ba 2015 (arXiv:1412.6980); Loshchilov & Hutter 2019 (arXiv:1711.05101); Chen et al. 2023
(arXiv:2302.06675); Muon: Jordan 2024 (kellerjordan.github.io/posts/muon), its scale: Liu et al. 2025
(arXiv:2502.16982).
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.layers.devices import fastest_dtype
from tfllm.layers.fused import fused
from tfllm.layers.mesh import concat, split, whole
from tfllm.train.optimizer_base import DecoupledOptimizer, Scalars, averaged_weights, check_argument, clip, decay, path_of

__all__ = ["AdamW", "Lion", "Muon", "adamw", "averaged_weights", "lion", "muon", "orthogonalize"]


@keras.saving.register_keras_serializable(package="tfllm")
class AdamW(DecoupledOptimizer):
    """Adam with decoupled decay, one fused kernel a variable.

    `epsilon` is the paper's and PyTorch's: added to sqrt(v / (1 - beta_2^t)). Keras adds its epsilon to
    sqrt(v) ("epsilon hat"), as if it were larger in the first steps. The arguments not named here:
    `DecoupledOptimizer`.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        weight_decay: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        clip_norm: float | None = 1.0,
        layer_decay: float = 1.0,
        ema: float | None = None,
        decay_embeddings: bool = True,
        name: str = "adamw",
    ) -> None:
        check_argument(0 <= beta_1 < 1, "beta_1", beta_1, "0 <= beta_1 < 1")
        check_argument(0 <= beta_2 < 1, "beta_2", beta_2, "0 <= beta_2 < 1")
        check_argument(epsilon > 0, "epsilon", epsilon, "a number > 0")
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            layer_decay=layer_decay,
            ema=ema,
            decay_embeddings=decay_embeddings,
            name=name,
        )
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._velocities: list[Any] = [
            self.add_variable_from_reference(variable, "velocity") if self._takes_adam(variable) else None
            for variable in variables
        ]

    def _takes_adam(self, variable: Any) -> bool:
        return True

    def scalars(self) -> Scalars:
        step = tf.cast(self.iterations + 1, tf.float32)
        power_2 = tf.pow(self.beta_2, step)
        # The kernel adds its epsilon to sqrt(v): the paper's, clip to stand there.
        epsilon = self.epsilon * tf.sqrt(1.0 - power_2)
        return super().scalars() | {
            "power_1": tf.pow(self.beta_1, step),
            "power_2": power_2,
            "epsilon": epsilon,
        }

    def update(self, variable: Any, gradient: tf.Tensor, index: int, scalars: Scalars) -> None:
        slots = self._momentums[index].value, self._velocities[index].value
        _adam(variable, *slots, gradient, scalars, beta_1=self.beta_1, beta_2=self.beta_2, compiled=self.compiled)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="tfllm")
class Muon(AdamW):
    """Orthogonalised momentum for the hidden matrices, AdamW for embeddings, head and other ranks.

    The update of a matrix [n, m] is clip by 0.2 * sqrt(max(n, m)): it is then as large as AdamW's, whose
    learning rate and decay can be kept. A layer that fuses several matrices side by side in one kernel sets an attribute
    of the variable, `kernel.logical_widths = (N * H, K * H, K * H)` for q/k/v, `(F, F)`
    for gate and up: each is orthogonalised by itself (Jordan 2024 found it better than the whole). Per
    matrix, not batched: stacking equal shapes took 1.0 to 1.6 times as long on a CPU.

    Args (the others: `AdamW`):
        momentum: of the matrices' gradients; Nesterov's.
        newton_schulz_steps: iterations of `orthogonalize`.
        newton_schulz_dtype: "float32", "bfloat16" (precise enough, and 1.4 to 1.7 times as fast on a CPU
            that has it), or "auto": the second where the devices have it.
        adam_paths: regular expressions; a matrix whose path has a match takes AdamW.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        newton_schulz_steps: int = 5,
        newton_schulz_dtype: str = "float32",
        adam_paths: Sequence[str] = ("embedding", "(^|/)(lm_|pair_)?head/"),
        name: str = "muon",
        **adamw: Any,
    ) -> None:
        check_argument(0 <= momentum < 1, "momentum", momentum, "0 <= momentum < 1")
        check_argument(newton_schulz_steps >= 1, "newton_schulz_steps", newton_schulz_steps, "an integer >= 1")
        if newton_schulz_dtype == "auto":
            newton_schulz_dtype = fastest_dtype().removeprefix("mixed_")
        dtypes = ("float32", "bfloat16")
        check_argument(
            newton_schulz_dtype in dtypes, "newton_schulz_dtype", newton_schulz_dtype, f"auto, {' or '.join(dtypes)}"
        )
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **adamw)
        self.momentum, self.adam_paths = momentum, list(adam_paths)
        self.newton_schulz_steps, self.newton_schulz_dtype = newton_schulz_steps, newton_schulz_dtype

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._widths = [None if self._takes_adam(variable) else _logical_widths(variable) for variable in variables]

    def _takes_adam(self, variable: Any) -> bool:
        return len(variable.shape) != 2 or any(re.search(path, path_of(variable)) for path in self.adam_paths)

    def update(self, variable: Any, gradient: tf.Tensor, index: int, scalars: Scalars) -> None:
        widths = self._widths[index]
        if widths is None:
            super().update(variable, gradient, index, scalars)
            return
        groups = getattr(variable, "groups", 1)
        momentum = self._momentums[index].value
        gradient = clip(gradient, scalars)
        followed = self.momentum * momentum + gradient
        momentum.assign(followed)
        ahead = whole(tf.cast(gradient + self.momentum * followed, self.newton_schulz_dtype))
        parts = [
            0.2 * math.sqrt(max(part.shape)) * orthogonalize(part, steps=self.newton_schulz_steps)
            for part in split(ahead, widths, axis=1, groups=groups)
        ]
        decay(variable, scalars)
        step = whole(concat(parts, axis=1, groups=groups))
        variable.assign_sub(scalars["learning_rate"] * tf.cast(step, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "newton_schulz_steps", "newton_schulz_dtype", "adam_paths")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="tfllm")
class Lion(DecoupledOptimizer):
    """Sign of an interpolated momentum, one slot a variable. Its learning rate should be 3 to 10 times
    smaller than AdamW's, its decay larger by the same factor. The arguments not named here: `DecoupledOptimizer`.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        weight_decay: float = 1.0,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        clip_norm: float | None = 1.0,
        layer_decay: float = 1.0,
        ema: float | None = None,
        decay_embeddings: bool = True,
        name: str = "lion",
    ) -> None:
        check_argument(0 <= beta_1 < 1, "beta_1", beta_1, "0 <= beta_1 < 1")
        check_argument(0 <= beta_2 < 1, "beta_2", beta_2, "0 <= beta_2 < 1")
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            layer_decay=layer_decay,
            ema=ema,
            decay_embeddings=decay_embeddings,
            name=name,
        )
        self.beta_1, self.beta_2 = beta_1, beta_2

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update(self, variable: Any, gradient: tf.Tensor, index: int, scalars: Scalars) -> None:
        momentum = self._momentums[index].value
        _lion(variable, momentum, gradient, scalars, beta_1=self.beta_1, beta_2=self.beta_2, compiled=self.compiled)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}


adamw, muon, lion = AdamW, Muon, Lion


@fused
def _adam(
    variable: Any,
    momentum: Any,
    velocity: Any,
    gradient: tf.Tensor,
    scalars: Scalars,
    *,
    beta_1: float,
    beta_2: float,
    compiled: bool,
) -> None:
    decay(variable, scalars)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.handle,
        v=velocity.handle,
        beta1_power=scalars["power_1"],
        beta2_power=scalars["power_2"],
        lr=scalars["learning_rate"],
        beta1=tf.cast(beta_1, variable.dtype),
        beta2=tf.cast(beta_2, variable.dtype),
        epsilon=scalars["epsilon"],
        grad=clip(gradient, scalars),
    )


@fused
def _lion(
    variable: Any, momentum: Any, gradient: tf.Tensor, scalars: Scalars, *, beta_1: float, beta_2: float, compiled: bool
) -> None:
    decay(variable, scalars)
    gradient = clip(gradient, scalars)
    direction = tf.sign(beta_1 * momentum + (1.0 - beta_1) * gradient)
    variable.assign_sub(scalars["learning_rate"] * direction)
    momentum.assign(beta_2 * momentum + (1.0 - beta_2) * gradient)


def orthogonalize(matrix: tf.Tensor, *, steps: int = 5) -> tf.Tensor:
    """About U V^T for the matrix U S V^T [n, m], by a quintic Newton-Schulz iteration in the matrix's dtype.

    It raises the singular values of S / |S| (Frobenius norm) towards 1 and lets them swing there.
    Coefficients: Jordan 2024, chosen for the steepest rise at 0; after 5 steps all that began above 0.01 lie
    between 0.68 and 1.14.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix / (tf.norm(matrix) + tf.cast(1e-7, matrix.dtype))
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)  # the smaller of the two
        poly = b * gram + c * tf.matmul(gram, gram)
        x = a * x + (tf.matmul(x, poly) if tall else tf.matmul(poly, x))
    return x


def _logical_widths(variable: Any) -> tuple[int, ...]:
    columns = variable.shape[1]
    widths = tuple(getattr(variable, "logical_widths", (columns,)))
    check_argument(sum(widths) == columns, f"{path_of(variable)}.logical_widths", widths, f"widths that sum to {columns}")
    return widths
