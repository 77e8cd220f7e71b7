"""What `fit` runs: one training step, exact for any accumulation, and every place where Keras' own `fit` must be led.

Enters: a compiled model with an `objective`, and batches of `features`. Leaves: updated weights, and metrics.

A step is: the forward and backward pass of each micro-batch, sums of losses and gradients, one division by the summed weight,
the check that all is finite, the optimizer. Nothing of it is random but dropout, whose seed is (seed, step, micro-batch).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.features import DROPOUT_SEED
from tfllm.layers.counter_random import fold_in
from tfllm.train.metrics import Ratio

Features = dict[str, tf.Tensor]


class Objective(NamedTuple):
    """What a task says of a batch."""

    loss: tf.Tensor
    """float32 []: sum over what is counted (tokens, rows), with a gradient."""
    weight: tf.Tensor
    """float32 []: how much was counted; the step minimises loss / weight."""
    measures: dict[str, tuple[tf.Tensor, tf.Tensor]]
    """Metric name -> (sum, weight)."""


class NonFiniteError(FloatingPointError):
    """A loss or gradient was infinite or not a number; the update was not applied."""


class TrainableModel(keras.Model):
    """A `keras.Model` whose `fit` minimises its `objective`. A task inherits it and writes `objective` and `measures`."""

    train_function: Callable[[Any], Any] | None
    counted = "tokens"
    """What `Objective.weight` counts."""

    def objective(self, features: Features, training: bool) -> Objective:
        """The task's loss on one batch."""
        raise NotImplementedError(f"{type(self).__name__} says no objective to train for")

    def measures(self) -> list[Ratio]:
        """One metric for each name in `Objective.measures`; the first is called "loss"."""
        raise NotImplementedError(f"{type(self).__name__} names no metrics")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        *,
        gradient_accumulation: int = 1,
        seed: int = 0,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
        run_eagerly: bool = False,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: from `tfllm.train` (`adamw`, `muon`, `lion`), or any Keras optimizer.
            gradient_accumulation: micro-batches a batch is split into, one after the other, for less memory.
            seed: of the dropout masks.
            steps_per_execution: steps run between two returns to Python.
            jit_compile: compile the forward and backward pass with XLA. On a CPU this is slower: XLA has no oneDNN.
            run_eagerly: run without a graph, to debug.

        Raises:
            ValueError: an argument is out of range, or the precision is float16 (which needs loss scaling; use bfloat16).
        """
        for name, value in (
            ("gradient_accumulation", gradient_accumulation),
            ("steps_per_execution", steps_per_execution),
        ):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.dtype_policy.compute_dtype == "float16":
            raise ValueError("training in float16 needs loss scaling, which is not offered: use dtype='mixed_bfloat16'")
        self.gradient_accumulation, self.seed = gradient_accumulation, seed
        self.training_settings: dict[str, Any] = {"seed": seed, "gradient_accumulation": gradient_accumulation}
        super().compile(
            optimizer=optimizer,
            steps_per_execution=steps_per_execution,
            run_eagerly=run_eagerly,
            jit_compile=False,  # Keras would put the optimizer inside the XLA function (keras #18145)
        )
        # Past Keras' tracking, which lets nothing with state come after build(); `metrics` names them all.
        self.__dict__.update(
            _measures={metric.name: metric for metric in self.measures()},
            _gradient_norm=Ratio("gradient_norm"),
        )
        # XLA around forward and backward only.
        self._run_gradients = tf.function(self._mean_gradients, jit_compile=True) if jit_compile else self._mean_gradients
        self._steps_done_before = 0
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # else Keras warns that a dataset is not shuffled again
        handler = signal.getsignal(signal.SIGTERM)
        try:
            return super().fit(x, *args, **kwargs)
        finally:
            # Callbacks that listen for it are not told of an error.
            if signal.getsignal(signal.SIGTERM) is not handler:
                signal.signal(signal.SIGTERM, handler)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled:
            return []
        return [*self._measures.values(), self._gradient_norm]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        seed = fold_in(tf.constant(self.seed, tf.int32), tf.cast(self.optimizer.iterations.value, tf.int32))
        gradients, objective = self._run_gradients(features, seed)
        weight = _at_least_epsilon(objective.weight)
        norm = tf.linalg.global_norm(gradients)
        with tf.control_dependencies([self._assert_finite(objective.loss / weight, norm)]):
            gradients = [tf.identity(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        self._update(objective)
        self._gradient_norm.update_state(norm, 1.0)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self._update(self.objective(features, training=False))
        return {name: metric.result() for name, metric in self._measures.items()}

    def predict_step(self, data: Any) -> tf.Tensor:
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(features)

    def resume_inside_epoch(self, steps_done: int) -> None:
        """Lets the next epoch of `fit` count `steps_done` steps as done: they run nothing and read no batch.

        The dataset should be endless: of a finite one, Keras counts the steps left out as batches read.

        Raises:
            ValueError: `steps_done` is not a multiple of `steps_per_execution`; some step would be left out.
        """
        if steps_done % self.steps_per_execution:
            raise ValueError(
                f"the epoch was left after {steps_done} steps, which steps_per_execution={self.steps_per_execution} does not "
                "divide: compile with a value that does"
            )
        self._steps_done_before = steps_done

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        super().make_train_function(force=True)
        run: Any = self.train_function

        def train_function(iterator: Any) -> Any:
            if self._steps_done_before > 0:
                self._steps_done_before -= self.steps_per_execution
                return self.get_metrics_result()
            try:
                return run(iterator)
            except tf.errors.InvalidArgumentError as error:
                if _NON_FINITE not in error.message:
                    raise
                raise NonFiniteError(self._explain_non_finite(error.message)) from error

        self.train_function = train_function

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing to do: model and optimizer are built. Keras would average a raw batch over replicas (keras #20585)."""

    def _mean_gradients(self, features: Features, seed: tf.Tensor) -> tuple[list[tf.Tensor], Objective]:
        """Gradients of loss / weight, one a trainable variable, and the summed objective."""
        if self.gradient_accumulation == 1:
            return self._micro_gradients(features, fold_in(seed, 0), mean=True)
        gradients, objective = self._gradients(features, seed)
        weight = _at_least_epsilon(objective.weight)
        return [gradient / tf.cast(weight, gradient.dtype) for gradient in gradients], objective

    def _gradients(self, features: Features, seed: tf.Tensor) -> tuple[list[tf.Tensor], Objective]:
        """Gradients of the summed loss and the summed objective, one micro-batch after the other."""
        count = self.gradient_accumulation
        micro = {name: _split_rows(name, value, count) for name, value in features.items()}

        def body(i: tf.Tensor, gradients: Any, objective: Any) -> tuple[Any, ...]:
            part = {name: value[i] for name, value in micro.items()}
            more, said = self._micro_gradients(part, fold_in(seed, i))
            add = tf.nest.map_structure(tf.add, (gradients, objective), (more, said))
            return i + 1, *add

        shapes = tf.function(self._micro_gradients).get_concrete_function(
            {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in micro.items()},
            tf.TensorSpec([], tf.int32),
        )
        start = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), shapes.structured_outputs)
        _, gradients, objective = tf.while_loop(lambda i, *_: i < count, body, [tf.constant(0), *start], parallel_iterations=1)
        return gradients, objective

    def _micro_gradients(self, features: Features, seed: tf.Tensor, mean: bool = False) -> tuple[list[tf.Tensor], Objective]:
        """Gradients of the summed loss or, with `mean`, of loss / weight: divided where the backward pass starts."""
        variables = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            objective = self.objective(features | {DROPOUT_SEED: seed}, training=True)
        upstream = tf.ones_like(objective.loss)
        if mean:
            upstream /= tf.cast(_at_least_epsilon(objective.weight), upstream.dtype)
        values = [variable.value for variable in variables]
        gradients = tape.gradient(objective.loss, values, output_gradients=upstream, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients], objective

    def _assert_finite(self, loss: tf.Tensor, norm: tf.Tensor) -> tf.Operation:
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        step = self.optimizer.iterations.value
        return tf.debugging.Assert(finite, [_NON_FINITE, "step", step, "loss", loss, "gradient norm", norm])

    def _explain_non_finite(self, message: str) -> str:
        step = int(self.optimizer.iterations.numpy())
        values = message.partition(_NON_FINITE)[2].splitlines()[0]
        return (
            f"step {step}: the loss or the gradient is not finite ({values.strip('] ')}]). The update was not "
            f"applied; the weights are those after step {step - 1}, checkpoints on disk are untouched. The batch is the "
            f"one a dataset with start_step={step} gives first. Try a lower learning rate, a longer warm-up or clip_norm."
        )

    def _update(self, objective: Objective) -> None:
        for name, (total, weight) in objective.measures.items():
            self._measures[name].update_state(total, weight)

    def get_compile_config(self) -> Mapping[str, Any] | None:
        """A `.keras` file holds the model; how it was trained stands in the run folder."""
        return None


_NON_FINITE = "not finite:"


def _at_least_epsilon(weight: tf.Tensor) -> tf.Tensor:
    """A batch without a target has weight 0 and loss 0."""
    return tf.maximum(weight, tf.keras.backend.epsilon())


def _split_rows(name: str, value: tf.Tensor, count: int) -> tf.Tensor:
    """[B, ...] -> [count, B / count, ...]."""
    if value.shape[0] is None or value.shape[0] % count:
        raise ValueError(
            f"gradient_accumulation={count} does not divide the batch: {name} has {value.shape[0]} rows. "
            "Give a batch_size that is a multiple of it"
        )
    return tf.reshape(value, [count, value.shape[0] // count, *value.shape[1:]])
