"""Kinds of arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

Paths = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH …]")]
Folder = Annotated[Path, tyro.conf.Positional]


def load_model(folder: Path, **options: Any) -> tuple[Any, Any]:
    """Model and tokenizer of one of our folders (run, checkpoint, model) or of a Hugging Face folder."""
    import tfllm

    if (folder / "task.json").is_file() or (folder / "checkpoints").is_dir() or not (folder / "config.json").is_file():
        return tfllm.load(folder, **options)
    return tfllm.from_huggingface(folder, **options)
