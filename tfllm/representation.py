"""One short line for what a notebook prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

SHOWN = 5


def settings_line(settings: Any, leave_out: Collection[str] = ()) -> str:
    """A dataclass of settings as it would be made: fields that have another value than their default.

    Pretraining(epochs=20, batch_size=16) -> "Pretraining(epochs=20)", for 16 is the default
    """
    values = ((field, getattr(settings, field.name)) for field in dataclasses.fields(settings))
    said = [f"{field.name}={value!r}" for field, value in values if value != field.default and field.name not in leave_out]
    return f"{type(settings).__name__}({', '.join(said)})"


def names_line(names: Sequence[str]) -> str:
    """The first few.

    a b c -> "a, b, c"; a b c d e f g -> "a, b, c, d, e, …"
    """
    return ", ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])])
