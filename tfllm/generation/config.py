"""How text is continued: one frozen record, the single source for Python, command line, run folder and export.

Enters: numbers and stop strings. Leaves: a validated `GenerationConfig` and its JSON, `generation.json` in a model folder.
Importing this imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from tfllm.files import write_atomically

FILE = "generation.json"
REPLACEMENT = "\ufffd"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Every setting of one call, of an export, or the defaults of a model folder.

    The settings act in this order: repetition penalty, temperature, top-k, top-p, min-p; then a token is drawn.

    Raises:
        ValueError: a setting is out of range; the message names it and what it accepts.
    """

    max_new_tokens: int = 128
    """Longest continuation, in tokens, its closing separator included."""
    temperature: float = 0.0
    """Scores are divided by it. 0: always the most probable token (greedy), and only `repetition_penalty` matters."""
    top_k: int = 0
    """Only the k most probable tokens, and those as probable as the k-th (Fan et al. 2018). 0: all."""
    top_p: float = 1.0
    """Only the fewest tokens that together have this probability (Holtzman et al. 2020). 1: all."""
    min_p: float = 0.0
    """Only tokens at least this many times as probable as the most probable (Nguyen et al. 2024). 0: all."""
    repetition_penalty: float = 1.0
    """Scores of tokens that stand in the prompt or the continuation are divided by it where positive, else multiplied
    (Keskar et al. 2019). The separator is exempt: it opens every prompt. 1: off."""
    num_sequences: int = 1
    """Continuations of each prompt."""
    stop: tuple[str, ...] = ()
    """The continuation ends before the first of these strings."""
    seed: int | None = None
    """Of the random draws. The same prompt, settings and seed give the same text in any batch. None: a fresh one each call."""

    def __post_init__(self) -> None:
        fill = object.__setattr__
        if isinstance(self.stop, str):
            fill(self, "stop", (self.stop,))
        fill(self, "stop", tuple(self.stop))
        for field, least in (("max_new_tokens", 1), ("top_k", 0), ("num_sequences", 1)):
            _check_whole(field, getattr(self, field), least)
        if self.seed is not None:
            _check_whole("seed", self.seed, 0)
        for field in ("temperature", "top_p", "min_p", "repetition_penalty"):
            fill(self, field, _as_float(field, getattr(self, field)))
        _check(self.temperature >= 0, "temperature", self.temperature, "at least 0 (0 is greedy)")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1] (1 is off)")
        _check(0 <= self.min_p < 1, "min_p", self.min_p, "in [0, 1) (0 is off)")
        _check(
            self.repetition_penalty > 0,
            "repetition_penalty",
            self.repetition_penalty,
            "greater than 0 (1 is off)",
        )
        for text in self.stop:
            _check_stop(text)
        if self.num_sequences > 1 and self.temperature == 0:
            raise ValueError(
                f"num_sequences={self.num_sequences} with temperature=0 would give one text several times: "
                "set temperature, or leave num_sequences out"
            )

    def replace(self, **changes: Any) -> GenerationConfig:
        """This config with some settings changed.

        >>> GenerationConfig().replace(temperature=0.8).temperature
        0.8

        Raises:
            ValueError: a setting is unknown or its value not accepted.
        """
        _check_names(changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"stop": list(self.stop)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationConfig:
        """The inverse of `to_dict`; settings left out have their defaults.

        Raises:
            ValueError: a setting is unknown or its value not accepted.
        """
        _check_names(values)
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


def _check(good: bool, field: str, value: Any, accepted: str) -> None:
    if not good:
        raise ValueError(f"{field}={value!r} must be {accepted}")


def _check_whole(field: str, value: Any, least: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _check(whole and least <= value < 2**31, field, value, f"a whole number from {least} to {2**31 - 1}")


def _as_float(field: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    _check(number, field, value, "a finite number")
    return float(value)


def _check_stop(text: Any) -> None:
    _check(isinstance(text, str) and text != "", "stop", text, "strings that are not empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"stop={text!r} cannot be written in UTF-8 ({error.reason})") from None
    if REPLACEMENT in text:
        raise ValueError(f"stop={text!r} holds U+FFFD, which stands for ill-formed text and can not be waited for")


def _check_names(values: dict[str, Any]) -> None:
    fields = [field.name for field in dataclasses.fields(GenerationConfig)]
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"GenerationConfig has no {', '.join(unknown)}; its settings are {', '.join(fields)}")
