"""All ways to continue prompts, in one place: token by token, with drafts, by beam search or by contrastive search.

Input: a model, prompts and their settings. Output: `Results`, or, for streams, a state that can be continued.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.generation import beam, contrastive, decode, speculative
from tfllm.generation.contrastive import ContrastiveState
from tfllm.generation.decoding_state import DecodingState, Results, results
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import RowSettings
from tfllm.generation.shared_settings import SharedSettings
from tfllm.generation.speculative import SpeculativeState
from tfllm.models.inference import cast_matrices

StreamState = DecodingState | ContrastiveState | SpeculativeState


def continue_prompts(
    model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings, draft_model: Any = None
) -> Results:
    """Continues every prompt to its end.

    Args:
        prompts: P of them.
        settings: n P rows, for n continuations of each prompt; P rows for a search.
        draft_model: drafts tokens, if `shared` asks for drafts. None: prompt lookup drafts.
    """
    model, draft_model = cast_matrices(model), cast_matrices(draft_model)
    if shared.beams is not None:
        return beam.search(model, prompts, settings, shared)
    if shared.contrast is not None:
        return contrastive.search(model, prompts, settings, shared)
    if shared.drafts is not None:
        return speculative.decode(model, prompts, settings, shared, draft_model)
    return results(decode.decode(model, prompts, settings, shared))


def begin(model: Any, prompts: Prompts, settings: RowSettings, shared: SharedSettings, draft_model: Any = None) -> StreamState:
    """Chooses the first token of each row. Not for a beam search, which knows its tokens only at the end."""
    model, draft_model = cast_matrices(model), cast_matrices(draft_model)
    if shared.drafts is not None:
        return speculative.begin(model, prompts, settings, shared, draft_model)
    return (contrastive if shared.contrast else decode).begin(model, prompts, settings, shared)


def advance(
    model: Any,
    prompts: Prompts,
    settings: RowSettings,
    shared: SharedSettings,
    draft_model: Any = None,
    *,
    state: StreamState,
    until: tf.Tensor,
) -> StreamState:
    """Continues until a row has `until` tokens; with drafts, perhaps a few more."""
    model, draft_model = cast_matrices(model), cast_matrices(draft_model)
    if isinstance(state, SpeculativeState):
        return speculative.advance(model, prompts, settings, shared, draft_model, state=state, until=until)
    search = contrastive if shared.contrast else decode
    return search.advance(model, prompts, settings, shared, state=state, until=until)


def generated(state: StreamState) -> DecodingState:
    """The tokens chosen so far."""
    return state if isinstance(state, DecodingState) else state.generated
