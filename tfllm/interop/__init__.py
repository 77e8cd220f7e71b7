"""Checkpoints of other libraries, in and out: Hugging Face folders and KerasHub models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm import lazy

__all__ = ["from_huggingface", "from_keras_hub", "to_huggingface"]

if TYPE_CHECKING:
    from tfllm.interop.huggingface import from_huggingface, to_huggingface
    from tfllm.interop.keras_hub import from_keras_hub

_HOMES = {
    "from_huggingface": "tfllm.interop.huggingface",
    "from_keras_hub": "tfllm.interop.keras_hub",
    "to_huggingface": "tfllm.interop.huggingface",
}

__getattr__ = lazy.attributes("tfllm.interop", _HOMES)
