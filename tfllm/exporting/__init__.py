"""A model as a SavedModel that takes and returns strings: `export` writes it, `check` proves that stock servers can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfllm import lazy

__all__ = ["Report", "check", "export"]

if TYPE_CHECKING:
    from tfllm.exporting.checking import Report, check
    from tfllm.exporting.saved_model import export

_HOMES = {"Report": "tfllm.exporting.checking", "check": "tfllm.exporting.checking", "export": "tfllm.exporting.saved_model"}

__getattr__ = lazy.attributes("tfllm.exporting", _HOMES)
