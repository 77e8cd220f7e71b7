"""Text generation from strings to strings: `generate` and `stream`.

Input: a model, its tokenizer, prompts and settings. Output: `Generation` records, or the text piece by piece.
The graph is traced once for each model and kind of settings (`tracing.py`), for any batch size and any lengths.
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
    """All chosen tokens, with the closing separator and the tokens of a stop string."""
    log_probs: list[float]
    """log p of each token under the model alone, in nats: before penalties, temperature and truncation."""
    num_tokens: int
    finish_reason: FinishReason
    """"eos": the model chose the separator; "stop": a stop string occurred; "length": `max_new_tokens` was reached."""
    top_log_probs: list[list[Alternative]] = dataclasses.field(default_factory=list)
    """For each step, the most probable tokens, the best first: as many as the config's `top_log_probs`."""
    score: float | None = None
    """In a beam search: the sum of log-probabilities after penalties, divided by num_tokens ** length_penalty."""
    num_draft_tokens: int = 0
    """In speculative decoding: the number of tokens drafted for this continuation."""
    num_accepted_tokens: int = 0
    """How many of them were accepted. Divided by `num_draft_tokens`, it is the acceptance rate."""


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
        model, tokenizer: a decoder and its tokenizer, or the paths of their folders, which each call loads again.
            `tfllm.for_inference(model)` decodes faster.
        prompts: one string or several. The empty string is allowed. The tokenizer's `bos_id` is put before each.
        config: the settings, or a list with one config for each prompt.
        draft_model: a smaller model with the same tokenizer. It drafts `num_draft_tokens` at a time, and `model` checks them.
            The texts are the same, and they come sooner.
        overrides: single settings by name (`temperature=0.8`). They replace those of `config`.

    Returns:
        `num_sequences` = n records for each prompt, in the prompts' order: those of prompt i are `[i * n : (i + 1) * n]`.
        With a seed, a record depends only on its prompt, its settings, and its number among the records of its prompt.
        A beam search gives the best first. If it found fewer than n, the last records are empty, with a score of -infinity.

    Raises:
        TypeError: `model` is not a model, or `tokenizer` not a tokenizer.
        ValueError: a setting is not accepted; the tokenizer is not the model's; prompt and continuation are longer than learned
            positions reach (other models can exceed `max_length`, with worse texts); the configs of several prompts differ in a
            setting that they must share; or the draft model does not fit.
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
    """One record for each row of the arrays; `num_sequences` rows for each text."""
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
    """Continues one prompt and yields the text of `generate` piece by piece.

    Pieces are whole characters. Text that may be the beginning of a stop string is held back until this is certain.

    >>> for piece in tfllm.stream(model, tokenizer, "def main(", max_new_tokens=20):
    ...     print(piece, end="")

    Args:
        model, tokenizer, config, draft_model, overrides: as of `generate`.
        prompt: one string.

    Raises:
        ValueError: as `generate`; or `num_sequences` or `num_beams` is not 1. It is raised by the call, not by the first piece.
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
    """The pieces of text. `models` keeps the models alive, because the functions refer to them weakly."""
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
    """The part of an unfinished text that no later token can change.

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
