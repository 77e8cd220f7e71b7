"""Text from a model: `generate`, `stream`, and their settings. Importing this imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm import lazy
from tfllm.generation.config import GenerationConfig

__all__ = ["Generation", "GenerationConfig", "generate", "stream"]

if TYPE_CHECKING:
    from tfllm.generation.text import Generation, generate, stream

__getattr__ = lazy.attributes("tfllm.generation", dict.fromkeys(("Generation", "generate", "stream"), "tfllm.generation.text"))
