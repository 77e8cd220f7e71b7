"""tfllm: language models in TensorFlow, from raw text to a SavedModel that takes and returns strings.

Every public name is imported when it is first used (`__init__.pyi` lists them), so `import tfllm` is quick.
"""

from __future__ import annotations

from tfllm import backend, lazy

__version__ = "0.1.0"

backend.refuse_other_backends()
backend.ask_for_onednn()

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
