"""Types and functions for arguments that several commands have: folders, addresses, models."""

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
"""A local folder or one on an object store. It is a string: as a `Path`, gs://bucket would lose a slash."""
Model = Annotated[Address, tyro.conf.Positional]


def below(folder: str, name: str) -> str:
    """The path of `name` in a folder.

    runs/first, logs           ->  runs/first/logs
    gs://bucket/first/, logs   ->  gs://bucket/first/logs
    """
    return f"{folder.rstrip('/')}/{name}"


def load_model(folder: str, **options: Any) -> tuple[Any, Any]:
    """The model and the tokenizer of a run, a checkpoint or a model folder, or of a local Hugging Face folder."""
    import tfllm

    if not is_remote(folder) and is_huggingface(Path(folder, "config.json")):
        return tfllm.from_huggingface(folder, **options)
    return tfllm.load(folder, **options)


def generation_config(folder: str) -> Any:
    """`GenerationConfig.load`, which here reads from an object store, too."""
    import tfllm

    if not is_remote(folder):
        return tfllm.GenerationConfig.load(folder)
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tfllm-") as here:
        if tf.io.gfile.exists(there := below(folder, "generation.json")):
            tf.io.gfile.copy(there, f"{here}/generation.json")
        return tfllm.GenerationConfig.load(here)


def is_huggingface(path: Path) -> bool:
    """Is it a `config.json` of Hugging Face?"""
    try:
        return "model_type" in json.loads(path.read_text())
    except (OSError, ValueError):  # then `tfllm.load` raises an error that names the problem
        return False
