"""Guesses at a row's next tokens, for `speculative.py` to check: by a smaller model, or copied from the row's own text.

Enters: what the rows have said. Leaves: up to K tokens a row. A guess decides how soon a text is there, never what it says.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation import decode
from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import LENGTH, Task, choose_next, loop, past_of, places_of
from tfllm.generation.penalties import Past, last_tokens, written_out
from tfllm.generation.reading import is_on_mesh, read
from tfllm.layers.cache import Cache, rewound, with_room
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
    """Guesses for B rows."""

    token_ids: tf.Tensor
    """int32 [B, K]."""
    count: tf.Tensor
    """int32 [B]: how many of a row's tokens are guesses."""


def look_up(past: Past, *, num_tokens: int, ngram_size: int) -> Draft:
    """What followed the last time that the row said what it ends with (Saxena 2023, prompt lookup decoding).

    Of the places before which stand the most of the row's last `ngram_size` tokens, the latest; what is copied beyond the row's
    end is copied from the copy.

        5 6 7 8 5 6      K 3    draft  7 8 5
        5 6 5            K 3           6 5 6
        5 6 7            K 3           (none)

    Args:
        num_tokens: K.
    """
    ids, lengths = written_out(past), (past.prompts.lengths + past.num_tokens)[:, None]
    place = tf.range(tf.shape(ids)[1])[None]
    same, matching = place < lengths, tf.zeros_like(ids)
    for back in range(1, ngram_size + 1):
        end = tf.gather(ids, tf.maximum(lengths - back, 0), batch_dims=1)
        same &= (place >= back) & (tf.roll(ids, back, axis=1) == end)
        matching += tf.cast(same, tf.int32)
    longest = tf.reduce_max(matching, 1, keepdims=True)
    start = tf.reduce_max(tf.where(matching == longest, place, 0), 1, keepdims=True)
    found = longest > 0
    places = start + tf.range(num_tokens)[None] % tf.maximum(lengths - start, 1)
    token_ids = tf.gather(ids, tf.where(found, places, 0), batch_dims=1)
    return Draft(token_ids, tf.where(found[:, 0], num_tokens, 0))


def draw_up(model: Any, cache: Cache, said: decode.State, task: Task, *, num_tokens: int) -> tuple[Draft, Cache]:
    """What a smaller model says next: plain decoding by it, with the rows' own settings, seeds and places.

    Equal noise mostly draws equal tokens where the models say much the same (Daliri et al. 2024, arXiv:2408.07978).

    Args:
        cache: of the tokens that the model has read; wrong guesses among them are taken back.
        said: with one token a row at least. num_tokens: K.

    Returns:
        The guesses, and the cache with what was read for them.
    """
    count = said.num_tokens
    task = task._replace(budget=tf.minimum(task.budget - 1, count + num_tokens), rules=task.rules._replace(stop=None))
    # All guesses may have been right, and the last of them is not read.
    places = places_of(model.config, task.prompts.lengths[:, None], count[:, None] + tf.constant([[-1, 0]]))
    cache = with_room(rewound(cache, places[:, 0]), num_tokens + 1)
    hidden, cache = read(model, last_tokens(past_of(said, task), 2), places, cache)
    finish = tf.where(count < task.budget, said.finish, LENGTH)
    state = said._replace(finish=finish, top=(), cache=cache)
    state = loop(model, task, choose_next(model.head(hidden[:, 1]), state, task))
    there = tf.minimum(count[:, None] + tf.range(num_tokens), tf.shape(state.tokens)[0] - 1)
    return Draft(tf.gather(tf.transpose(state.tokens), there, batch_dims=1), state.num_tokens - count), state.cache
