"""A model in a folder: `config.json`, `model.safetensors` and `tokenizer/`.

A checkpoint of a run is such a folder with the state of training beside it, so `load` takes either, or the whole run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tfllm import tokenizers
from tfllm.config import ModelConfig
from tfllm.models.base import LanguageModel
from tfllm.models.causal_lm import CausalLM
from tfllm.tokenizers import Tokenizer
from tfllm.train import weights
from tfllm.train.checkpoints import model_folder, write_model


def save(model: LanguageModel, tokenizer: Tokenizer, folder: str | Path) -> Path:
    """Writes a model folder: all of it, or nothing.

    Raises:
        FileExistsError: the folder is there already and not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another folder, or remove it first")
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write_model(model.config, model.variables, tokenizer=tokenizer, folder=beside)
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return folder


def load(folder: str | Path, *, dtype: str = "float32") -> tuple[CausalLM, Tokenizer]:
    """The model and tokenizer of a model folder, of a checkpoint, or of a run's newest checkpoint.

    >>> model, tokenizer = tfllm.load("runs/demo")

    Raises:
        FileNotFoundError: no such folder, or a part of it is missing.
        ValueError: a part is damaged, or the parts do not fit each other.
    """
    folder = model_folder(folder)
    config = ModelConfig.load(folder / "config.json")
    tokenizer = tokenizers.load(folder / "tokenizer")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"{folder} holds a tokenizer of {tokenizer.vocab_size} entries for a model of {config.vocab_size}")
    model = CausalLM(config, dtype=dtype)
    weights.read(folder / "model.safetensors", model.variables)
    return model, tokenizer
