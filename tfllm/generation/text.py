"""Strings in, strings out: `generate` and `stream`.

Enters: a model, its tokenizer, prompts, settings. Leaves: `Generation` records, or pieces of text as they come.
The graph is traced once a model and kind of settings (`tracing.py`), whatever the batch and the lengths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from tfllm.generation import strategies
from tfllm.generation.config import GenerationConfig, config_of
from tfllm.generation.decoding_state import EOS, LENGTH, RUNNING, STOP, Results
from tfllm.generation.inputs import as_texts, check_inputs, config_of_each, tokenized
from tfllm.generation.row_settings import rows_of
from tfllm.generation.setting import REPLACEMENT_CHARACTER, invalid
from tfllm.generation.shared_settings import shared_settings_of
from tfllm.generation.tracing import Functions, functions_of, tensors_of
from tfllm.layers.onednn import hide_integer_notice
from tfllm.models import folder
from tfllm.models.base import LanguageModel
from tfllm.models.inference import InferenceModel
from tfllm.tokenizers import Tokenizer

FinishReason = Literal["eos", "stop", "length"]
_REASONS: dict[int, FinishReason] = {EOS: "eos", STOP: "stop", LENGTH: "length"}


class Alternative(NamedTuple):
    """One of the most probable tokens of a step."""

    token_id: int
    log_prob: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """One continuation of one prompt."""

    prompt: str
    text: str
    """The continuation without the prompt, cut before the first stop string."""
    token_ids: list[int]
    """Every token chosen: the closing separator, and those of a stop string, included."""
    log_probs: list[float]
    """log p of each token under the model, in nats, before penalties, temperature and truncation."""
    num_tokens: int
    finish_reason: FinishReason
    """"eos": the model closed the document; "stop": a stop string appeared; "length": the budget is spent."""
    top_log_probs: list[list[Alternative]] = dataclasses.field(default_factory=list)
    """Of each token: the most probable ones in its place, the best first, as many as the config's `top_log_probs`."""
    score: float | None = None
    """Of a beam search: the sum of the log-probabilities after penalties, over num_tokens ** length_penalty."""
    num_draft_tokens: int = 0
    """Of speculative decoding: tokens drafted for this continuation."""
    num_accepted_tokens: int = 0
    """How many of them were what the model says; over `num_draft_tokens`, the acceptance rate."""


def generate(
    model: LanguageModel | InferenceModel | str | Path,
    tokenizer: Tokenizer | str | Path,
    prompts: str | Sequence[str],
    config: GenerationConfig | Sequence[GenerationConfig] | None = None,
    *,
    draft_model: LanguageModel | InferenceModel | str | Path | None = None,
    **overrides: Any,
) -> list[Generation]:
    """Continues prompts, all in one batch.

    >>> [answer] = tfllm.generate(model, tokenizer, "def main(", max_new_tokens=20)
    >>> answer.prompt + answer.text

    Args:
        model, tokenizer: a decoder and its tokenizer, or the paths of their folders (for one call: each call loads them anew);
            `tfllm.for_inference(model)` reads the weights faster.
        prompts: any text, the empty one too; each is opened by the tokenizer's `bos_id`.
        config: the settings, or one config a prompt; `overrides` change single ones (`temperature=0.8`).
        draft_model: a smaller model of the same tokenizer, which drafts `num_draft_tokens` at a time for `model` to check:
            the same texts, sooner.

    Returns:
        `num_sequences` records a prompt, in the prompts' order: those of prompt i are `[i * n : (i + 1) * n]`.
        With a seed, a record depends on its prompt, the settings and its number among its prompt's only.
        Of a beam search the best comes first; where it found fewer, the last are empty and have a score of -infinity.

    Raises:
        TypeError: the model is no model, or the tokenizer no tokenizer.
        ValueError: a setting is not accepted, the tokenizer is not the model's, or prompt and continuation are longer
            than a model with learned positions can place. Other models may go beyond `max_length`, at the text's cost.
            Configs of several prompts differ in what a row cannot have for itself. The draft model has another vocabulary,
            ends before the model does, or `num_draft_tokens` is 0.
    """
    hide_integer_notice()
    texts = as_texts(prompts)
    configs = config_of_each(texts, config, overrides)
    if not texts:
        return []
    model, tokenizer = folder.get_both(model, tokenizer)
    draft_model = None if draft_model is None else folder.get(draft_model)
    check_inputs(model, tokenizer, configs, draft_model)
    padded, settings = tokenized(model, tokenizer, texts, configs), rows_of(configs)
    shared = shared_settings_of(configs[0], tokenizer)
    found = functions_of(model, tokenizer, shared, draft_model).decode(padded, settings, tensors_of(shared))
    return _records(tf.nest.map_structure(lambda each: each.numpy(), found), texts, tokenizer, configs[0])


def _records(found: Results, texts: Sequence[str], tokenizer: Tokenizer, config: GenerationConfig) -> list[Generation]:
    """From arrays to records, a row each; `num_sequences` rows a text."""
    rows = [ids[:count].tolist() for ids, count in zip(found.token_ids, found.num_tokens, strict=True)]
    answers = [_cut(text, config.stop) for text in tokenizer.decode_batch(rows)]
    return [
        Generation(
            prompt=texts[i // config.num_sequences],
            text=answers[i],
            token_ids=row,
            log_probs=found.log_probs[i, : len(row)].tolist(),
            num_tokens=len(row),
            finish_reason=_REASONS[int(found.finish[i])],
            top_log_probs=_alternatives(found, i),
            score=float(found.scores[i]) if config.num_beams > 1 else None,
            num_draft_tokens=int(found.num_draft_tokens[i]) if config.num_draft_tokens else 0,
            num_accepted_tokens=int(found.num_accepted_tokens[i]) if config.num_draft_tokens else 0,
        )
        for i, row in enumerate(rows)
    ]


def _alternatives(found: Results, row: int) -> list[list[Alternative]]:
    if not found.top:
        return []
    ids, log_probs = (each[row, : found.num_tokens[row]].tolist() for each in found.top)
    return [list(map(Alternative, *step)) for step in zip(ids, log_probs, strict=True)]


def stream(
    model: LanguageModel | InferenceModel | str | Path,
    tokenizer: Tokenizer | str | Path,
    prompt: str,
    config: GenerationConfig | None = None,
    *,
    draft_model: LanguageModel | InferenceModel | str | Path | None = None,
    **overrides: Any,
) -> Iterator[str]:
    """The text `generate` gives for one prompt, in pieces, as it comes.

    Pieces are whole characters. What may be the beginning of a stop string waits until that is known.

    Raises:
        ValueError: as `generate`, and where `num_sequences` or `num_beams` is not 1; at the call, not at the first piece.
    """
    hide_integer_notice()
    config = config_of(config, overrides)
    if not isinstance(prompt, str):
        raise invalid("prompt", prompt, "one string", "Use tfllm.generate for several prompts.")
    for name in ("num_sequences", "num_beams"):
        if (given := getattr(config, name)) != 1:
            raise invalid(name, given, "1 in a stream, which gives one text as it comes", "Use tfllm.generate.")
    model, tokenizer = folder.get_both(model, tokenizer)
    draft_model = None if draft_model is None else folder.get(draft_model)
    check_inputs(model, tokenizer, [config], draft_model)
    shared = shared_settings_of(config, tokenizer)
    inputs = (tokenized(model, tokenizer, [prompt], [config]), rows_of([config]), tensors_of(shared))
    return _pieces((model, draft_model), functions_of(model, tokenizer, shared, draft_model), inputs, tokenizer, config)


def _pieces(
    models: tuple[Any, ...], functions: Functions, inputs: tuple[Any, ...], tokenizer: Tokenizer, config: GenerationConfig
) -> Iterator[str]:
    """The pieces. It holds `models`, for the functions do not."""
    state = functions.begin(*inputs)
    given = ""
    while True:
        generated = strategies.generated(state)
        ended = int(generated.finish[0]) != RUNNING
        text = tokenizer.decode(generated.tokens[: int(generated.num_tokens[0]), 0].numpy())
        text = _cut(text, config.stop) if ended else _certain(text, config.stop)
        if len(text) > len(given):
            yield text[len(given) :]
            given = text
        if ended:
            return
        state = functions.advance(state, *inputs)


def _certain(text: str, stop: Sequence[str]) -> str:
    """The part of an unfinished text that no token to come can change.

    "caf\ufffd", () -> "caf"            the character is not whole yet
    "one\n", ("\n\n",) -> "one"         the line break may be half of a stop string
    """
    text = text.rstrip(REPLACEMENT_CHARACTER)
    cut = _cut(text, stop)
    if cut != text:
        return cut
    open_ends = (n for end in stop for n in range(len(end) - 1, 0, -1) if text.endswith(end[:n]))
    return text[: len(text) - max(open_ends, default=0)]


def _cut(text: str, stop: Sequence[str]) -> str:
    """ "one. two", (".", "two") -> "one"."""
    return text[: min((at for end in stop if (at := text.find(end)) >= 0), default=len(text))]
