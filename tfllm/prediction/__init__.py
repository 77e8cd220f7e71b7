"""Predictions of encoders: texts in; labels, entities, answers or vectors out. `predict` and exports run the same graph."""

from __future__ import annotations

from typing import Any

from tfllm.deprecation import warn_renamed
from tfllm.prediction.answers import answers, inputs_of
from tfllm.prediction.python import predict

__all__ = ["answers", "inputs_of", "predict"]


def __getattr__(name: str) -> Any:
    if name != "INPUTS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from tfllm import tasks

    warn_renamed("tfllm.prediction.INPUTS", "tfllm.prediction.inputs_of(model)")
    return {spec.name: spec.input_names() for spec in tasks.all_tasks() if spec.prediction}
