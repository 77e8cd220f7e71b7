"""Packages whose public names are imported when they are first used, so `import tfllm` is quick and does not import TensorFlow.

A package lists its public names once, in its `__init__.pyi`. Type checkers and editors read them there, and so does `attach`:
the convention of Scientific Python's SPEC 1 and its `lazy_loader`, whose names may not stand in a sister package.

The first import of TensorFlow is made faster: Python's garbage collector would go through TensorFlow's million objects again
and again while they are created, for a third of the import time, and once more at the end of the process.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

# Two threads that import TensorFlow through two of its modules wait for each other and break the import.
_ONE_THREAD = threading.RLock()


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package, from the stub file beside its `__init__.py`.

    >>> __getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)

    The lines `from .config import ModelConfig as ModelConfig` and `from . import data as data` of the stub name an attribute of
    a module, and a module.

    Args:
        package: the package's `__name__`.
        file: its `__file__`.
    """
    lines = re.findall(r"^from (\.+)(\S*) import (\w+) as \w+$", Path(file).with_suffix(".pyi").read_text(), re.M)
    modules = {name: resolve_name(dots + (module or name), package) for dots, module, name in lines}
    submodules = {name for dots, module, name in lines if not module}

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(modules))}")
        if name in submodules:  # without the lock: modules of a package import each other so
            return _imported(modules[name])
        with _ONE_THREAD:
            return getattr(_imported(modules[name]), name)

    return __getattr__, lambda: sorted(modules), sorted(modules)


def _imported(module: str) -> ModuleType:
    with _no_garbage_collection():
        return importlib.import_module(module)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """While TensorFlow is imported. Afterwards its objects are frozen: they live as long as the process.

    Objects that existed before are frozen too: reference cycles among them are never freed. At a first import there are few.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if "tensorflow" in sys.modules:
            gc.freeze()
        gc.enable()
