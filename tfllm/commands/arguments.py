"""Kinds of arguments that several commands take."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfllm.files import is_remote

Paths = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH …]")]
Folder = Annotated[Path, tyro.conf.Positional]
Address = Annotated[str, tyro.conf.arg(metavar="PATH")]
"""A folder here or on an object store. As a Path, gs://bucket would lose one of its slashes."""
Model = Annotated[Address, tyro.conf.Positional]


def below(folder: str, name: str) -> str:
    """
    runs/first, logs           ->  runs/first/logs
    gs://bucket/first/, logs   ->  gs://bucket/first/logs
    """
    return f"{folder.rstrip('/')}/{name}"


def load_model(folder: str, **options: Any) -> tuple[Any, Any]:
    """Model and tokenizer of one of our folders (run, checkpoint, model) or of a Hugging Face folder.

    Only ours are read from an object store.
    """
    import tfllm

    if not is_remote(folder) and is_huggingface(Path(folder, "config.json")):
        return tfllm.from_huggingface(folder, **options)
    return tfllm.load(folder, **options)


def generation_config(folder: str) -> Any:
    """`GenerationConfig.load`, from an object store, too."""
    import tfllm

    if not is_remote(folder):
        return tfllm.GenerationConfig.load(folder)
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tfllm-") as here:
        if tf.io.gfile.exists(there := below(folder, "generation.json")):
            tf.io.gfile.copy(there, f"{here}/generation.json")
        return tfllm.GenerationConfig.load(here)


def is_huggingface(path: Path) -> bool:
    try:
        return "model_type" in json.loads(path.read_text())
    except (OSError, ValueError):  # `tfllm.load` says what is wrong with it
        return False
