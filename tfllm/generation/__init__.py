"""Text from a model: `generate`, `stream`, and their settings. Importing this imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfllm.generation.config import GenerationConfig

__all__ = ["Generation", "GenerationConfig", "generate", "stream"]

if TYPE_CHECKING:
    from tfllm.generation.text import Generation, generate, stream


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tfllm.generation import text

        return getattr(text, name)
    raise AttributeError(f"module 'tfllm.generation' has no attribute {name!r}")
