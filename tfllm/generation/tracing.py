"""The graphs in which `generate` and `stream` decode: traced once for each kind of settings, and kept as long as the model.

Input: a model, its tokenizer, the shared settings. Output: functions of tensors. A tensor in the shared settings is an input
of the graph, so other stop strings or biases need no new graph. A number or None is part of the graph.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.generation import strategies
from tfllm.generation.decoding_state import Results
from tfllm.generation.model_steps import Prompts, is_on_mesh
from tfllm.generation.row_settings import RowSettings, row_specs
from tfllm.generation.shared_settings import SharedSettings
from tfllm.generation.strategies import StreamState
from tfllm.models.base import LanguageModel
from tfllm.models.inference import InferenceModel, computing_model
from tfllm.tokenizers import Tokenizer

STREAMED_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Functions:
    """The traced functions of one model. Inputs: (a state,) prompts, row settings, and the tensors of the shared settings."""

    decode: Callable[..., Any]
    begin: Callable[..., StreamState]
    advance: Callable[..., StreamState]


_Model = LanguageModel | InferenceModel
_ByKind = dict[tuple[Any, ...], Functions]
# By model, then by kind of shared settings. The functions refer to the models weakly, so that both can be freed.
_TRACED: weakref.WeakKeyDictionary[_Model, _ByKind] = weakref.WeakKeyDictionary()
# With a draft model: by draft model first.
_DRAFTED: weakref.WeakKeyDictionary[_Model, weakref.WeakKeyDictionary[_Model, _ByKind]]
_DRAFTED = weakref.WeakKeyDictionary()


def functions_of(model: _Model, tokenizer: Tokenizer, shared: SharedSettings, draft_model: _Model | None = None) -> Functions:
    """The functions for `shared`, and for all shared settings that differ only in the values of tensors."""
    key = tuple(_kind(leaf, tokenizer) for leaf in tf.nest.flatten(shared))
    by_model = _TRACED if draft_model is None else _DRAFTED.setdefault(draft_model, weakref.WeakKeyDictionary())
    traced = by_model.setdefault(model, {})
    if key not in traced:
        traced[key] = _trace(weakref.ref(model), (lambda: None) if draft_model is None else weakref.ref(draft_model), shared)
    return traced[key]


def tensors_of(shared: SharedSettings) -> list[tf.Tensor]:
    """The tensors of the nested structure, in its order."""
    return [leaf for leaf in tf.nest.flatten(shared) if tf.is_tensor(leaf)]


def _kind(leaf: Any, tokenizer: Tokenizer) -> Any:
    """What is part of the graph in one leaf. Its functions are the tokenizer's; equal tokenizers share a graph."""
    if tf.is_tensor(leaf):
        return _any_size(leaf)
    return tokenizer.fingerprint() if callable(leaf) else leaf


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    """The spec of a tensor with any first dimension: the number of words, ids, … changes from call to call."""
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)


def _traced_once(**settings: Any) -> Callable[[Callable[..., Any]], Any]:
    """`tf.function` without its warning of frequent retracing: one place in the code makes many functions, each traced once."""

    def graph(call: Callable[..., Any]) -> Any:
        function = tf.function(call, **settings)
        function._omit_frequent_tracing_warning = True
        return function

    return graph


def _trace(model: Callable[[], Any], draft_model: Callable[[], Any], like: SharedSettings) -> Functions:
    given = [tf.is_tensor(leaf) for leaf in tf.nest.flatten(like)]
    frame = tf.nest.map_structure(lambda leaf: None if tf.is_tensor(leaf) else leaf, like)
    head = [
        Prompts(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
        row_specs(),
        [_any_size(each) for each in tensors_of(like)],
    ]

    def models() -> tuple[Any, Any]:
        return computing_model(model()), computing_model(draft_model())

    def shared_with(tensors: list[tf.Tensor]) -> SharedSettings:
        rest = iter(tensors)
        leaves = [next(rest) if is_given else leaf for is_given, leaf in zip(given, tf.nest.flatten(frame), strict=True)]
        return tf.nest.pack_sequence_as(frame, leaves)

    # On a mesh, only the steps of the model are graphs. Tokens are chosen outside.
    graph = (lambda **_: lambda call: call) if is_on_mesh(model()) else _traced_once

    @graph(input_signature=head, autograph=False)
    def decode_all(prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> Results:
        target, drafter = models()
        return strategies.continue_prompts(target, prompts, settings, shared_with(tensors), drafter)

    @graph(input_signature=head, autograph=False)
    def begin(prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> StreamState:
        target, drafter = models()
        return strategies.begin(target, prompts, settings, shared_with(tensors), drafter)

    @graph(autograph=False)
    def advance(state: StreamState, prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> StreamState:
        until = strategies.generated(state).step + STREAMED_AT_ONCE
        shared = shared_with(tensors)
        target, drafter = models()
        return strategies.advance(target, prompts, settings, shared, drafter, state=state, until=until)

    @functools.cache
    def advance_any() -> Callable[..., StreamState]:
        if is_on_mesh(model()):
            return advance
        state = tf.nest.map_structure(tf.type_spec_from_value, begin.get_concrete_function().structured_outputs)
        return advance.get_concrete_function(state, *head)

    return Functions(decode=decode_all, begin=begin, advance=lambda *tensors: advance_any()(*tensors))
