"""What settings accept, as functions: each raises ValueError that names the setting, what it got and what it accepts.

Importing this imports no TensorFlow.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

REPLACEMENT = "\ufffd"
"""Stands for bytes that are no UTF-8."""
LEAST, MOST = 1e-9, 1e9
"""Sizes of the real settings that are not 0."""


def check(good: bool, field: str, value: Any, accepted: str) -> None:
    if not good:
        raise ValueError(f"{field}={value!r} must be {accepted}")


def as_whole(field: str, value: Any, least: int) -> int:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    check(whole and least <= value < 2**31, field, value, f"a whole number from {least} to {2**31 - 1}")
    return int(value)


def as_float(field: str, value: Any) -> float:
    """Scores are float32, and what is added to them or divides them a few times must leave numbers."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    sized = number and (value == 0 or LEAST <= abs(value) <= MOST)
    check(sized, field, value, f"a finite number, 0 or from {LEAST} to {MOST} in size")
    return float(value)


def as_pairs(bias: Any) -> tuple[tuple[int, float], ...]:
    """{"7": 2, 3: -1.5} or pairs -> ((3, -1.5), (7, 2.0)), by id."""
    pairs = bias.items() if isinstance(bias, Mapping) else bias
    found = {}
    for pair in pairs:
        check(isinstance(pair, Sequence) and len(pair) == 2, "logit_bias", bias, "{token id: bias}")
        token, value = pair
        if isinstance(token, str) and token.isdecimal():
            token = int(token)  # JSON's keys are strings
        found[as_whole("logit_bias: a token id", token, 0)] = as_float(f"logit_bias of {token}", value)
    return tuple(sorted(found.items()))


def check_texts(field: str, texts: Any) -> None:
    """One text, or several."""
    check(isinstance(texts, str | Iterable), field, texts, "a text or a list of texts")
    for text in [texts] if isinstance(texts, str) else texts:
        check_text(field, text)


def check_text(field: str, text: Any) -> None:
    check(isinstance(text, str) and text != "", field, text, "strings that are not empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field}={text!r} cannot be written in UTF-8 ({error.reason})") from None
    if REPLACEMENT in text:
        raise ValueError(f"{field}={text!r} holds U+FFFD, which stands for ill-formed text and is never said")
