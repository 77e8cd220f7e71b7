"""From text to batches: `prepare` makes a `Store`, `causal_lm` and `masked_lm` turn it into a `tf.data.Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm import lazy

if TYPE_CHECKING:
    from tfllm.corpus.texts import texts
    from tfllm.data.batching.causal import causal_lm
    from tfllm.data.batching.masked import masked_lm
    from tfllm.data.labelled import Labelled, question_answering, regression, split, tagging, text_classification, text_pairs
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
    "split",
    "tagging",
    "text_classification",
    "text_pairs",
    "texts",
]

# The workers of `prepare` import this package, and must not pay for TensorFlow.
_HOMES = {
    "Labelled": "tfllm.data.labelled",
    "Store": "tfllm.data.store",
    "StoreError": "tfllm.data.store",
    "causal_lm": "tfllm.data.batching.causal",
    "masked_lm": "tfllm.data.batching.masked",
    "prepare": "tfllm.data.preparation.preparing",
    "prepare_with_beam": "tfllm.data.preparation.beam",
    "question_answering": "tfllm.data.labelled",
    "regression": "tfllm.data.labelled",
    "split": "tfllm.data.labelled",
    "tagging": "tfllm.data.labelled",
    "text_classification": "tfllm.data.labelled",
    "text_pairs": "tfllm.data.labelled",
    "texts": "tfllm.corpus.texts",
}

__getattr__ = lazy.attributes("tfllm.data", _HOMES)
