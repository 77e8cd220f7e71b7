"""Text from a model: `generate`, `stream`, and their settings; how probable texts are: `score`. Importing this imports no
TensorFlow."""

from tfllm import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
