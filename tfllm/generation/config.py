"""How text is continued: one frozen record, the single source for Python, command line, run folder and export.

Enters: numbers and stop strings. Leaves: a validated `GenerationConfig` and its JSON, `generation.json` in a model folder.
Importing this imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tfllm.files import write_atomically
from tfllm.generation.checks import as_float, as_pairs, as_whole, check, check_text, check_texts
from tfllm.generation.other_names import translated
from tfllm.representation import settings_line

FILE = "generation.json"
_Config = TypeVar("_Config")


def _with_other_names(config: type[_Config]) -> type[_Config]:
    """The dataclass, whose constructor takes the names of other libraries, too, and refuses what nobody knows."""
    init = config.__init__

    @functools.wraps(init)
    def __init__(self: Any, **settings: Any) -> None:
        settings = translated(settings, config)
        _check_names(settings)
        init(self, **settings)

    config.__init__ = __init__  # type: ignore[method-assign]
    return config


@_with_other_names
@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Every setting of one call, of an export, or the defaults of a model folder.

    Transformers' names are taken where they mean the same (`num_return_sequences`, `stop_strings`, `do_sample`); the others
    are answered by the name here (other_names.py).

    The settings act in this order: logit bias, repetition penalty, frequency and presence penalty, repeated n-grams, least
    length, bad words, temperature, top-k, top-p, min-p; then a token is drawn. What `choices`, `regex` or `json_schema` do not
    allow is never drawn, whatever the others say.

    Raises:
        ValueError: a setting is out of range; the message names it and what it accepts.
    """

    max_new_tokens: int = 128
    """Longest continuation, in tokens, its closing separator included."""
    min_new_tokens: int = 0
    """The separator is not chosen before so many other tokens. A stop string ends the text all the same."""
    temperature: float = 0.0
    """Scores are divided by it. 0: always the most probable token (greedy); top-k, top-p and min-p do not matter then."""
    top_k: int = 0
    """Only the k most probable tokens, and those as probable as the k-th (Fan et al. 2018). 0: all. Of contrastive search: the
    candidates."""
    top_p: float = 1.0
    """Only the fewest tokens that together have this probability (Holtzman et al. 2020). 1: all."""
    min_p: float = 0.0
    """Only tokens at least this many times as probable as the most probable (Nguyen et al. 2024). 0: all."""
    repetition_penalty: float = 1.0
    """Scores of tokens that stand in the prompt or the continuation are divided by it where positive, else multiplied
    (Keskar et al. 2019). The separator is exempt: it opens every prompt. 1: off."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's score for each time it stands in the continuation (OpenAI's). 0: off."""
    presence_penalty: float = 0.0
    """Subtracted once from the score of each token that stands in the continuation (OpenAI's). 0: off."""
    no_repeat_ngram_size: int = 0
    """No n tokens in a row stand twice in prompt and continuation (Paulus et al. 2017). The separator is exempt. 0: off."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the scores of tokens; given as {id: bias}."""
    bad_words: tuple[str, ...] = ()
    """Never said: the last token of a word's tokens is not chosen behind the others. A word is tokenized as at the beginning of
    a text and as behind a space; spelled with other tokens it can still be said."""
    choices: tuple[str, ...] | None = None
    """The continuation is one of these, spelled as the tokenizer spells it, and then ends. Greedily it is the one whose tokens
    are the most probable one by one; a beam search with `length_penalty=0` and as many beams as choices finds the most probable
    text. None: anything."""
    regex: str = ""
    """The continuation matches this expression as a whole, unless its budget is spent before. Needs `tfllm[constrained]`."""
    json_schema: str = ""
    """The continuation is JSON of this schema, given as its text or a dict. Needs `tfllm[constrained]`."""
    top_log_probs: int = 0
    """How many of the most probable tokens to note at each step, with their log-probabilities."""
    num_beams: int = 1
    """Beam search: so many continuations are followed at once, and the best by their whole score are given. 1: off."""
    length_penalty: float = 1.0
    """A continuation's score is the sum of its log-probabilities over its length to this power (Wu et al. 2016). Above 0 long
    ones gain."""
    early_stopping: bool | str = False
    """When a beam search ends. True: with `num_beams` finished continuations. False: when the best running one, were it to end
    now, would not be among them. "never": when none can come among them, whatever its length."""
    num_beam_groups: int = 1
    """Beams in so many groups, each put off by the tokens that those before it choose (Vijayakumar et al. 2016)."""
    diversity_penalty: float = 0.0
    """Subtracted from a token's score for each beam of the groups before that takes it at this step."""
    penalty_alpha: float = 0.0
    """Contrastive search (Su et al. 2022): of the `top_k` most probable tokens the one whose probability, times one minus this,
    less its likeness to the text before, times this, is largest. 0: off."""
    num_draft_tokens: int = 0
    """Speculative decoding (Leviathan et al. 2023): so many tokens are drafted at once, by a draft model or, without one, by
    prompt lookup, and read in one pass. The text is the same, sooner where drafts are good. 0: off."""
    max_matching_ngram_size: int = 3
    """Of prompt lookup: the longest end of the text that is looked for in the text before; what followed there is the draft."""
    num_sequences: int = 1
    """Continuations of each prompt; in a beam search the best ones."""
    stop: tuple[str, ...] = ()
    """The continuation ends before the first of these strings."""
    seed: int | None = None
    """Of the random draws. The same prompt, settings and seed give the same text in any batch. None: a fresh one each call
    and prompt."""

    def __post_init__(self) -> None:
        fill = object.__setattr__
        for field in _TEXTS:
            given = getattr(self, field)
            if given is not None or field != "choices":
                check_texts(field, given)
                fill(self, field, (given,) if isinstance(given, str) else tuple(given))
        fill(self, "logit_bias", as_pairs(self.logit_bias))
        if isinstance(self.json_schema, Mapping):
            fill(self, "json_schema", json.dumps(self.json_schema, ensure_ascii=False))
        for field, least in _WHOLES.items():
            fill(self, field, as_whole(field, getattr(self, field), least))
        if self.seed is not None:
            fill(self, "seed", as_whole("seed", self.seed, 0))
        for field in _REALS:
            fill(self, field, as_float(field, getattr(self, field)))
        self._check_ranges()

    def _check_ranges(self) -> None:
        check(
            self.min_new_tokens <= self.max_new_tokens,
            "min_new_tokens",
            self.min_new_tokens,
            f"at most max_new_tokens, {self.max_new_tokens}",
        )
        check(self.temperature >= 0, "temperature", self.temperature, "at least 0 (0 is greedy)")
        check(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1] (1 is off)")
        check(0 <= self.min_p < 1, "min_p", self.min_p, "in [0, 1) (0 is off)")
        check(
            self.repetition_penalty > 0,
            "repetition_penalty",
            self.repetition_penalty,
            "greater than 0 (1 is off)",
        )
        self._check_constraint()
        self._check_beams()
        self._check_contrast()
        if self.num_draft_tokens and self.searches:
            raise ValueError(
                f"num_draft_tokens={self.num_draft_tokens} drafts one continuation, and a beam or contrastive search follows "
                "several: leave it out, or num_beams and penalty_alpha"
            )
        if self.num_sequences > 1 and self.temperature == 0 and self.num_beams == 1:
            raise ValueError(
                f"num_sequences={self.num_sequences} with temperature=0 would give one text several times: "
                "set temperature or num_beams, or leave num_sequences out"
            )

    def _check_constraint(self) -> None:
        check(self.choices != (), "choices", self.choices, "at least one text, or None for no constraint")
        given = [field for field in ("choices", "regex", "json_schema") if getattr(self, field)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say what the continuation may be: give one of them")
        for field in ("regex", "json_schema"):
            if getattr(self, field) != "":
                check_text(field, getattr(self, field))
        if self.json_schema:
            try:
                json.loads(self.json_schema)
            except ValueError as error:
                raise ValueError(f"json_schema={self.json_schema!r:.80} is not JSON ({error})") from error

    def _check_beams(self) -> None:
        by_name = self.early_stopping == "never"
        check(by_name or isinstance(self.early_stopping, bool), "early_stopping", self.early_stopping, 'True, False or "never"')
        check(self.diversity_penalty >= 0, "diversity_penalty", self.diversity_penalty, "at least 0")
        for field in ("num_beam_groups", "diversity_penalty"):
            given = getattr(self, field)
            if self.num_beams == 1 and given != getattr(GenerationConfig, field):
                raise ValueError(f"{field}={given} belongs to a beam search: set num_beams")
        if self.num_beams == 1:
            return
        check(
            self.num_beams % self.num_beam_groups == 0,
            "num_beams",
            self.num_beams,
            f"a multiple of num_beam_groups, {self.num_beam_groups}",
        )
        check(self.num_sequences <= self.num_beams, "num_sequences", self.num_sequences, f"at most num_beams, {self.num_beams}")
        check(self.temperature == 0, "temperature", self.temperature, "0 with num_beams: a beam search draws nothing")
        check(self.top_log_probs == 0, "top_log_probs", self.top_log_probs, "0 with num_beams")

    def _check_contrast(self) -> None:
        check(0 <= self.penalty_alpha < 1, "penalty_alpha", self.penalty_alpha, "in [0, 1) (0 is off)")
        if self.penalty_alpha == 0:
            return
        check(self.top_k >= 2, "top_k", self.top_k, "at least 2 with penalty_alpha: the candidates of each step")
        for field, off in (("temperature", 0), ("num_beams", 1), ("num_sequences", 1)):
            check(getattr(self, field) == off, field, getattr(self, field), f"{off} with penalty_alpha")

    @property
    def searches(self) -> bool:
        """Is more than one continuation looked at, and nothing drawn?"""
        return self.num_beams > 1 or self.penalty_alpha > 0

    def replace(self, **changes: Any) -> GenerationConfig:
        """This config with some settings changed.

        >>> GenerationConfig().replace(temperature=0.8).temperature
        0.8

        Raises:
            ValueError: a setting is unknown or its value not accepted.
        """
        changes = translated(changes, self)
        _check_names(changes)
        return dataclasses.replace(self, **changes)

    __repr__ = settings_line

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: ids of `logit_bias` are strings there."""
        texts = {field: list(texts) for field in _TEXTS if (texts := getattr(self, field)) is not None}
        return dataclasses.asdict(self) | texts | {"logit_bias": {str(token): bias for token, bias in self.logit_bias}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationConfig:
        """The inverse of `to_dict`; settings left out have their defaults.

        Raises:
            ValueError: a setting is unknown or its value not accepted.
        """
        return cls(**values)

    def save(self, folder: str | Path) -> Path:
        """Writes `generation.json` into `folder`: the old file or the new one, never a part."""
        path = Path(folder) / FILE
        write_atomically(path, [(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()])
        return path

    @classmethod
    def load(cls, folder: str | Path) -> GenerationConfig:
        """What `save` wrote to `folder`; the defaults where there is no such file.

        Raises:
            FileNotFoundError: `folder` is no folder.
            ValueError: the file is not JSON, or a setting not accepted.
        """
        path = Path(folder) / FILE
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; {FILE} is looked for in a model's folder")
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}); write it anew with GenerationConfig.save") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds {type(values).__name__}, not settings by name")
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def config_of(config: GenerationConfig | None, overrides: dict[str, Any]) -> GenerationConfig:
    """The config, or the defaults, with some settings changed.

    Raises:
        ValueError: it is no config, or a setting is unknown or its value not accepted.
    """
    if config is not None and not isinstance(config, GenerationConfig):
        raise ValueError(
            f"config={config!r:.80} must be a GenerationConfig; single settings are given by name: temperature=0.8"
        )
    return (config or GenerationConfig()).replace(**overrides)


_TEXTS = ("stop", "bad_words", "choices")
_WHOLES = {
    "max_new_tokens": 1,
    "min_new_tokens": 0,
    "top_k": 0,
    "no_repeat_ngram_size": 0,
    "top_log_probs": 0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_draft_tokens": 0,
    "max_matching_ngram_size": 1,
    "num_sequences": 1,
}
"""The least value of each."""
_REALS = (
    *("temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"),
    *("length_penalty", "diversity_penalty", "penalty_alpha"),
)


def _check_names(values: Mapping[str, Any]) -> None:
    fields = [field.name for field in dataclasses.fields(GenerationConfig)]
    if unknown := sorted(set(values) - set(fields)):
        near = [name for each in unknown for name in _nearest(each, fields)]
        meant = f" (perhaps {' and '.join(near)}?)" if near else ""
        raise ValueError(f"GenerationConfig has no {', '.join(unknown)}{meant}; its settings are {', '.join(fields)}")


def _nearest(name: str, fields: list[str]) -> list[str]:
    """The field that a wrong name abbreviates, or else resembles; none where none does."""
    return [field for field in fields if field.startswith(name)][:1] or difflib.get_close_matches(name, fields, 1, cutoff=0.7)
