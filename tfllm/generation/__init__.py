"""Text from a model: `generate`, `stream`, and their settings; how probable texts are: `score`. Importing this imports no
TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm import lazy
from tfllm.generation.config import GenerationConfig

__all__ = ["Generation", "GenerationConfig", "TextScore", "generate", "score", "stream"]

if TYPE_CHECKING:
    from tfllm.generation.scoring import TextScore, score
    from tfllm.generation.text import Generation, generate, stream

_HOMES = dict.fromkeys(("Generation", "generate", "stream"), "tfllm.generation.text")
_HOMES |= dict.fromkeys(("TextScore", "score"), "tfllm.generation.scoring")
__getattr__ = lazy.attributes("tfllm.generation", _HOMES)
