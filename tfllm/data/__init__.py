"""From text to batches: `prepare` makes a `Store`, `causal_lm` and `masked_lm` turn it into a `tf.data.Dataset`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.data.beam import prepare_with_beam
    from tfllm.data.causal import causal_lm
    from tfllm.data.labelled import Labelled, question_answering, regression, tagging, text_classification, text_pairs
    from tfllm.data.masked import masked_lm
    from tfllm.data.preparing import prepare
    from tfllm.data.store import Store, StoreError

__all__ = [
    "Labelled",
    "Store",
    "StoreError",
    "causal_lm",
    "masked_lm",
    "prepare",
    "prepare_with_beam",
    "question_answering",
    "regression",
    "tagging",
    "text_classification",
    "text_pairs",
]

_HOME = {
    "Store": "store",
    "StoreError": "store",
    "causal_lm": "causal",
    "masked_lm": "masked",
    "prepare": "preparing",
    "prepare_with_beam": "beam",
    "Labelled": "labelled",
    "question_answering": "labelled",
    "regression": "labelled",
    "tagging": "labelled",
    "text_classification": "labelled",
    "text_pairs": "labelled",
}


def __getattr__(name: str) -> Any:
    # Lazy: the workers of `prepare` import this package and must not pay for TensorFlow.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(f"tfllm.data.{_HOME[name]}"), name)
