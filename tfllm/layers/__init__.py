"""The parts of a Transformer, as Keras layers that any `keras.Model` may use. None knows a config, a tokenizer or a task."""

from tfllm import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
