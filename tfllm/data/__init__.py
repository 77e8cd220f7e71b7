"""From text to batches: `prepare` makes a `Store`, `causal_lm` and `masked_lm` turn it into a `tf.data.Dataset`."""

from tfllm import lazy

# The workers of `prepare` import this package, and must not pay for TensorFlow.
__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
