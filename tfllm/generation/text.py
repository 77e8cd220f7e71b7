"""Strings in, strings out: `generate` and `stream`.

Enters: a model, its tokenizer, prompts, settings. Leaves: `Generation` records, or pieces of text as they come.
The graph is traced once a model (and once a size of stop strings), whatever the batch and the lengths.
"""

from __future__ import annotations

import dataclasses
import functools
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfllm.generation import decode
from tfllm.generation.config import REPLACEMENT, GenerationConfig
from tfllm.generation.decode import Results, State, Stop
from tfllm.generation.reading import Prompts, is_on_mesh
from tfllm.generation.sampling import SETTING_DTYPES, Settings
from tfllm.layers.counter_random import fold_in
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.tokenizers import Tokenizer

FinishReason = Literal["eos", "stop", "length"]
_REASONS: dict[int, FinishReason] = {decode.EOS: "eos", decode.STOP: "stop", decode.LENGTH: "length"}
_STREAMED_AT_ONCE = 4
# Tokens looked at for stop strings, in powers of two from here on, so that few functions are traced.
_LEAST_WINDOW = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """One continuation of one prompt."""

    prompt: str
    text: str
    """The continuation without the prompt, cut before the first stop string."""
    token_ids: list[int]
    """Every token chosen: the closing separator, and those of a stop string, included."""
    log_probs: list[float]
    """log p of each token under the model, in nats, before penalty, temperature and truncation."""
    num_tokens: int
    finish_reason: FinishReason
    """"eos": the model closed the document; "stop": a stop string appeared; "length": the budget is spent."""


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    config: GenerationConfig | None = None,
    **overrides: Any,
) -> list[Generation]:
    """Continues prompts, all in one batch.

    >>> [answer] = tfllm.generate(model, tokenizer, "def main(", max_new_tokens=20)
    >>> answer.prompt + answer.text

    Args:
        prompts: any text, the empty one too; each is opened by the separator, as documents are in training.
        config: the settings; `overrides` change single ones (`temperature=0.8`).

    Returns:
        `num_sequences` records a prompt, in the prompts' order: those of prompt i are `[i * n : (i + 1) * n]`.
        With a seed, a record depends on its prompt, the settings and its number among its prompt's only.

    Raises:
        ValueError: a setting is not accepted, the tokenizer is not the model's, or prompt and continuation are longer
            than a model with learned positions can place. Other models may go beyond `max_length`, at the text's cost.
    """
    config = (config or GenerationConfig()).replace(**overrides)
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    _check_fit(model, tokenizer)
    if not texts:
        return []
    padded = _pad(model, tokenizer, texts, config)
    functions = _functions(model, tokenizer, config)
    found = Results(*(each.numpy() for each in functions.decode(*padded, *_rows(config, len(texts)), *_pattern(config))))
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
        )
        for i, row in enumerate(rows)
    ]


def stream(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, config: GenerationConfig | None = None, **overrides: Any
) -> Iterator[str]:
    """The text `generate` gives for one prompt, in pieces, as it comes.

    Pieces are whole characters. What may be the beginning of a stop string waits until that is known.

    Raises:
        ValueError: as `generate`, and where `num_sequences` is not 1; at the call, not at the first piece.
    """
    config = (config or GenerationConfig()).replace(**overrides)
    if not isinstance(prompt, str) or config.num_sequences != 1:
        raise ValueError(
            f"stream continues one prompt once, got {type(prompt).__name__} and num_sequences="
            f"{config.num_sequences}: use tfllm.generate for more"
        )
    _check_fit(model, tokenizer)
    padded = _pad(model, tokenizer, [prompt], config)
    functions = _functions(model, tokenizer, config)
    return _pieces(model, functions, padded, tokenizer, config)


def _pieces(
    model: LanguageModel, functions: _Functions, padded: Prompts, tokenizer: Tokenizer, config: GenerationConfig
) -> Iterator[str]:
    """The pieces. It holds `model`, for the functions do not."""
    settings = _rows(config, 1)
    state = functions.begin(*padded, *settings, *_pattern(config))
    given = ""
    while True:
        ended = int(state.finish[0]) != decode.RUNNING
        text = tokenizer.decode(state.tokens[: int(state.num_tokens[0]), 0].numpy())
        text = _cut(text, config.stop) if ended else _certain(text, config.stop)
        if len(text) > len(given):
            yield text[len(given) :]
            given = text
        if ended:
            return
        state = functions.advance(state, *padded, *settings, *_pattern(config))


def _certain(text: str, stop: Sequence[str]) -> str:
    """The part of an unfinished text that no token to come can change.

    "caf\ufffd", () -> "caf"            the character is not whole yet
    "one\n", ("\n\n",) -> "one"         the line break may be half of a stop string
    """
    text = text.rstrip(REPLACEMENT)
    cut = _cut(text, stop)
    if cut != text:
        return cut
    open_ends = (n for end in stop for n in range(len(end) - 1, 0, -1) if text.endswith(end[:n]))
    return text[: len(text) - max(open_ends, default=0)]


def _cut(text: str, stop: Sequence[str]) -> str:
    """ "one. two", (".", "two") -> "one"."""
    return text[: min((at for end in stop if (at := text.find(end)) >= 0), default=len(text))]


def _check_fit(model: LanguageModel, tokenizer: Tokenizer) -> None:
    if not model.config.causal:
        raise ValueError(f"a {type(model).__name__} does not continue texts; tfllm.predict asks it what it knows")
    check_tokenizer(model, tokenizer)


def _pad(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str], config: GenerationConfig) -> Prompts:
    """["ab", ""] -> token_ids [[1, 100, 101], [1, 0, 0]], lengths [3, 1] (bytes as tokens)."""
    rows = [[tokenizer.bos_id, *ids] for ids in tokenizer.encode_batch(texts)]
    limit = model.config.max_length
    if model.config.positions == "learned":
        for text, row in zip(texts, rows, strict=True):
            if len(row) + config.max_new_tokens > limit:
                raise ValueError(
                    f"the prompt {text[:40]!r}… has {len(row)} tokens, its opening separator included, and max_new_tokens="
                    f"{config.max_new_tokens}: together more than max_length={limit}, where the model's learned positions "
                    f"end. Shorten the prompt, or set max_new_tokens to {max(0, limit - len(row))} or less"
                )
    longest = max(map(len, rows))
    padded = np.full([len(rows), longest], tokenizer.pad_id, np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return Prompts(tf.constant(padded), tf.constant([len(row) for row in rows], tf.int32))


def _rows(config: GenerationConfig, prompts: int) -> Settings:
    """The settings of `num_sequences` rows a prompt. The first sequence has the seed itself, as a row of an export has."""
    seed = secrets.randbelow(2**31) if config.seed is None else config.seed
    number = tf.range(config.num_sequences)
    seeds = tf.where(number == 0, seed, fold_in(tf.constant(seed), number))
    rows = prompts * config.num_sequences
    shared = {field: tf.fill([rows], getattr(config, field)) for field in Settings._fields if field != "seed"}
    return Settings(**shared, seed=tf.tile(seeds, [prompts]))


def _pattern(config: GenerationConfig) -> tuple[tf.Tensor, ...]:
    return (tf.constant(decode.stop_pattern(config.stop)),) if config.stop else ()


@dataclasses.dataclass(frozen=True)
class _Functions:
    """The traced functions of one model. Each takes (a state,) prompts, settings, and the stop pattern if any."""

    decode: Callable[..., Any]
    begin: Callable[..., State]
    advance: Callable[..., State]


# By model, then by tokenizer and window. The functions hold the model weakly, so it can go, and they with it.
_TRACED: weakref.WeakKeyDictionary[LanguageModel, dict[tuple[str, int], _Functions]] = weakref.WeakKeyDictionary()


def _functions(model: LanguageModel, tokenizer: Tokenizer, config: GenerationConfig) -> _Functions:
    longest = max((len(text.encode()) for text in config.stop), default=0)
    window = max(_LEAST_WINDOW, 1 << (longest - 1).bit_length()) if longest else 0
    key = (tokenizer.fingerprint() if window else "", window)
    traced = _TRACED.setdefault(model, {})
    if key not in traced:
        traced[key] = _trace(weakref.ref(model), tokenizer, window)
    return traced[key]


def _trace(model: Callable[[], Any], tokenizer: Tokenizer, window: int) -> _Functions:
    head = [
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        *(tf.TensorSpec([None], dtype) for dtype in SETTING_DTYPES),
        *([tf.TensorSpec([], tf.string)] if window else []),
    ]

    def split(tensors: Sequence[tf.Tensor]) -> tuple[Prompts, Settings, Stop | None]:
        stop = Stop(tensors[9], window, tokenizer.detokenize) if window else None
        return Prompts(*tensors[:2]), Settings(*tensors[2:9]), stop

    # On a mesh only the model's part is a graph: what is chosen from its scores is chosen outside.
    graph = (lambda **_: lambda call: call) if is_on_mesh(model()) else tf.function

    @graph(input_signature=head, autograph=False)
    def decode_all(*tensors: tf.Tensor) -> Results:
        prompts, settings, stop = split(tensors)
        return decode.results(decode.decode(model(), prompts, settings, stop=stop))

    @graph(input_signature=head, autograph=False)
    def begin(*tensors: tf.Tensor) -> State:
        prompts, settings, stop = split(tensors)
        with decode.matrices_cast_once(model()):
            return decode.begin(model(), prompts, settings, stop=stop)

    @graph(autograph=False)
    def advance(state: State, *tensors: Any) -> State:
        prompts, settings, stop = split(tensors)
        until = state.step + _STREAMED_AT_ONCE
        with decode.matrices_cast_once(model()):
            return decode.advance(model(), prompts, settings, state=state, until=until, stop=stop)

    @functools.cache
    def advance_any() -> Callable[..., State]:
        if is_on_mesh(model()):
            return advance
        state = tf.nest.map_structure(tf.type_spec_from_value, begin.get_concrete_function().structured_outputs)
        return advance.get_concrete_function(state, *head)

    return _Functions(decode=decode_all, begin=begin, advance=lambda *tensors: advance_any()(*tensors))
