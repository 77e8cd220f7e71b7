"""Checkpoints of other libraries, in and out: Hugging Face folders and KerasHub models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "from_huggingface": "tfllm.interop.huggingface",
    "to_huggingface": "tfllm.interop.huggingface",
    "from_keras_hub": "tfllm.interop.keras_hub",
}

__all__ = ["from_huggingface", "from_keras_hub", "to_huggingface"]

if TYPE_CHECKING:
    from tfllm.interop.huggingface import from_huggingface, to_huggingface
    from tfllm.interop.keras_hub import from_keras_hub


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tfllm.interop' has no attribute {name!r}")
