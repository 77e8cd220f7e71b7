"""What settings accept, as functions: each raises ValueError that names the setting, what it got and what it accepts.

Importing this imports no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

REPLACEMENT = "\ufffd"
"""Stands for bytes that are no UTF-8."""


def check(good: bool, field: str, value: Any, accepted: str) -> None:
    if not good:
        raise ValueError(f"{field}={value!r} must be {accepted}")


def check_whole(field: str, value: Any, least: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    check(whole and least <= value < 2**31, field, value, f"a whole number from {least} to {2**31 - 1}")


def as_float(field: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    check(number, field, value, "a finite number")
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
        check_whole("logit_bias: a token id", token, 0)
        found[token] = as_float(f"logit_bias of {token}", value)
    return tuple(sorted(found.items()))


def check_text(field: str, text: Any) -> None:
    check(isinstance(text, str) and text != "", field, text, "strings that are not empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field}={text!r} cannot be written in UTF-8 ({error.reason})") from None
    if REPLACEMENT in text:
        raise ValueError(f"{field}={text!r} holds U+FFFD, which stands for ill-formed text and can not be waited for")
