"""Translates messages of the Python API for the command line.

In: a message, and the command that ran. Out: the message, in which arguments are written as options of the command.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_origin

ALSO = {
    "pretrain": {"peak": "learning_rate", "shape": "schedule", "unit": "mask_unit", "folder": "run"},
    "finetune": {"column": "label", "folder": "run"},
    "evaluate": {"folder": "model"},
}
"""Command -> {name of an argument in Python: name of its option}, where they differ."""
COMMANDS = {"tokenizers.train": "tokenizer", "data.prepare": "prepare"} | {
    name: name for name in ("pretrain", "finetune", "generate", "predict", "export", "check")
}
"""Function of `tfllm` -> the command that calls it."""

_VALUE = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|[\w.…+-]*[\w…]"""
_KERAS = re.compile(r"\AException encountered when calling .*?\x1b\[1m(.*?)\x1b\[0m.*", re.DOTALL)


def as_options(message: str, command: Callable[..., Any]) -> str:
    """The message, in which arguments are written as options of the command.

        invalid_utf8='skip' leaves it out        -> --invalid-utf8 skip leaves it out
        max_new_tokens=… must be at most 8       -> --max-new-tokens … must be at most 8
        bad_words=['a b', 'c'], prepack=False    -> --bad-words 'a b' c, --no-prepack
        top_k=0 must be 2 with penalty_alpha     -> --top-k 0 must be 2 with --penalty-alpha
        tfllm.data.prepare makes one             -> tfllm prepare makes one

    A name without a value is translated only if it has an underscore: others can be English words.
    """
    message = _KERAS.sub(r"\1", message)
    for function, name in COMMANDS.items():
        message = re.sub(rf"\btfllm\.{re.escape(function)}\b(?:\([^)]*\))?", f"tfllm {name}", message)
    flags = options_of(command)
    names = {name: name for name in flags} | {
        python: option for python, option in ALSO.get(command.__name__, {}).items() if option in flags
    }
    for python, name in names.items():
        option = f"--{name.replace('_', '-')}"

        def translated(match: re.Match[str], option: str = option, flag: bool = flags[name]) -> str:
            return _with_value(option, match[1], flag)

        message = re.sub(rf"(?<![\w.\-/]){python}=({_VALUE})", translated, message)
        message = re.sub(rf"(?<![\w.\-/]){python}=(?!=)", f"{option} ", message)
        if "_" in python:
            message = re.sub(rf"(?<![\w.\-/]){python}(?![\w=./])", option, message)
    return message


def options_of(command: Callable[..., Any]) -> Mapping[str, bool]:
    """Name of each option of a command -> is it a flag?"""
    found: dict[str, bool] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(parameter.default):
            found |= {field.name: _is_flag(field.type) for field in dataclasses.fields(parameter.default)}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = parameter.annotation == "bool"
    return found


def _is_flag(kind: Any) -> bool:
    """Is this the type of a flag? Types are strings in a module's own fields, and types in fields made of a task's `Option`."""
    return kind == "bool" or (kind.__origin__ is bool if get_origin(kind) is Annotated else kind is bool)


def _with_value(option: str, written: str, flag: bool) -> str:
    """--bad-words, "['a b', 'c']" -> "--bad-words 'a b' c"."""
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):  # a word, …, or {id: bias}
        return f"{option} {written.strip('{}').replace(':', '')}"
    if value is None:
        return f"no {option}"
    if flag and isinstance(value, bool):
        return option if value else option.replace("--", "--no-", 1)
    if isinstance(value, dict):
        value = [each for pair in value.items() for each in pair]
    if isinstance(value, str | list | tuple):
        written = " ".join(shlex.quote(str(each)) for each in ([value] if isinstance(value, str) else value))
    return f"{option} {written}"
