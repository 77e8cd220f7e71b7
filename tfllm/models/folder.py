"""A model in a folder: `config.json` (the architecture), `task.json`, `model.safetensors` and `tokenizer/`.

A checkpoint of a run is such a folder with the state of training beside it, so `load` takes either, or the whole run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, overload

from tfllm import tasks, tokenizers
from tfllm.config import ModelConfig
from tfllm.files import publish_folder
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.tokenizers import Tokenizer
from tfllm.train.runs import weights
from tfllm.train.runs.checkpoints import Snapshot, model_folder, read_task, write_model
from tfllm.train.runs.remote_folder import RemoteFolder, is_address

Model = TypeVar("Model", bound=LanguageModel)


def save(model: LanguageModel | str | Path, tokenizer: Tokenizer | str | Path, folder: str | Path) -> Path:
    """Writes a model folder: all of it, or nothing. Model and tokenizer may be the paths of their folders.

    Raises:
        FileExistsError: the folder is there already and not empty, or is the current one.
        ValueError: the tokenizer is not the model's.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another folder, or remove it first")
    model, tokenizer = get_both(model, tokenizer)
    check_tokenizer(model, tokenizer)
    with publish_folder(folder) as partial:
        write_model(Snapshot.of(model, tokenizer), partial)
    return folder


@overload
def load(folder: str | Path, model_class: None = None, *, dtype: str = "float32") -> tuple[LanguageModel, Tokenizer]: ...
@overload
def load(folder: str | Path, model_class: type[Model], *, dtype: str = "float32") -> tuple[Model, Tokenizer]: ...
def load(
    folder: str | Path, model_class: type[LanguageModel] | None = None, *, dtype: str = "float32"
) -> tuple[LanguageModel, Tokenizer]:
    """The model and tokenizer of a model folder, of a checkpoint, or of a run's newest checkpoint.

    >>> model, tokenizer = tfllm.load("runs/demo")
    >>> model, tokenizer = tfllm.load("runs/demo", tfllm.CausalLM)

    Args:
        folder: of a model, a checkpoint or a run: a local path, or an address such as gs://bucket/run.
        model_class: the class that the folder must hold. With it, type checkers and editors know the class of the result.
        dtype: as every model's: "float32", "mixed_bfloat16" or "auto".

    Returns:
        A model of the class that was saved (`CausalLM`, `MaskedLM`, `TextClassifier`, …), and its tokenizer.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        TypeError: `folder` is no path.
        ValueError: a file is damaged, the files do not fit each other, or the folder holds a model of another class.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"tfllm.load takes the path of a folder, got {type(folder).__name__}")
    there = RemoteFolder(str(folder)) if is_address(folder) else None
    folder = model_folder(folder) if there is None else there.download_model()
    config = ModelConfig.load(folder / "config.json")
    tokenizer = tokenizers.load(folder / "tokenizer")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"{folder} holds a tokenizer of {tokenizer.vocab_size} entries for a model of {config.vocab_size}")
    settings = read_task(folder)
    task = settings.pop("task")
    known = {spec.name: spec for spec in tasks.all_tasks()}
    if task not in known:
        raise ValueError(
            f"{folder} is for the task {task!r}; this version knows {', '.join(known)}. If the task is your own, register it "
            "first: tfllm.tasks.register(spec)"
        )
    saved_class = known[task].model_class
    if saved_class.causal and not config.causal:
        raise FileNotFoundError(
            f"{folder / 'task.json'} is missing, or of a decoder: it says what this encoder is for; copy the whole folder"
        )
    if model_class is not None and not issubclass(saved_class, model_class):
        raise ValueError(
            f"model_class={model_class.__name__} is invalid: expected {saved_class.__name__}, which {folder} holds. To put "
            f"another head on its weights, call {model_class.__name__}.from_pretrained."
        )
    try:
        model = saved_class(config, **settings, dtype=dtype, skip_init=True)
    except TypeError as error:
        raise ValueError(f"{folder / 'task.json'} does not say what a {saved_class.__name__} needs ({error})") from error
    weights.read(folder / "model.safetensors", model.variables)
    return model, tokenizer


def get(model: Any) -> LanguageModel:
    """The model itself, or the one that `load` finds at a path: what functions that take a model begin with.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(model, (str, Path)):
        return load(model)[0]
    if not hasattr(model, "config"):
        raise TypeError(
            f"model={model!r:.80} must be a model (tfllm.load, tfllm.from_huggingface) or the path of its folder, "
            f"got {type(model).__name__}"
        )
    return model


def get_both(model: Any, tokenizer: Tokenizer | str | Path) -> tuple[LanguageModel, Tokenizer]:
    """Model and tokenizer themselves, or what `load` and `tokenizers.load` find at paths.

    A model's path may stand for its tokenizer, too: "runs/demo", "runs/demo" -> both of the run.

    Raises:
        TypeError: one is neither.
    """
    if isinstance(model, (str, Path)) and str(tokenizer) == str(model):
        return load(model)
    return get(model), tokenizers.get(tokenizer)
