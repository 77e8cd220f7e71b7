"""Translates old names of options and values, which still work for one version.

In: the words of a command line. Out: the words with the new names, and a `DeprecationWarning` for each old one.

    pretrain … --mask-share 0.2 --pairs next  ->  pretrain … --mask-rate 0.2 --pairs nsp
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tfllm import tasks
from tfllm.deprecation import warn_renamed

OPTIONS = {"--mask-share": "--mask-rate"}
VALUES = {
    "--pairs": {"next": "nsp", "order": "sop"},
    "--task": {old: spec.name for spec in tasks.all_tasks() for old in spec.old_names},
}


def with_new_names(words: Sequence[str]) -> list[str]:
    """The words, with old options and values replaced."""
    result: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        if name in OPTIONS:
            word = OPTIONS[name] + equals + value
            _warn(name, OPTIONS[name])
        elif equals and value in VALUES.get(name, {}):
            word = f"{name}={VALUES[name][value]}"
            _warn(f"{name}={value}", word)
        elif result and word in (values := VALUES.get(result[-1], {})):
            _warn(f"{result[-1]} {word}", f"{result[-1]} {values[word]}")
            word = values[word]
        result.append(word)
    return result


def _warn(old: str, new: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always", DeprecationWarning)  # Python hides it by default outside of `__main__`
        warn_renamed(old, new)
