"""From text to batches: `prepare` makes a `Store`, `causal_lm` turns it into a `tf.data.Dataset`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.data.pipeline import causal_lm
    from tfllm.data.preparing import prepare
    from tfllm.data.store import Store, StoreError

__all__ = ["Store", "StoreError", "causal_lm", "prepare"]

_HOME = {"Store": "store", "StoreError": "store", "causal_lm": "pipeline", "prepare": "preparing"}


def __getattr__(name: str) -> Any:
    # Lazy: the workers of `prepare` import this package and must not pay for TensorFlow.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(f"tfllm.data.{_HOME[name]}"), name)
