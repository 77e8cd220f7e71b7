"""A model as a SavedModel that takes and returns strings: `export` writes it, `check` proves that stock servers can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Report", "check", "export"]

if TYPE_CHECKING:
    from tfllm.exporting.checking import Report, check
    from tfllm.exporting.saved_model import export


def __getattr__(name: str) -> Any:
    if name == "export":
        from tfllm.exporting.saved_model import export

        return export
    if name in ("Report", "check"):
        from tfllm.exporting import checking

        return getattr(checking, name)
    raise AttributeError(f"module 'tfllm.exporting' has no attribute {name!r}")
