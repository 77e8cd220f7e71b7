"""Reads and writes variables as safetensors files.

Input: Keras variables. Output: a file with every value by name, and a sha256 of the values. A file is read only if its names
    and shapes
are those of the variables, and its values those that were written. A name is a variable's path without the first part, which
is the model's or optimizer's own name: `decoder/block_0/attention/qkv/kernel`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

_CHECKSUM = "sha256"
"""The key in a file's metadata. Files of other libraries have none."""
_REMEDY = "restore it from a copy or an earlier checkpoint"


def variables_by_name(variables: Iterable[Any]) -> dict[str, Any]:
    """Keras variables by name.

    Raises:
        ValueError: two variables have the same name.
    """
    by_name: dict[str, Any] = {}
    for variable in variables:
        name = variable.path.partition("/")[2] or variable.path
        if name in by_name:
            raise ValueError(f"two variables are called {name}: give their layers different names")
        by_name[name] = variable
    return by_name


def copy_values(variables: Iterable[Any]) -> dict[str, np.ndarray]:
    """Copies of every variable's value, by name."""
    return {name: np.array(variable) for name, variable in variables_by_name(variables).items()}


def write(path: Path, values: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes values by name.

    Raises:
        OSError: the disk is full or refuses.
    """
    try:
        save_file(dict(values), path, (metadata or {}) | {_CHECKSUM: _checksum(values)})
    except SafetensorError as error:  # how safetensors reports errors of the system
        number = re.search(r"os error (\d+)", str(error))
        said = f"{path} cannot be written: {error}"
        raise (OSError(int(number[1]), said) if number else OSError(said)) from error


def _checksum(values: Mapping[str, np.ndarray]) -> str:
    """sha256 hex of all values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(values):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values[name]).data)
    return digest.hexdigest()


def values_digest(variables: Iterable[Any]) -> str:
    """sha256 hex of the values, in their order."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable).data)
    return digest.hexdigest()


def read(path: Path, variables: Iterable[Any]) -> None:
    """Assigns every variable from the file, or none if the file does not fit. Raises what `read_matching` raises."""
    assign(read_matching(path, variables))


def assign(values: list[tuple[Any, np.ndarray]]) -> None:
    """Assigns values that `read_matching` returned."""
    for variable, value in values:
        variable.assign(value)


def read_matching(path: Path, variables: Iterable[Any]) -> list[tuple[Any, np.ndarray]]:
    """Pairs of every variable and its value in the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or a name is missing, unexpected, or has another shape.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        values = load_file(path)
        with safe_open(path, "numpy") as file:
            expected = (file.metadata() or {}).get(_CHECKSUM)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); {_REMEDY}") from error
    if expected is not None and expected != _checksum(values):
        raise ValueError(f"{path} is damaged (its values are not those that were written); {_REMEDY}")
    targets = variables_by_name(variables)
    problems = [f"{name} is missing" for name in sorted(targets.keys() - values.keys())]
    problems += [f"{name} is unexpected" for name in sorted(values.keys() - targets.keys())]
    problems += [
        f"{name} is {list(values[name].shape)} in the file and {list(variable.shape)} here"
        for name, variable in targets.items()
        if name in values and values[name].shape != tuple(variable.shape)
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{path} does not fit: {'; '.join(problems[:8])}{more}")
    return [(variable, values[name]) for name, variable in targets.items()]
