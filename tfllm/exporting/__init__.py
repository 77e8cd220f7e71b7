"""SavedModels that take and return strings: `export` writes one, `check` verifies that TensorFlow Serving can run it."""

from tfllm import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
