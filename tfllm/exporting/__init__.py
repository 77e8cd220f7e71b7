"""A model as a SavedModel that takes and returns strings: `export` writes it, `check` proves that stock servers can run it."""

from tfllm import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
