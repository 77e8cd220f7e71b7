"""What one setting of generation is: its default, the values it accepts, and whether each row may have its own value.

`config.py` defines every setting once, as a field made by `setting(...)`. All other places read these definitions with
`settings_of`: the vectors of a batch (`row_settings.py`), the signatures and the sample request of an export
(`exporting/contract.py`), the options of `tfllm generate` (`commands/generating.py`) and the tables of `docs/`.

Input: a value as a user gives it. Output: the value as `GenerationConfig` keeps it, or a ValueError that names the setting.
Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, cast

INT32_MAX = 2**31 - 1
REPLACEMENT_CHARACTER = "\ufffd"
"""Decoding writes it in place of bytes that are not valid UTF-8."""
LONGEST_SHOWN = 200
"""Characters of a value that an error message shows."""


def invalid(name: str, value: Any, expected: str, advice: str) -> ValueError:
    """The error for a setting with a value that it does not accept."""
    written = repr(value)
    shown = written if len(written) <= LONGEST_SHOWN else f"{written[:LONGEST_SHOWN]}…"
    return ValueError(f"{name}={shown} is invalid: expected {expected}. {advice}")


class Accepted(Protocol):
    """The values that a setting accepts. `str` of it says which, in words that follow "expected"."""

    @property
    def option(self) -> Any:
        """The type of the command line's option."""

    def convert(self, value: Any) -> Any:
        """The value as the config keeps it.

        Raises:
            ValueError, TypeError, OverflowError: it is not accepted.
        """


@dataclasses.dataclass(frozen=True)
class Number:
    """Numbers of one dtype within a range."""

    dtype: Literal["int32", "float32"]
    least: float
    most: float
    or_zero: bool = False
    """0 is accepted, too, though it is less than `least`."""
    below_most: bool = False
    """`most` itself is not accepted."""
    or_none: bool = False

    @property
    def option(self) -> type:
        return int if self.dtype == "int32" else float

    def contains(self, values: Any) -> Any:
        """Whether values are in the range: a bool for a number, a tensor of bools for a tensor. NaN never is."""
        inside = (values >= self.least) & (values < self.most if self.below_most else values <= self.most)
        return inside | (values == 0) if self.or_zero else inside

    def convert(self, value: Any) -> int | float | None:
        if value is None and self.or_none:
            return None
        kind = numbers.Integral if self.dtype == "int32" else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool) or not self.contains(value):
            raise ValueError
        return self.option(value)

    def __str__(self) -> str:
        least, most = (_written(each) for each in (self.least, self.most))
        noun = "an integer" if self.dtype == "int32" else "a number"
        limits = f"of at least {least} and less than {most}" if self.below_most else f"from {least} to {most}"
        return f"{'0 or ' if self.or_zero else ''}{noun} {limits}{', or None' if self.or_none else ''}"


def integer(least: int, *, or_none: bool = False) -> Number:
    """Integers from `least` that fit into int32."""
    return Number("int32", least, INT32_MAX, or_none=or_none)


def real(least: float, most: float, *, or_zero: bool = False, below_most: bool = False) -> Number:
    """Numbers that fit into float32, also after they were added to scores, or scores were divided by them."""
    return Number("float32", least, most, or_zero=or_zero, below_most=below_most)


@dataclasses.dataclass(frozen=True)
class Texts:
    """One non-empty string or several: kept as a tuple."""

    or_none: bool = False
    option: Any = tuple[str, ...]

    def convert(self, value: Any) -> tuple[str, ...] | None:
        if value is None and self.or_none:
            return None
        texts = (value,) if isinstance(value, str) else tuple(value)
        if self.or_none and not texts:
            raise ValueError
        return tuple(map(_text, texts))

    def __str__(self) -> str:
        count = "one or more non-empty strings" if self.or_none else "a non-empty string or a list of such strings"
        return f"{count}{', or None' if self.or_none else ''}"


@dataclasses.dataclass(frozen=True)
class Text:
    """One string; the empty one turns the setting off."""

    option: Any = str

    def convert(self, value: Any) -> str:
        return value if value == "" else _text(value)

    def __str__(self) -> str:
        return "a string"


@dataclasses.dataclass(frozen=True)
class JsonSchema:
    """A JSON schema: its text, or the dict, which becomes its text."""

    option: Any = str

    def convert(self, value: Any) -> str:
        if isinstance(value, Mapping):
            return json.dumps(value, ensure_ascii=False)
        if value == "":
            return value
        try:
            json.loads(_text(value))
        except json.JSONDecodeError as error:
            raise _ReasonError(f"it is not JSON: {error}") from None
        return value

    def __str__(self) -> str:
        return "a JSON schema, as a dict or as JSON text"


@dataclasses.dataclass(frozen=True)
class Biases:
    """A number for each of some token ids: kept as pairs, sorted by id."""

    bias: Number
    option: Any = dict[int, float]

    def convert(self, value: Any) -> tuple[tuple[int, float], ...]:
        """{"7": 2, 3: -1.5} -> ((3, -1.5), (7, 2.0)); in JSON the keys are strings."""
        pairs = list(value.items() if isinstance(value, Mapping) else value)
        if not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
            raise ValueError
        ids = [int(token) if isinstance(token, str) and token.isdecimal() else token for token, _ in pairs]
        biases = zip(map(integer(0).convert, ids), (self.bias.convert(bias) for _, bias in pairs), strict=True)
        return cast("tuple[tuple[int, float], ...]", tuple(sorted(dict(biases).items())))

    def __str__(self) -> str:
        return f"a dict from token id to {self.bias}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of a few values; True is not taken for 1."""

    values: tuple[Any, ...]

    @property
    def option(self) -> Any:
        return Literal[self.values]

    def convert(self, value: Any) -> Any:
        if not any(type(value) is type(each) and value == each for each in self.values):
            raise ValueError
        return value

    def __str__(self) -> str:
        return f"{', '.join(map(repr, self.values[:-1]))} or {self.values[-1]!r}"


@dataclasses.dataclass(frozen=True)
class Setting:
    """The definition of one setting: everything that is derived for it follows from here."""

    name: str
    default: Any
    accepted: Accepted
    help: str
    """What it does, in a sentence or two: the text of `tfllm generate --help` and of docs/generation.md."""
    sample_rows: tuple[Any, ...] = ()
    """Two values for the sample request of an export: one that changes little, one that has an effect. Only a setting of which
    each row may have its own value has them."""
    only_for_draws: bool = False
    """It has an effect only where tokens are drawn at random, so a beam or contrastive search does not take it."""

    @property
    def per_row(self) -> bool:
        """May each row of a batch have its own value?"""
        return bool(self.sample_rows)

    @property
    def number(self) -> Number:
        """The dtype and the range of a setting of which each row may have its own value."""
        assert isinstance(self.accepted, Number)
        return self.accepted

    def convert(self, value: Any) -> Any:
        """The value as `GenerationConfig` keeps it.

        Raises:
            ValueError: the setting does not accept it.
        """
        try:
            return self.accepted.convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            reason = f" ({error})" if isinstance(error, _ReasonError) else ""
            advice = f"Leave {self.name} out for the default, {self.default!r}."
            raise invalid(self.name, value, f"{self.accepted}{reason}", advice) from None


_KEY = "generation setting"


def setting(
    default: Any, accepted: Accepted, help: str, *, sample_rows: tuple[Any, ...] = (), only_for_draws: bool = False
) -> Any:
    """A dataclass field that is a setting of generation; the arguments are those of `Setting`."""
    definition = {"accepted": accepted, "help": help, "sample_rows": sample_rows, "only_for_draws": only_for_draws}
    return dataclasses.field(default=default, metadata={_KEY: definition})


def settings_of(config: Any) -> tuple[Setting, ...]:
    """The definitions of all settings of a config or of its class, in the order of its fields."""
    return tuple(Setting(field.name, field.default, **field.metadata[_KEY]) for field in dataclasses.fields(config))


class _ReasonError(ValueError):
    """Why a value is not accepted, where the words for the accepted values do not say it."""


def _text(value: Any) -> str:
    """The value, if it is a string that a tokenizer can write."""
    if not isinstance(value, str) or value == "":
        raise ValueError
    if REPLACEMENT_CHARACTER in value:
        raise _ReasonError("without U+FFFD, which stands for text that is not valid UTF-8")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _ReasonError(f"{error.reason} in UTF-8") from None
    return value


def _written(limit: float) -> str:
    """2147483647 -> "2**31 - 1"; 1000000000.0 -> "1e+09"."""
    return "2**31 - 1" if limit == INT32_MAX else f"{limit:g}"
