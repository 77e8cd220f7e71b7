"""The ways to continue prompts, behind one call: token by token, with drafts, by beam or by contrastive search."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.generation import beam, contrastive, decode, speculative
from tfllm.generation.decode import Results
from tfllm.generation.reading import Prompts
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.rules import Rules

State = decode.State | contrastive.State | speculative.State


def continuations(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules, draft_model: Any = None) -> Results:
    """Continues every prompt to its end.

    Args:
        prompts: P of them.
        settings: n P rows, n continuations a prompt; a search wants P.
        draft_model: where the rules say that tokens are drafted; None: they are looked up in the text.
    """
    if rules.beams is not None:
        return beam.search(model, prompts, settings, rules)
    if rules.contrast is not None:
        return contrastive.search(model, prompts, settings, rules)
    if rules.drafts is not None:
        return speculative.decode(model, prompts, settings, rules, draft_model)
    return decode.results(decode.decode(model, prompts, settings, rules))


def begin(model: Any, prompts: Prompts, settings: RowSettings, rules: Rules, draft_model: Any = None) -> State:
    """The first token of each row. Not of a beam search, which chooses at its end."""
    with decode.matrices_cast_once(model, draft_model):
        if rules.drafts is not None:
            return speculative.begin(model, prompts, settings, rules, draft_model)
        return (contrastive if rules.contrast else decode).begin(model, prompts, settings, rules)


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    rules: Rules,
    draft_model: Any = None,
    *,
    state: State,
    until: tf.Tensor,
) -> State:
    """More tokens, until there are `until` in all, or a few more where tokens are drafted."""
    with decode.matrices_cast_once(model, draft_model):
        if isinstance(state, speculative.State):
            return speculative.advance(model, prompts, settings, rules, draft_model, state=state, until=until)
        return (contrastive if rules.contrast else decode).advance(model, prompts, settings, rules, state=state, until=until)


def said(state: State) -> decode.State:
    """What was chosen so far."""
    return state if isinstance(state, decode.State) else state.said
