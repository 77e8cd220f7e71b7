"""Strings that UTF-8 cannot write: they hold one half of a surrogate pair, as `json.loads('"\\\\ud800"')` gives it.

A string in; what is wrong with it out, for the errors of all who read text.
"""

from __future__ import annotations


def lone_surrogate(text: str) -> str | None:
    """What is wrong with `text`, or None where UTF-8 can write it.

    "ab" -> None        "a\\ud800" -> "character 1 is the lone surrogate U+D800, which UTF-8 cannot write"
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"character {error.start} is the lone surrogate U+{ord(text[error.start]):04X}, which UTF-8 cannot write"
    return None
