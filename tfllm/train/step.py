"""What `fit` runs: one training step, exact for any accumulation, and every place where Keras' own `fit` must be led.

Enters: a compiled model with an `objective`, and batches of `features`. Leaves: updated weights, and metrics.

A step is: the forward and backward pass of each micro-batch, sums of losses and gradients, one division by the summed weight,
the check that all is finite, the optimizer. Nothing of it is random but dropout, whose seed is (seed, step, row).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.features import DROPOUT_SEED, ROW, TOKEN_IDS
from tfllm.layers.call_options import TRAINING, CallOptions
from tfllm.layers.devices import has_gpu
from tfllm.layers.stateless_random import fold_in
from tfllm.train.compile_validation import check_optimizer, check_training, optimizer_of, refuse_losses, refuse_unknown
from tfllm.train.decoupled import DecoupledOptimizer
from tfllm.train.distribution.replicas import sum_over_replicas
from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.fit_status import FitStatus
from tfllm.train.gradients import Features, MetricSums, Objective, at_least_epsilon, gradients
from tfllm.train.keras_methods import KerasMethods
from tfllm.train.metrics import Ratio
from tfllm.train.standardize import standardize_batch
from tfllm.train.step_errors import assert_finite, explain_errors
from tfllm.train.train_function import make_step_function


class TrainableModel(KerasMethods):
    """A `keras.Model` whose `fit` minimises its `objective`. A task inherits it and writes `objective` and `measures`."""

    counted = "tokens"
    """What `Objective.weight` counts."""

    def objective(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> Objective:
        """The task's loss on one batch; `options` go to the layers and to the loss."""
        raise NotImplementedError(f"{type(self).__name__} says no objective to train for")

    def measures(self) -> list[Ratio]:
        """One metric for each name in `Objective.measures`; the first is called "loss"."""
        raise NotImplementedError(f"{type(self).__name__} names no metrics")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: None = None,
        *,
        loss_weights: None = None,
        metrics: None = None,
        weighted_metrics: None = None,
        gradient_accumulation: int = 1,
        seed: int = 0,
        steps_per_execution: int = 1,
        jit_compile: bool | Literal["auto"] = "auto",
        run_eagerly: bool = False,
        auto_scale_loss: bool = True,
        **unknown: Any,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: from `tfllm.train` (`adamw`, `muon`, `lion`), or any Keras optimizer or its name ("adam").
            loss, loss_weights, metrics, weighted_metrics: Keras'; refused, for a task brings its loss and its metrics.
            gradient_accumulation: micro-batches a batch is split into, one after the other, for less memory.
            seed: of the dropout masks.
            steps_per_execution: steps run between two returns to Python.
            jit_compile: compile the forward and backward pass with XLA. "auto" does so on a single GPU (not measured), where
                fewer kernels read memory less often. On a CPU it is slower: XLA has no oneDNN. A TPU's strategy compiles all.
            run_eagerly: run without a graph, to debug.
            auto_scale_loss: Keras'; of training in float16, which is refused, so it changes nothing.

        Raises:
            ValueError: it cannot be trained like this (compile_validation.py).
            TypeError: an argument is unknown, or belongs to the optimizer.
        """
        refuse_unknown(unknown)
        refuse_losses(self, loss=loss, loss_weights=loss_weights, metrics=metrics, weighted_metrics=weighted_metrics)
        with self.distribute_strategy.scope():
            keras_optimizer = optimizer_of(optimizer)
        check_optimizer(keras_optimizer)
        execution: dict[str, Any] = {"steps_per_execution": steps_per_execution, "run_eagerly": run_eagerly}
        use_xla = not run_eagerly and _on_one_gpu(self.distribute_strategy) if jit_compile == "auto" else jit_compile
        settings: dict[str, Any] = {"gradient_accumulation": gradient_accumulation, "jit_compile": use_xla}
        check_training(self, keras_optimizer, **execution, **settings)
        self._compiled_with = execution | {"jit_compile": jit_compile}
        self.training_settings = settings | {"seed": seed}
        self.gradient_accumulation, self.seed = gradient_accumulation, seed
        # Without Keras' jit_compile, which would put the optimizer inside the XLA function (keras #18145).
        super().compile(optimizer=keras_optimizer, jit_compile=False, **execution)
        with self.distribute_strategy.scope():
            # Past Keras' tracking, which accepts nothing with state after build(); `metrics` names them all.
            self.__dict__.update(
                _measures={metric.name: metric for metric in self.measures()},
                _gradient_norm=Ratio("gradient_norm"),
            )
            keras_optimizer.build(self.trainable_variables)
        # XLA around forward and backward only.
        self._run_gradients = tf.function(self._gradients, jit_compile=True) if use_xla else self._gradients
        self.fit_status = FitStatus()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled:
            return []
        return [*self.measured, self._gradient_norm]

    @property
    def measured(self) -> list[Ratio]:
        """The metrics of validation."""
        return list(self._measures.values())

    def train_step(self, data: Any) -> MetricSums:
        """One step, run by every replica on its rows at the same time; what was measured of all rows."""
        features = self._standardized(data, class_weights=self.class_weights)
        seeds = self._row_seeds(data, tf.shape(features[TOKEN_IDS])[0])
        slopes, objective = sum_over_replicas(self._run_gradients(features | {DROPOUT_SEED: seeds}))
        weight = at_least_epsilon(objective.weight)
        if not self._divides_first:
            slopes = [slope / tf.cast(weight, slope.dtype) for slope in slopes]
        norm = tf.linalg.global_norm(slopes)
        step = self.optimizer.iterations.value
        with tf.control_dependencies([assert_finite(objective.loss / weight, norm, weight=objective.weight, step=step)]):
            slopes = [tf.identity(slope) for slope in slopes]
        if isinstance(self.optimizer, DecoupledOptimizer):
            # A strategy's variables may be on other devices.
            self.optimizer.apply_sum(slopes, self.trainable_variables, norm, compiled=not tf.distribute.has_strategy())
        else:  # which sums over the replicas by itself
            replicas = self.distribute_strategy.num_replicas_in_sync
            self.optimizer.apply([slope / replicas for slope in slopes], self.trainable_variables)
        # 1, but not before there is a batch: a constant would be counted at the end of the data, too.
        return objective.measures | {"gradient_norm": (norm, tf.cast(tf.math.is_finite(norm), tf.float32))}

    def test_step(self, data: Any) -> MetricSums:
        return sum_over_replicas(self.objective(self._standardized(data), training=False)).measures

    def update_metrics(self, measures: MetricSums) -> None:
        """Takes into the metrics what a step has measured."""
        for metric in self.metrics:
            if metric.name in measures:
                metric.update_state(*measures[metric.name])

    def predict_step(self, data: Any) -> tf.Tensor:
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(features)

    def _standardized(self, data: Any, **settings: Any) -> Features:
        """A batch with its targets, in the vocabulary of `tfllm.features`."""
        return standardize_batch(self.batch_keys, data, model_name=type(self).__name__, with_targets=True, **settings)

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
        self.fit_status.steps_to_skip = steps_done

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        run = make_step_function(self, self.train_step, self.metrics)

        def train_function(iterator: Any) -> Any:
            if self.fit_status.skip(self.steps_per_execution):
                return self.get_metrics_result()
            with explain_errors(self.optimizer):
                return run(iterator)

        self.train_function = train_function

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            run = make_step_function(self, self.test_step, self.measured)

            def test_function(iterator: Any) -> Any:
                with explain_errors():
                    return run(iterator)

            self.test_function = test_function

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing to do: model and optimizer are built. Keras would average a raw batch over replicas (keras #20585)."""

    def _row_seeds(self, data: Any, count: tf.Tensor) -> tf.Tensor:
        """A seed of dropout for each of a replica's rows, by its place in the batch of all replicas. int32 [B]."""
        step = fold_in(tf.constant(self.seed, tf.int32), tf.cast(self.optimizer.iterations.value, tf.int32))
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(features, Mapping) and ROW in features:
            return fold_in(step, features[ROW])
        rows = tf.range(count)
        if self.distribute_strategy.num_replicas_in_sync > 1:  # arrays, which Keras shares out in equal parts
            rows += count * tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return fold_in(step, rows)

    @property
    def _divides_first(self) -> bool:
        """Is the weight of the whole batch known where the backward pass starts?"""
        return self.gradient_accumulation == 1 and self.distribute_strategy.num_replicas_in_sync == 1

    def _gradients(self, features: Features) -> tuple[list[tf.Tensor], Objective]:
        """Gradients of this replica's summed loss (of loss / weight where that is the whole batch), and its objective."""
        return gradients(
            lambda rows: self.objective(rows, training=True, options=TRAINING),
            self.trainable_variables,
            features,
            parts=self.gradient_accumulation,
            mean=self._divides_first,
        )

    def get_compile_config(self) -> dict[str, Any] | None:
        """What a `.keras` file holds beside the model, so that `fit` goes on where it was: `compile`'s arguments."""
        if not self.compiled:
            return None
        frozen = [layer.path for layer in self._flatten_layers() if not layer.trainable]
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {"optimizer": optimizer, "frozen": frozen, **self.training_settings, **self._compiled_with}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        settings = keras.saving.deserialize_keras_object(config)
        frozen = set(settings.pop("frozen"))
        for layer in self._flatten_layers():
            if layer.path in frozen:
                layer.trainable = False
        self.compile(**settings)


def _on_one_gpu(strategy: tf.distribute.Strategy) -> bool:
    """Does a single GPU of this process do all the work?"""
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return "GPU" in strategy.extended.worker_devices[0]
    elsewhere = (TensorParallel, tf.distribute.ParameterServerStrategy, tf.distribute.TPUStrategy)
    return has_gpu() and strategy.num_replicas_in_sync == 1 and not isinstance(strategy, elsewhere)
