"""Reads the weights of a Hugging Face folder: `model.safetensors` or `pytorch_model.bin`, in one file or in shards.

In: a folder. Out: NumPy arrays by name. Floating types become float32.
"""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes  # noqa: F401 - registers "bfloat16" with NumPy, which safetensors needs
import numpy as np
from safetensors import SafetensorError, safe_open

from tfllm.interop.torch_files import read_torch

_POINTER = b"version https://git-lfs"
_FILES = ("model.safetensors", "pytorch_model.bin")


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of the folder, by name.

    Raises:
        FileNotFoundError: the folder has no file of weights, or a shard is missing.
        ValueError: a file is damaged, or a shard does not have the tensors that the index names.
    """
    for name in _FILES:
        if (folder / name).is_file():
            return _read_file(folder / name)
        if (folder / f"{name}.index.json").is_file():
            return _read_shards(folder / f"{name}.index.json")
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
    raise FileNotFoundError(f"{folder} holds {there}: expected {' or '.join(_FILES)}, the weights. Copy one of them into it.")


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors of all shards. They must be exactly those in the index's `weight_map` (name -> file)."""
    try:
        files: dict[str, str] = json.loads(index.read_text())["weight_map"]
        shards = sorted(set(files.values()))
        strays = [shard for shard in shards if Path(shard).name != shard]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is damaged ({error!r}): expected JSON with a weight_map. Download it again.") from error
    if strays:
        raise ValueError(
            f"{index} names {strays[0]!r}: expected names of files in the same folder. Move the file there, and write its name "
            "alone."
        )
    weights: dict[str, np.ndarray] = {}
    for shard in shards:
        if not (index.parent / shard).is_file():
            raise FileNotFoundError(
                f"{index.parent / shard} is missing: expected the files that {index.name} names. Download the whole folder "
                "again."
            )
        found = _read_file(index.parent / shard)
        expected = {name for name, file in files.items() if file == shard}
        if different := sorted(expected ^ set(found)):
            raise ValueError(
                f"{index.parent / shard} differs from {index.name} in {', '.join(different[:8])}: expected the same tensors in "
                "both. Download the whole folder again."
            )
        weights |= found
    return weights


def _read_file(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS: expected the weights. Run `git lfs pull` in {path.parent}")
    if path.suffix == ".bin":
        return read_torch(path)
    try:
        with safe_open(path, "np") as file:
            return {name: _plain(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): expected a safetensors file. Download it again.") from error


def _plain(array: np.ndarray) -> np.ndarray:
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float32, copy=False) if floating else array
