"""Kinds of arguments that several commands take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

Paths = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH …]")]
Folder = Annotated[Path, tyro.conf.Positional]


def load_model(folder: Path, **options: Any) -> tuple[Any, Any]:
    """Model and tokenizer of one of our folders (run, checkpoint, model) or of a Hugging Face folder."""
    import tfllm

    if _is_huggingface(folder / "config.json"):
        return tfllm.from_huggingface(folder, **options)
    return tfllm.load(folder, **options)


def _is_huggingface(path: Path) -> bool:
    try:
        return "model_type" in json.loads(path.read_text())
    except (OSError, ValueError):  # `tfllm.load` says what is wrong with it
        return False
