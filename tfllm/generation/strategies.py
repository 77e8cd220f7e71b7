"""The ways to continue prompts, behind one call: token by token, by beam search, by contrastive search, as the rules say."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.generation import beam, contrastive, decode
from tfllm.generation.decode import Results
from tfllm.generation.reading import Prompts
from tfllm.generation.rules import Rules
from tfllm.generation.sampling import Settings

State = decode.State | contrastive.State


def continuations(model: Any, prompts: Prompts, settings: Settings, rules: Rules) -> Results:
    """Continues every prompt to its end.

    Args:
        prompts: P of them.
        settings: n P rows, n continuations a prompt; a search wants P.
    """
    if rules.beams is not None:
        return beam.search(model, prompts, settings, rules)
    if rules.contrast is not None:
        return contrastive.search(model, prompts, settings, rules)
    return decode.results(decode.decode(model, prompts, settings, rules))


def begin(model: Any, prompts: Prompts, settings: Settings, rules: Rules) -> State:
    """The first token of each row. Not of a beam search, which chooses at its end."""
    with decode.matrices_cast_once(model):
        return (contrastive if rules.contrast else decode).begin(model, prompts, settings, rules)


def advance(model: Any, prompts: Prompts, settings: Settings, rules: Rules, *, state: State, until: tf.Tensor) -> State:
    """More tokens, until there are `until` in all."""
    with decode.matrices_cast_once(model):
        return (contrastive if rules.contrast else decode).advance(model, prompts, settings, rules, state=state, until=until)


def said(state: State) -> decode.State:
    """What was chosen so far."""
    return state.said if isinstance(state, contrastive.State) else state
