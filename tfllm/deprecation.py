"""Old public names that go on working for one version, each with a `DeprecationWarning` that names the new one.

    @renamed_arguments({"mask_share": "mask_rate"}, values={"pairs": {"next": "nsp"}})
    masked_lm(store, mask_share=0.2, pairs="next")  ->  masked_lm(store, mask_rate=0.2, pairs="nsp"), and two warnings

    __getattr__ = renamed_names(__name__, {"OldName": "NewName"}, __getattr__)
    tfllm.data.OldName  ->  tfllm.data.NewName, and a warning

`warnings.deprecated` (Python 3.13) and `typing_extensions.deprecated` mark whole functions and classes; they rename nothing.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def warn_renamed(old: str, new: str, *, stacklevel: int = 2) -> None:
    """Warns that `old` is now `new`. `stacklevel` as in `warnings.warn`, counted from the caller of this function."""
    message = f"{old} is deprecated and goes away in the next version. Use {new}."
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)


def renamed_arguments(
    new_names: Mapping[str, str], *, values: Mapping[str, Mapping[str, str]] | None = None
) -> Callable[[Decorated], Decorated]:
    """A decorator for a function or a class that takes keyword arguments by their old names and with their old values, too.

    Args:
        new_names: old name -> new name.
        values: name of an argument, the new one -> {old value: new value}.

    Raises (in the decorated function):
        TypeError: the old and the new name of one argument are given.
    """

    def decorate(decorated: Any) -> Any:
        function = vars(decorated)["__init__"] if isinstance(decorated, type) else decorated
        name = decorated.__name__

        @functools.wraps(function)
        def wrapper(*args: Any, **given: Any) -> Any:
            for old in new_names.keys() & given.keys():
                new = new_names[old]
                if new in given:
                    raise TypeError(f"{name}: {old}=… and {new}=… are two names of one argument. Give {new} alone.")
                warn_renamed(f"{name}({old}=…)", f"{new}=…")
                given[new] = given.pop(old)
            for argument, renamed in (values or {}).items():
                value = given.get(argument)
                if isinstance(value, str) and value in renamed:
                    warn_renamed(f"{name}({argument}={value!r})", f"{argument}={renamed[value]!r}")
                    given[argument] = renamed[value]
            return function(*args, **given)

        if isinstance(decorated, type):
            decorated.__init__ = wrapper  # type: ignore[misc]
            return decorated
        return wrapper

    return decorate


def renamed_names(module: str, new_names: Mapping[str, str], other: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose attributes are found by their old names, too.

    Args:
        module: its `__name__`.
        new_names: old name -> new name, of attributes of this module.
        other: the module's own `__getattr__`, for all other names.

    Raises (in the function returned):
        AttributeError: a name that is none of these.
    """

    def __getattr__(name: str) -> Any:
        if name in new_names:
            warn_renamed(f"{module}.{name}", f"{module}.{new_names[name]}")
            return getattr(sys.modules[module], new_names[name])
        if other is not None:
            return other(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__
