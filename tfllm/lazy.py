"""Packages whose names are imported when they are first used, so that `import tfllm` costs nothing and brings no TensorFlow.

The import that brings it is made shorter: Python's garbage collector would go through TensorFlow's million objects again and
again while they come, for a third of the time, once more at the end of the process, and find nothing.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# Two threads that enter TensorFlow by different doors wait for each other, and leave it broken.
_ONE_THREAD = threading.RLock()


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: the name of a module below it, or one that the module `homes[name]` has.

    Raises (in the function returned): AttributeError for other names.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        if homes[name] == f"{package}.{name}":  # so modules of the package import each other: they must not wait for a thread
            return _imported(homes[name])
        with _ONE_THREAD:
            return getattr(_imported(homes[name]), name)

    return __getattr__


def _imported(module: str) -> ModuleType:
    with _nothing_collected_while_tensorflow_comes():
        return importlib.import_module(module)


@contextmanager
def _nothing_collected_while_tensorflow_comes() -> Iterator[None]:
    """What came is frozen, and with it what was there: it stays as long as the process, so it is never looked through.

    So objects of before that refer to each other in a circle are never freed. At a first import there are few.
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
