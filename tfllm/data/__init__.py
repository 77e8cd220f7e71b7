"""From text to batches: `prepare` makes a `Store`, `causal_lm` and `masked_lm` turn it into a `tf.data.Dataset`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.data.batching.causal import causal_lm
    from tfllm.data.batching.masked import masked_lm
    from tfllm.data.labelled import Labelled, question_answering, regression, tagging, text_classification, text_pairs
    from tfllm.data.preparation.beam import prepare_with_beam
    from tfllm.data.preparation.preparing import prepare
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
    "causal_lm": "batching.causal",
    "masked_lm": "batching.masked",
    "prepare": "preparation.preparing",
    "prepare_with_beam": "preparation.beam",
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
