"""Drafts of a row's next tokens, which `speculative.py` checks: from a smaller model, or copied from the row's own text.

Input: the tokens of each row so far. Output: up to K drafted tokens for each row. Drafts change the speed, never the text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import continue_rows
from tfllm.generation.decoding_state import LENGTH, DecodingInputs, DecodingState, choose_next, past_of, positions_of
from tfllm.generation.model_steps import hidden_states, is_on_mesh
from tfllm.generation.penalties import Past, last_tokens, prompt_and_continuation
from tfllm.layers.cache import Cache, rollback, with_room
from tfllm.layers.call_options import DECODING
from tfllm.models.base import check_tokenizer
from tfllm.tokenizers import Tokenizer


def check_draft_model(draft_model: Any, model: Any, tokenizer: Tokenizer, config: GenerationConfig) -> None:
    """Raises ValueError unless `draft_model` can draft for `model` as `config` says."""
    if config.num_draft_tokens == 0:
        raise ValueError("num_draft_tokens=0 is invalid: expected at least 1 with draft_model. Give num_draft_tokens=4.")
    if not draft_model.config.causal:
        given = type(draft_model).__name__
        raise ValueError(f"draft_model is invalid: expected a decoder, got a {given}. Give a CausalLM.")
    if draft_model is not model and getattr(draft_model, "model", draft_model) is getattr(model, "model", model):
        raise ValueError(
            "draft_model is invalid: expected another model than model, got a copy of the same one for inference. Give a "
            "smaller model."
        )
    if is_on_mesh(draft_model):
        raise ValueError("draft_model is invalid: expected a model on one device, got one on a mesh. Load it outside.")
    try:
        check_tokenizer(draft_model, tokenizer)
    except ValueError as error:
        raise ValueError(
            f"draft_model is invalid: expected a model of the same tokenizer: {error}. Give a draft model trained with it."
        ) from None
    ends, text_ends = draft_model.config.max_length, model.config.max_length
    if draft_model.config.positions == "learned" and (model.config.positions != "learned" or ends < text_ends):
        raise ValueError(
            f"draft_model is invalid: expected positions that reach as far as the model's, got learned ones that end at "
            f"max_length={ends}. Give a draft model with a larger max_length, or with rotary positions."
        )


class Draft(NamedTuple):
    """Drafted tokens of B rows."""

    token_ids: tf.Tensor
    """int32 [B, K]."""
    count: tf.Tensor
    """int32 [B]: how many tokens of each row are drafted."""


def prompt_lookup(past: Past, *, num_tokens: int, ngram_size: int) -> Draft:
    """Drafts what followed the row's last tokens where they occurred before (Saxena 2023, prompt lookup decoding).

    Up to `ngram_size` last tokens are compared. The position with the longest match is taken, the latest of several. If the
    copy reaches the row's end, it continues with the copied tokens.

        5 6 7 8 5 6      K 3    draft  7 8 5
        5 6 5            K 3           6 5 6
        5 6 7            K 3           (none)

    Args:
        num_tokens: K.
    """
    ids, lengths = prompt_and_continuation(past), (past.prompts.lengths + past.num_tokens)[:, None]
    position = tf.range(tf.shape(ids)[1])[None]
    same, matching = position < lengths, tf.zeros_like(ids)
    for back in range(1, ngram_size + 1):
        end = tf.gather(ids, tf.maximum(lengths - back, 0), batch_dims=1)
        same &= (position >= back) & (tf.roll(ids, back, axis=1) == end)
        matching += tf.cast(same, tf.int32)
    longest = tf.reduce_max(matching, 1, keepdims=True)
    start = tf.reduce_max(tf.where(matching == longest, position, 0), 1, keepdims=True)
    found = longest > 0
    positions = start + tf.range(num_tokens)[None] % tf.maximum(lengths - start, 1)
    token_ids = tf.gather(ids, tf.where(found, positions, 0), batch_dims=1)
    return Draft(token_ids, tf.where(found[:, 0], num_tokens, 0))


def draft_with_model(
    model: Any, cache: Cache, generated: DecodingState, inputs: DecodingInputs, *, num_tokens: int
) -> tuple[Draft, Cache]:
    """Drafts with a smaller model: plain decoding, with the rows' own settings, seeds and positions.

    If two models have similar probabilities, equal noise mostly draws equal tokens (Daliri et al. 2024, arXiv:2408.07978).

    Args:
        cache: of the tokens that the smaller model has read. Rejected drafts are removed from it.
        generated: at least one token in each row. num_tokens: K.

    Returns:
        The drafts, and the cache with the tokens read for them.
    """
    count = generated.num_tokens
    budget = tf.minimum(inputs.budget - 1, count + num_tokens)
    inputs = inputs._replace(budget=budget, shared=inputs.shared._replace(stop=None))
    # If all drafts were accepted, the smaller model has not read the last of them: it reads two tokens.
    positions = positions_of(model.config, inputs.prompts.lengths[:, None], count[:, None] + tf.constant([[-1, 0]]))
    cache = with_room(rollback(cache, positions[:, 0]), num_tokens + 1)
    hidden, cache = hidden_states(model, last_tokens(past_of(generated, inputs), 2), positions, cache)
    finish = tf.where(count < budget, generated.finish, LENGTH)
    state = generated._replace(finish=finish, top=(), cache=cache)
    state = continue_rows(model, inputs, choose_next(model.logits(hidden[:, 1], options=DECODING), state, inputs))
    indices = tf.minimum(count[:, None] + tf.range(num_tokens), tf.shape(state.tokens)[0] - 1)
    return Draft(tf.gather(tf.transpose(state.tokens), indices, batch_dims=1), state.num_tokens - count), state.cache
