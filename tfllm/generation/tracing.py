"""The graphs of a model's decoding in Python: traced once for each kind of rules, kept as long as the model.

Enters: a model, its tokenizer, rules. Leaves: functions of tensors. What is a tensor in the rules is an input, so other stop
strings or biases need no new graph; what is a number or None is part of the graph.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.generation import strategies
from tfllm.generation.decode import Results
from tfllm.generation.reading import Prompts, is_on_mesh
from tfllm.generation.row_settings import RowSettings, row_specs
from tfllm.generation.rules import Rules
from tfllm.generation.strategies import State
from tfllm.models.base import LanguageModel
from tfllm.models.inference import InferenceModel, computing
from tfllm.tokenizers import Tokenizer

STREAMED_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Functions:
    """The traced functions of one model. Each takes (a state,) prompts, settings, and the rules' tensors (`tensors_of`)."""

    decode: Callable[..., Any]
    begin: Callable[..., State]
    advance: Callable[..., State]


_Model = LanguageModel | InferenceModel
_ByKind = dict[tuple[Any, ...], Functions]
# By model, then by kind of rules. The functions hold the models weakly, so they can go, and the functions with them.
_TRACED: weakref.WeakKeyDictionary[_Model, _ByKind] = weakref.WeakKeyDictionary()
# With a draft model: by it, too.
_DRAFTED: weakref.WeakKeyDictionary[_Model, weakref.WeakKeyDictionary[_Model, _ByKind]]
_DRAFTED = weakref.WeakKeyDictionary()


def functions_of(model: _Model, tokenizer: Tokenizer, rules: Rules, draft_model: _Model | None = None) -> Functions:
    """The functions for `rules` and all rules that differ from them in tensors' values only."""
    key = tuple(_kind(leaf, tokenizer) for leaf in tf.nest.flatten(rules))
    by_model = _TRACED if draft_model is None else _DRAFTED.setdefault(draft_model, weakref.WeakKeyDictionary())
    traced = by_model.setdefault(model, {})
    if key not in traced:
        traced[key] = _trace(weakref.ref(model), (lambda: None) if draft_model is None else weakref.ref(draft_model), rules)
    return traced[key]


def tensors_of(rules: Rules) -> list[tf.Tensor]:
    """The tensors of the nest, in its order."""
    return [leaf for leaf in tf.nest.flatten(rules) if tf.is_tensor(leaf)]


def _kind(leaf: Any, tokenizer: Tokenizer) -> Any:
    """What of a leaf is part of the graph. Functions are those of the tokenizer; equal ones may share a graph."""
    if tf.is_tensor(leaf):
        return _any_size(leaf)
    return tokenizer.fingerprint() if callable(leaf) else leaf


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    """The first axis counts words, ids, …, which change from call to call."""
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)


def _traced_once(**settings: Any) -> Callable[[Callable[..., Any]], Any]:
    """`tf.function`, without its warning for one place in the code that is traced again and again: each function is once."""

    def graph(call: Callable[..., Any]) -> Any:
        function = tf.function(call, **settings)
        function._omit_frequent_tracing_warning = True
        return function

    return graph


def _trace(model: Callable[[], Any], draft_model: Callable[[], Any], like: Rules) -> Functions:
    given = [tf.is_tensor(leaf) for leaf in tf.nest.flatten(like)]
    frame = tf.nest.map_structure(lambda leaf: None if tf.is_tensor(leaf) else leaf, like)
    head = [
        Prompts(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
        row_specs(),
        [_any_size(each) for each in tensors_of(like)],
    ]

    def rules_with(tensors: list[tf.Tensor]) -> Rules:
        rest = iter(tensors)
        leaves = [next(rest) if is_given else leaf for is_given, leaf in zip(given, tf.nest.flatten(frame), strict=True)]
        return tf.nest.pack_sequence_as(frame, leaves)

    # On a mesh only the model's part is a graph: what is chosen from its scores is chosen outside.
    graph = (lambda **_: lambda call: call) if is_on_mesh(model()) else _traced_once

    @graph(input_signature=head, autograph=False)
    def decode_all(prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> Results:
        with computing(model(), draft_model()) as (target, drafter):
            return strategies.continuations(target, prompts, settings, rules_with(tensors), drafter)

    @graph(input_signature=head, autograph=False)
    def begin(prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> State:
        with computing(model(), draft_model()) as (target, drafter):
            return strategies.begin(target, prompts, settings, rules_with(tensors), drafter)

    @graph(autograph=False)
    def advance(state: State, prompts: Prompts, settings: RowSettings, tensors: list[tf.Tensor]) -> State:
        until = strategies.said(state).step + STREAMED_AT_ONCE
        rules = rules_with(tensors)
        with computing(model(), draft_model()) as (target, drafter):
            return strategies.advance(target, prompts, settings, rules, drafter, state=state, until=until)

    @functools.cache
    def advance_any() -> Callable[..., State]:
        if is_on_mesh(model()):
            return advance
        state = tf.nest.map_structure(tf.type_spec_from_value, begin.get_concrete_function().structured_outputs)
        return advance.get_concrete_function(state, *head)

    return Functions(decode=decode_all, begin=begin, advance=lambda *tensors: advance_any()(*tensors))
