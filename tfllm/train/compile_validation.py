"""Checks of `compile`'s arguments, before any of them takes effect.

Input: a model and the arguments. Output: nothing, or an error for what would not train, or would train differently than the
arguments say.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from tfllm.train.distribution.tensor_parallel import TensorParallel
from tfllm.train.optimizer_base import DecoupledOptimizer
from tfllm.train.optimizers import AdamW


def check_training(
    model: Any,
    optimizer: keras.optimizers.Optimizer,
    *,
    gradient_accumulation: int,
    steps_per_execution: int,
    jit_compile: bool,
    run_eagerly: bool,
) -> None:
    """Raises ValueError where a model cannot be trained like this; the arguments are `TrainableModel.compile`'s."""
    for name, value in (("gradient_accumulation", gradient_accumulation), ("steps_per_execution", steps_per_execution)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} is invalid: expected a whole number of at least 1.")
    if not isinstance(jit_compile, bool):
        raise ValueError(f"jit_compile={jit_compile!r} is invalid: expected True, False or 'auto'.")
    if model.dtype_policy.compute_dtype == "float16":
        raise ValueError(
            "training in float16 is not supported, because it needs loss scaling: make the model with dtype='mixed_bfloat16'"
        )
    strategy = model.distribute_strategy
    if (jit_compile or run_eagerly) and isinstance(strategy, TensorParallel):
        raise ValueError(
            f"jit_compile={jit_compile}, run_eagerly={run_eagerly}: a mesh supports neither XLA nor eager execution. Leave "
            "both out"
        )
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "keras.distribution is set, which does nothing under TensorFlow (every device would train by itself): unset it "
            "(keras.distribution.set_distribution(None)) and make the model in tfllm.train.strategy(…).scope()"
        )
    if optimizer._distribution_strategy is not strategy:
        raise ValueError(
            "the model was made in a strategy's scope, the optimizer in another: make both `with strategy.scope():`"
        )
    clips = [name for name in ("clipnorm", "global_clipnorm", "clipvalue") if getattr(optimizer, name, None)]
    if clips and strategy.num_replicas_in_sync > 1 and not isinstance(optimizer, DecoupledOptimizer):
        raise ValueError(
            f"{type(optimizer).__name__} with {' and '.join(clips)} clips the gradient of each replica, not their sum: use "
            "tfllm.train.adamw, muon or lion with clip_norm"
        )


def optimizer_of(given: Any) -> keras.optimizers.Optimizer:
    """An optimizer, or that of a name or config; a ValueError where it is something else."""
    if isinstance(given, type) or not isinstance(given, keras.optimizers.Optimizer | str | dict):
        name = given.__name__ if isinstance(given, type) else "Adam"
        rate = given if isinstance(given, float) else 0.001
        raise ValueError(f"optimizer={given!r:.80}: give one, such as keras.optimizers.{name}({rate}) or tfllm.train.adamw(…)")
    return keras.optimizers.get(given)


def refuse_losses(model: Any, **given: Any) -> None:
    """Raises ValueError where Keras' losses and metrics are given to a model that brings its own."""
    for name, value in given.items():
        if value is not None:
            metrics = ", ".join(metric.name for metric in model.build_metrics())
            raise ValueError(
                f"{name}={value!r:.80}: a {type(model).__name__} brings its loss, and the metrics {metrics}: leave {name} out; "
                "compile(optimizer) is enough"
            )


def refuse_unknown(arguments: Mapping[str, Any]) -> None:
    """Raises TypeError for arguments that `compile` does not have; those of an optimizer are named as such."""
    for name, value in arguments.items():
        if name in inspect.signature(AdamW).parameters:
            rate = "" if name == "learning_rate" else "learning_rate=1e-3, "
            raise TypeError(
                f"compile({name}={value!r:.80}) is invalid: {name} is an argument of the optimizer. Give it there: "
                f"compile(tfllm.train.adamw({rate}{name}={value!r:.80}))"
            )
        raise TypeError(
            f"compile({name}={value!r:.80}) is invalid: compile has no such argument. Leave it out, or see help(model.compile)"
        )


def check_optimizer(optimizer: Any) -> None:
    """Raises ValueError where an optimizer's own settings would train otherwise than they say."""
    name = type(optimizer).__name__
    steps = getattr(optimizer, "gradient_accumulation_steps", None)
    if steps:
        raise ValueError(
            f"{name}(gradient_accumulation_steps={steps}) is a mean of means, inexact where batches count unlike: "
            f"leave it out, make batches {steps} times as large, and compile(…, gradient_accumulation={steps}), which is exact"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or getattr(optimizer, "loss_scale_factor", None):
        raise ValueError(
            f"{name} wants a scaled loss, which training in float32 and bfloat16 does not need: leave the scale out"
        )
