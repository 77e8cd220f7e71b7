"""What must be the same when a run goes on, and what may change its last bits.

Enters: a checkpoint's `state.json`, and what a run is now. Leaves: nothing, a warning, or an error.
"""

from __future__ import annotations

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


def check_same(folder: Path, state: Mapping[str, Any], *, identity: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Warns of other settings than a checkpoint's.

    Raises:
        ValueError: a part of the identity is another.
    """
    for part, value in identity.items():
        if state["identity"].get(part, value) != value:
            raise ValueError(
                f"{folder} was trained with another {part} ({state['identity'][part]!r}, now {value!r}). "
                "Give it what it was started with, or choose another folder"
            )
    for name in sorted(settings.keys() | state["settings"].keys()):
        old, new = state["settings"].get(name), settings.get(name)
        if name in state["settings"] and old != new:
            warnings.warn(
                f"{folder} was trained with another {name} ({_short(old)}, now {_short(new)}): "
                "the run goes on, but not bit for bit as it would have",
                stacklevel=5,
            )


def settings_of(model: Any) -> dict[str, Any]:
    """What the last bits of a result depend on."""
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
