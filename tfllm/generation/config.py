"""Every setting of text generation, each defined once.

A field of `GenerationConfig` gives the default, the accepted values, a help text, and whether each row of a batch may have its
own value. To add a setting: add a field here, use it where it takes effect, and add it to docs/generation.md.

Input: settings by name. Output: a `GenerationConfig`, and its JSON file `generation.json` in a model folder.
Importing this module does not import TensorFlow.
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
from tfllm.generation.combinations import check_combinations
from tfllm.generation.other_names import translated
from tfllm.generation.setting import (
    Biases,
    JsonSchema,
    OneOf,
    Text,
    Texts,
    integer,
    invalid,
    real,
    setting,
    settings_of,
)
from tfllm.representation import settings_line

FILE = "generation.json"
SMALLEST, LARGEST = 1e-9, 1e9
"""Limits of numbers that scores are divided by or that are added to scores: float32 holds the results."""
_Config = TypeVar("_Config")


def _with_other_names(config: type[_Config]) -> type[_Config]:
    """The dataclass with a constructor that also takes other libraries' names, and rejects names that nobody knows."""
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

    Names of Hugging Face Transformers are accepted where they mean the same (`num_return_sequences`, `stop_strings`,
    `do_sample`). For other names of theirs, the error says which setting to use here (other_names.py).

    The settings act in this order: logit bias, repetition penalty, frequency and presence penalty, repeated n-grams, minimum
    length, bad words, temperature, top-k, top-p, min-p. Then a token is drawn. Tokens that `choices`, `regex` or `json_schema`
    do not allow are never drawn, whatever the other settings are.

    Raises:
        ValueError: a setting has a value that it does not accept, or two settings do not go together.
    """

    max_new_tokens: int = setting(
        128, integer(1), "Longest continuation in tokens. The separator that ends the text counts, too.", sample_rows=(4, 3)
    )
    min_new_tokens: int = setting(
        0,
        integer(0),
        "The separator is not chosen until this many tokens have been chosen. A stop string may still end the text earlier.",
        sample_rows=(0, 1),
    )
    temperature: float = setting(
        0.0,
        real(SMALLEST, LARGEST, or_zero=True),
        "Scores are divided by it before a token is drawn. 0: always the most probable token (greedy search).",
        sample_rows=(0.0, 1.0),
        only_for_draws=True,
    )
    top_k: int = setting(
        0,
        integer(0),
        "Draw from the k most probable tokens only (Fan et al. 2018). 0: all. In contrastive search: the "
        "number of candidates, at least 2.",
        sample_rows=(0, 40),
        only_for_draws=True,
    )
    top_p: float = setting(
        1.0,
        real(SMALLEST, 1),
        "Draw from the fewest tokens that together have this probability (Holtzman et al. 2020). 1: all.",
        sample_rows=(1.0, 0.9),
        only_for_draws=True,
    )
    min_p: float = setting(
        0.0,
        real(0, 1, below_most=True),
        "Draw only from tokens whose probability is at least `min_p` times the highest one (Nguyen et al. 2024). 0: all.",
        sample_rows=(0.0, 0.05),
        only_for_draws=True,
    )
    repetition_penalty: float = setting(
        1.0,
        real(SMALLEST, LARGEST),
        "Above 1, tokens of the prompt and of the continuation become less probable (Keskar et al. 2019). 1: off.",
        sample_rows=(1.0, 1.1),
    )
    """Positive scores are divided by it, negative ones multiplied. The separator is exempt, because it opens every prompt."""
    frequency_penalty: float = setting(
        0.0,
        real(-LARGEST, LARGEST),
        "Subtracted from a token's score for each time the token occurs in the continuation (as in OpenAI's API). 0: off.",
        sample_rows=(0.0, 0.1),
    )
    presence_penalty: float = setting(
        0.0,
        real(-LARGEST, LARGEST),
        "Subtracted once from the score of each token that occurs in the continuation (as in OpenAI's API). 0: off.",
        sample_rows=(0.0, 0.1),
    )
    no_repeat_ngram_size: int = setting(
        0,
        integer(0),
        "No sequence of n tokens occurs twice in prompt and continuation (Paulus et al. 2017). 0: off.",
        sample_rows=(0, 3),
    )
    """The separator is exempt."""
    logit_bias: tuple[tuple[int, float], ...] = setting(
        (), Biases(real(-LARGEST, LARGEST)), "Added to the scores of tokens: a number for each token id."
    )
    bad_words: tuple[str, ...] = setting((), Texts(), "Texts that the continuation must not contain.")
    """The last token of a word is not chosen after its other tokens. A word is tokenized as at the beginning of a text and as
    after a space; spelled with other tokens, it can still occur."""
    choices: tuple[str, ...] | None = setting(
        None, Texts(or_none=True), "The continuation is one of these texts, or its beginning if `max_new_tokens` is too small."
    )
    """Each is spelled as the tokenizer spells it. Greedy search takes the most probable token at each step; a beam search with
    `length_penalty=0` and as many beams as choices finds the most probable text."""
    regex: str = setting(
        "", Text(), "The whole continuation matches this regular expression. Needs `pip install '.[constrained]'`."
    )
    """A text that reaches `max_new_tokens` first ends in the middle. The same holds for `choices` and `json_schema`."""
    json_schema: str = setting(
        "", JsonSchema(), "The continuation is JSON of this schema. Needs `pip install '.[constrained]'`."
    )
    top_log_probs: int = setting(
        0, integer(0), "Also return this many of the most probable tokens of each step, with their log-probabilities."
    )
    num_beams: int = setting(
        1, integer(1), "Beam search: this many continuations are followed at once, and the best are returned. 1: off."
    )
    length_penalty: float = setting(
        1.0,
        real(-LARGEST, LARGEST),
        "In beam search, a score is the sum of log-probabilities after penalties, divided by length to this "
        "power (Wu et al. 2016).",
    )
    """Above 0, longer texts gain."""
    early_stopping: bool | str = setting(False, OneOf((True, False, "never")), "When a beam search ends: see below.")
    """True: as soon as `num_beams` continuations have ended. False: when the best running one, if it ended now, would not be
    among the best. "never": when no running one can come among the best at any length."""
    num_beam_groups: int = setting(
        1, integer(1), "Beams are split into this many groups. `diversity_penalty` makes them differ (Vijayakumar et al. 2016)."
    )
    diversity_penalty: float = setting(
        0.0,
        real(0, LARGEST),
        "With beam groups: subtracted from a token's score for each beam of an earlier group that takes it at this step.",
    )
    penalty_alpha: float = setting(
        0.0,
        real(0, 1, below_most=True),
        "Contrastive search (Su et al. 2022): the weight of the similarity to earlier tokens, against probability. 0: off.",
    )
    """Of the `top_k` most probable tokens, the one is chosen for which (1 - alpha) * probability - alpha * similarity is
    largest."""
    num_draft_tokens: int = setting(
        0,
        integer(0),
        "Speculative decoding (Leviathan et al. 2023): up to this many tokens are drafted and checked at once. 0: off.",
    )
    """The draft model drafts, or, without one, prompt lookup. The text is the same, and sooner where drafts are good."""
    max_matching_ngram_size: int = setting(
        3,
        integer(1),
        "Prompt lookup searches the earlier text for its last n tokens. This is the largest n; smaller n are tried next.",
    )
    num_sequences: int = setting(1, integer(1), "Continuations of each prompt; in beam search, the best ones.")
    stop: tuple[str, ...] = setting(
        (), Texts(), "Generation ends when one of these strings appears. `text` is cut before it; `token_ids` contains it."
    )
    seed: int | None = setting(
        None,
        integer(0, or_none=True),
        "Seed of the draws: the same prompt, settings and seed give the same text. None: another seed for "
        "each prompt and call.",
        sample_rows=(0, 1),
        only_for_draws=True,
    )
    """The text does not depend on the other prompts of the batch."""

    def __post_init__(self) -> None:
        for each in settings_of(self):
            object.__setattr__(self, each.name, each.convert(getattr(self, each.name)))
        check_combinations(self)

    @property
    def searches(self) -> bool:
        """Is this a beam search or a contrastive search? These follow several continuations and draw nothing."""
        return self.num_beams > 1 or self.penalty_alpha > 0

    def replace(self, **changes: Any) -> GenerationConfig:
        """A copy of this config with some settings changed.

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
        """The settings as JSON values. The token ids of `logit_bias` become strings."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return values | {"logit_bias": {str(token): bias for token, bias in self.logit_bias}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationConfig:
        """The config of such a dict. Settings that are not in it have their defaults.

        Raises:
            ValueError: a setting is unknown or its value not accepted.
        """
        return cls(**values)

    def save(self, folder: str | Path) -> Path:
        """Writes `generation.json` into `folder`. After a crash, the folder has the old file or the new one, never a part."""
        path = Path(folder) / FILE
        write_atomically(path, [(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()])
        return path

    @classmethod
    def load(cls, folder: str | Path) -> GenerationConfig:
        """The config that `save` wrote to `folder`, or the defaults if there is no such file.

        Raises:
            FileNotFoundError: `folder` is not a folder.
            ValueError: the file is not JSON, or a setting in it is not accepted.
        """
        path = Path(folder) / FILE
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"folder={str(folder)!r} is invalid: expected a folder. Give the folder of a model.")
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}). Write it again with GenerationConfig.save.") from error
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} contains a {type(values).__name__}: expected an object of settings. Write it again with "
                "GenerationConfig.save."
            )
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


PER_ROW = tuple(each for each in settings_of(GenerationConfig) if each.per_row)
"""The settings of which each row of a batch may have its own value."""


def config_of(config: GenerationConfig | None, overrides: dict[str, Any]) -> GenerationConfig:
    """The config, or the default one, with some settings changed.

    Raises:
        ValueError: `config` is not a GenerationConfig, or a setting is unknown or its value not accepted.
    """
    if config is not None and not isinstance(config, GenerationConfig):
        raise invalid("config", config, "a GenerationConfig", "Give single settings by name: temperature=0.8.")
    return (config or GenerationConfig()).replace(**overrides)


def _check_names(values: Mapping[str, Any]) -> None:
    names = [each.name for each in settings_of(GenerationConfig)]
    if unknown := sorted(set(values) - set(names)):
        similar = [name for each in unknown for name in _similar(each, names)]
        suggestion = f" (perhaps {' and '.join(similar)}?)" if similar else ""
        raise ValueError(f"GenerationConfig has no {', '.join(unknown)}{suggestion}; its settings are {', '.join(names)}")


def _similar(name: str, names: list[str]) -> list[str]:
    """The setting that a wrong name abbreviates or resembles: one or none."""
    return [each for each in names if each.startswith(name)][:1] or difflib.get_close_matches(name, names, 1, cutoff=0.7)
