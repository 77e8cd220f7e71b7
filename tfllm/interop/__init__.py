"""Checkpoints of other libraries, in and out: Hugging Face folders and KerasHub models."""

from tfllm import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
