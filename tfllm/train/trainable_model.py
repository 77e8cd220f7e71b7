"""`TrainableModel`: the training step that `fit` runs, exact for any gradient accumulation.

Input: a model with `loss_and_metrics`, and batches of `features`. Output: updated weights, and metrics.

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
from tfllm.train.distribution.replicas import sum_over_replicas
from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.fit_status import FitStatus
from tfllm.train.gradients import Features, LossAndMetrics, MetricSums, at_least_epsilon, compute_gradients
from tfllm.train.keras_methods import KerasMethods
from tfllm.train.metrics import Ratio
from tfllm.train.optimizer_base import DecoupledOptimizer
from tfllm.train.standardize import standardize_batch
from tfllm.train.step_errors import assert_finite, explain_errors
from tfllm.train.train_function import make_step_function


class TrainableModel(KerasMethods):
    """A `keras.Model` that `fit` trains. A task's class inherits it and defines `loss_and_metrics` and `build_metrics`."""

    weight_unit = "tokens"
    """What `LossAndMetrics.weight` counts."""

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """The task's loss and metrics for one batch; `options` go to the layers and to the loss."""
        raise NotImplementedError(f"{type(self).__name__} has no loss_and_metrics to train with")

    def build_metrics(self) -> list[Ratio]:
        """One metric for each name in `LossAndMetrics.metrics`; the first is called "loss"."""
        raise NotImplementedError(f"{type(self).__name__} has no build_metrics")

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
        """Configures training.

        Args:
            optimizer: from `tfllm.train` (`adamw`, `muon`, `lion`), or any Keras optimizer or its name ("adam").
            loss, loss_weights, metrics, weighted_metrics: refused, because the model has its own loss and metrics.
            gradient_accumulation: number of micro-batches that a batch is split into; more need less memory.
            seed: of the dropout masks.
            steps_per_execution: steps between two returns to Python.
            jit_compile: compile the forward and backward pass with XLA. "auto" does so on a single GPU (not measured), where
                fewer kernels read memory less often. On a CPU it is slower: XLA has no oneDNN. A TPU's strategy compiles all.
            run_eagerly: run without a graph, to debug.
            auto_scale_loss: ignored: Keras uses it for float16, in which training is refused.

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
                _task_metrics={metric.name: metric for metric in self.build_metrics()},
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
        return [*self.validation_metrics, self._gradient_norm]

    @property
    def validation_metrics(self) -> list[Ratio]:
        """The metrics that validation computes."""
        return list(self._task_metrics.values())

    def train_step(self, data: Any) -> MetricSums:
        """One step, which every replica runs on its rows. Returns the metrics' sums over all rows."""
        features = self._standardized(data, class_weights=self.class_weights)
        seeds = self._row_seeds(data, tf.shape(features[TOKEN_IDS])[0])
        gradients, total = sum_over_replicas(self._run_gradients(features | {DROPOUT_SEED: seeds}))
        weight = at_least_epsilon(total.weight)
        if not self._divides_first:
            gradients = [gradient / tf.cast(weight, gradient.dtype) for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        step = self.optimizer.iterations.value
        with tf.control_dependencies([assert_finite(total.loss / weight, norm, weight=total.weight, step=step)]):
            gradients = [tf.identity(gradient) for gradient in gradients]
        if isinstance(self.optimizer, DecoupledOptimizer):
            # A strategy's variables may be on other devices.
            self.optimizer.apply_sum(gradients, self.trainable_variables, norm, compiled=not tf.distribute.has_strategy())
        else:  # which sums over the replicas by itself
            replicas = self.distribute_strategy.num_replicas_in_sync
            self.optimizer.apply([gradient / replicas for gradient in gradients], self.trainable_variables)
        # 1, but not before there is a batch: a constant would be counted at the end of the data, too.
        return total.metrics | {"gradient_norm": (norm, tf.cast(tf.math.is_finite(norm), tf.float32))}

    def test_step(self, data: Any) -> MetricSums:
        return sum_over_replicas(self.loss_and_metrics(self._standardized(data), training=False)).metrics

    def update_metrics(self, sums: MetricSums) -> None:
        """Adds the sums of a step to the metrics."""
        for metric in self.metrics:
            if metric.name in sums:
                metric.update_state(*sums[metric.name])

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
            run = make_step_function(self, self.test_step, self.validation_metrics)

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

    def _gradients(self, features: Features) -> tuple[list[tf.Tensor], LossAndMetrics]:
        """Gradients of this replica's summed loss (of loss / weight if it has the whole batch), and its loss and metrics."""
        return compute_gradients(
            lambda rows: self.loss_and_metrics(rows, training=True, options=TRAINING),
            self.trainable_variables,
            features,
            num_microbatches=self.gradient_accumulation,
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
