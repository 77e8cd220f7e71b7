"""What must be the same when a run continues, and what may be different but changes the last bits of the results.

Input: a checkpoint's `state.json`, and the run as it is now. Output: nothing, a warning, or an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled  # there is no public way to ask
from tensorflow.python.util._pywrap_util_port import IsMklEnabled  # nor that

from tfllm.config import ModelConfig
from tfllm.train.distribution import strategies
from tfllm.train.runs import weights
from tfllm.train.runs.checkpoints import task_differences


def check_arguments(
    model: Any, *, steps_per_epoch: int, keep: int, keep_every: int | None, best: str | None, patience: int | None
) -> None:
    """Raises TypeError or ValueError where `Run` cannot be made; the arguments are its own."""
    if not hasattr(model, "compiled"):
        raise TypeError(
            f"model={model!r:.80} must be a compiled model, got {type(model).__name__}: load or make it, and call "
            "model.compile(optimizer); its weights may come from a folder by weights_from"
        )
    for name, count in (("steps_per_epoch", steps_per_epoch), ("keep", keep), ("keep_every", keep_every)):
        if count is not None and count < 1:
            raise ValueError(f"{name}={count} is invalid: expected at least 1.")
    if patience is not None and (patience < 1 or best is None):
        raise ValueError(
            f"patience={patience} is invalid with best={best!r}: expected at least 1 epoch, and the name of a metric as best."
        )
    if not model.compiled:
        raise ValueError("the model is not compiled: call model.compile(optimizer) before Run, which restores both")
    if steps_per_epoch % model.steps_per_execution:
        raise ValueError(
            f"steps_per_epoch={steps_per_epoch} is invalid: expected a multiple of steps_per_execution="
            f"{model.steps_per_execution}."
        )


def check_resumable(
    folder: Path,
    checkpoint: Path,
    state: Mapping[str, Any],
    *,
    model: Any,
    identity: Mapping[str, str],
    steps_per_epoch: int,
) -> None:
    """Checks that a run can continue from a checkpoint.

    Args:
        folder: the run's, for messages.
        checkpoint: its newest checkpoint.
        state: that checkpoint's `state.json`.
        model: the model that is to continue.
        identity: what must be the same: tokenizer, data, optimizer, the metric of the best epoch.
        steps_per_epoch: the run's, now.

    Raises:
        ValueError: the model or a part of the identity is another, or the checkpoint would be inside an epoch.
    """
    changed = ModelConfig.load(checkpoint / "config.json").differences(model.config, but_for={"remat"})
    changed += task_differences(checkpoint, model)
    if changed:
        raise ValueError(f"{folder} holds a run of another model: {'; '.join(changed)}. Choose another folder")
    for part, value in identity.items():
        if state["identity"].get(part, value) != value:
            raise ValueError(
                f"{folder} was trained with another {part} ({state['identity'][part]!r}, now {value!r}). "
                "Give it what it was started with, or choose another folder"
            )
    step, before = state["step"], state["steps_per_epoch"]
    inside = step % before
    if before != steps_per_epoch and (inside or step % steps_per_epoch):
        divisor = "" if inside else f", or another divisor of {step}"
        raise ValueError(
            f"steps_per_epoch={steps_per_epoch} is invalid: the run in {folder} is at step {step}, which would stand inside an "
            f"epoch. Give steps_per_epoch={before}, as before{divisor}"
        )


def check_workers_agree(model: Any, folder: Path, *, step: int, identity: Mapping[str, str]) -> None:
    """Checks that all workers are about to do the same step with the same weights and data.

    Args:
        model: restored.
        folder: the run's, for messages.
        step: the next step, counted from 0.
        identity: as in `check_resumable`.

    Raises:
        ValueError: they are not.
    """
    strategy = model.distribute_strategy
    if strategies.num_workers(strategy) == 1:
        return
    if not strategies.is_same_on_all_workers(strategy, step):
        raise ValueError(f"{folder} is at step {step} here and at another for other workers: give one all can see")
    start = json.dumps(identity) + weights.values_digest(model.variables)
    if not strategies.is_same_on_all_workers(strategy, int(hashlib.sha256(start.encode()).hexdigest()[:12], 16)):
        raise ValueError(
            "the workers start from other weights, data or tokenizers: give all the same store, tokenizer and model "
            f"(here data is {identity['data']!r}, the tokenizer {identity['tokenizer'][:12]}…)"
        )


def warn_of_changed_settings(folder: Path, recorded: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Warns of each setting that differs from the checkpoint's. Call it when the run has been restored."""
    for name, old in sorted(recorded.items()):
        if (new := current.get(name)) != old:
            warnings.warn(
                f"{folder} was trained with another {name} ({_short(old)}, now {_short(new)}): "
                "the run goes on, but not bit for bit as it would have",
                stacklevel=5,
            )


def settings_of(model: Any) -> dict[str, Any]:
    """The settings and versions that the last bits of a result depend on."""
    optimizer, strategy = model.optimizer.get_config(), model.distribute_strategy
    return {
        **model.training_settings,
        **{f"optimizer {name}": json.dumps(value, default=float) for name, value in optimizer.items()},
        "dtype": model.dtype_policy.name,
        "replicas": strategy.num_replicas_in_sync,
        "mesh": str(getattr(strategy, "mesh", None) and strategy.mesh.shape()),
        "cores": len(os.sched_getaffinity(0)),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "deterministic_ops": is_op_determinism_enabled(),
        "onednn": IsMklEnabled(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
