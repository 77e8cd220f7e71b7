"""Reads the tensors of a `pytorch_model.bin`, without PyTorch and without running code of the file.

In: a file that `torch.save` wrote from a dict of tensors, in the zip format (since PyTorch 1.6) or in the older format of many
published models. Out: NumPy arrays by name. Floating types become float32.

Such a file is a pickle, and a pickle is a program. This unpickler knows only the few names that a dict of tensors needs. Each
gives a record without attributes or methods. Any other name raises an error before it is called. Sizes are checked, too: a
tensor must be inside the bytes of its storage.

Source: torch/serialization.py and torch/_utils.py of PyTorch 2.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class RefusedError(ValueError):
    """The file contains something that weights do not need."""


class _Storage(NamedTuple):
    key: str
    dtype: str
    numbers: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RebuildTensor:
    """Makes a `_View`. Without `__slots__`, the opcode BUILD of a pickle could set attributes of it."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _View:
        numbers = (offset, *size, *stride)
        whole = all(isinstance(number, int) and number >= 0 for number in numbers)
        if not isinstance(storage, _Storage) or not whole or len(size) != len(stride):
            raise RefusedError(
                f"a tensor of size {size!r:.80}, stride {stride!r:.80} and offset {offset!r:.80}: expected numbers from 0 on"
            )
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        count = math.prod(size)
        if count and (last >= storage.numbers or count > storage.numbers):
            raise RefusedError(
                f"a tensor of size {tuple(size)}: expected at most {storage.numbers} numbers, those of its storage"
            )
        return _View(storage, offset, tuple(size), tuple(stride))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Any, *rest: Any) -> Any:
        return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise RefusedError(f"the pickle asks for {module}.{name}: expected what a dict of tensors needs; nothing was run")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or not isinstance(count, int) or view not in ([], [None]):
            raise RefusedError(f"the pickle refers to {pid!r:.120}: expected the storage of a tensor")
        return _Storage(str(key), dtype, count)


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of the file, by name.

    Raises:
        ValueError: the file is damaged, or it contains something else than a dict of tensors. The message names it.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _read_zip(path) if zipped else _read_legacy(file)
    except RefusedError as error:
        raise RefusedError(f"{path}: {error}. Ask its owner to save the weights as model.safetensors.") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise ValueError(f"{path} is damaged ({error!r}): expected a file that torch.save wrote. Download it again.") from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise RefusedError("its numbers are big-endian: expected little-endian")
        with archive.open(pickled) as file:
            views = _views(_Unpickler(file, encoding="utf-8").load())
        contents: dict[str, bytes] = {}
        for storage in {view.storage for view in views.values()}:
            contents[storage.key] = archive.read(f"{root}data/{storage.key}")
    return {name: _array(view, contents) for name, view in views.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Reads five pickles (magic number, protocol, machine, the dict, storage keys), then the storages: count and numbers."""
    magic, protocol, machine = (_Unpickler(file, encoding="utf-8").load() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not machine["little_endian"]:
        raise ValueError("the header is not that of torch.save")
    views = _views(_Unpickler(file, encoding="utf-8").load())
    storages = {view.storage.key: view.storage for view in views.values()}
    contents: dict[str, bytes] = {}
    for key in _Unpickler(file, encoding="utf-8").load():
        count = int.from_bytes(file.read(8), "little")
        if key not in storages or count != storages[key].numbers:
            raise ValueError(f"storage {key!r} of {count} numbers is unexpected")
        contents[key] = file.read(count * _width(storages[key].dtype))
    return {name: _array(view, contents) for name, view in views.items()}


def _views(values: Any) -> dict[str, _View]:
    if not isinstance(values, Mapping):
        raise RefusedError(f"it holds {type(values).__name__}: expected a dict of tensors")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, _View):
            raise RefusedError(f"its entry {name!r:.80} is {type(value).__name__}: expected a tensor")
    return dict(values)


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _array(view: _View, contents: dict[str, bytes]) -> np.ndarray:
    storage, content = view.storage, contents[view.storage.key]
    if len(content) != storage.numbers * _width(storage.dtype):
        raise ValueError(f"storage {storage.key} has {len(content)} bytes for {storage.numbers} numbers")
    flat = np.frombuffer(content, "<u2" if storage.dtype == "bfloat16" else storage.dtype)[view.offset :]
    steps = [step * flat.itemsize for step in view.stride]
    array = np.lib.stride_tricks.as_strided(flat, view.size, steps, writeable=False)
    if storage.dtype == "bfloat16":  # the upper half of a float32
        return np.ascontiguousarray(array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32 if array.dtype.kind == "f" else array.dtype)
