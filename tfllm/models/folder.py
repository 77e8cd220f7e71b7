"""Model folders: `config.json` (the architecture), `task.json`, `model.safetensors` and `tokenizer/`.

In: a model and its tokenizer. Out: a folder; or the other way round. A checkpoint of a run is such a folder, which also holds
the state of the training. `load` takes a model folder, a checkpoint or a run.
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
    """Writes a model folder. If it fails, no folder appears.

    Args:
        model, tokenizer: a model and its tokenizer, or the paths of their folders.
        folder: a new or empty folder.

    Returns:
        The path of the folder.

    Raises:
        FileExistsError: the folder exists and is not empty, or it is the current folder.
        ValueError: the tokenizer is not the model's.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty: expected a new or empty folder. Choose another folder, or remove it first."
        )
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
        folder: a model folder, a checkpoint or a run: a local path, or an address such as gs://bucket/run.
        model_class: the class of the saved model. With it, type checkers and editors know the class of the result.
        dtype: the model's dtype policy: "float32", "mixed_bfloat16" or "auto".

    Returns:
        A model of the class that was saved (`CausalLM`, `MaskedLM`, `TextClassifier`, …), and its tokenizer.

    Raises:
        FileNotFoundError: the folder does not exist, or one of its files is missing.
        TypeError: `folder` is no path.
        ValueError: a file is damaged, two files contradict each other, or the folder holds a model of another class.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"folder={folder!r:.80} is invalid: expected the path of a model folder, got {type(folder).__name__}.")
    there = RemoteFolder(str(folder)) if is_address(folder) else None
    folder = model_folder(folder) if there is None else there.download_model()
    config = ModelConfig.load(folder / "config.json")
    tokenizer = tokenizers.load(folder / "tokenizer")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"{folder / 'tokenizer'} has {tokenizer.vocab_size} entries: expected {config.vocab_size}, as the model has. "
            "Copy the whole folder again."
        )
    settings = read_task(folder)
    task = settings.pop("task")
    known = {spec.name: spec for spec in tasks.all_tasks()}
    if task not in known:
        raise ValueError(
            f"{folder / 'task.json'}: task={task!r} is invalid: expected one of {', '.join(known)}. If it is your own task, "
            "register it first: tfllm.tasks.register(spec)"
        )
    saved_class = known[task].model_class
    if saved_class.causal and not config.causal:
        raise FileNotFoundError(
            f"{folder / 'task.json'} is missing, or it is a decoder's: expected the task of the encoder in this folder. Copy "
            "the whole folder again."
        )
    if model_class is not None and not issubclass(saved_class, model_class):
        raise ValueError(
            f"model_class={model_class.__name__} is invalid: expected {saved_class.__name__}, which {folder} holds. To put "
            f"another head on its weights, call {model_class.__name__}.from_pretrained."
        )
    try:
        model = saved_class(config, **settings, dtype=dtype, skip_init=True)
    except TypeError as error:
        raise ValueError(
            f"{folder / 'task.json'} does not fit: expected the arguments of {saved_class.__name__} ({error}). Copy the whole "
            "folder again."
        ) from error
    weights.read(folder / "model.safetensors", model.variables)
    return model, tokenizer


def get(model: Any) -> LanguageModel:
    """The model. If `model` is a path, the model that `load` reads there.

    Raises:
        TypeError: `model` is neither a model nor a path.
    """
    if isinstance(model, (str, Path)):
        return load(model)[0]
    if not hasattr(model, "config"):
        raise TypeError(
            f"model={model!r:.80} is invalid: expected a model (from tfllm.load or tfllm.from_huggingface) or the path of its "
            f"folder, got {type(model).__name__}."
        )
    return model


def get_both(model: Any, tokenizer: Tokenizer | str | Path) -> tuple[LanguageModel, Tokenizer]:
    """The model and the tokenizer. Those given as paths are read by `load` and `tokenizers.load`.

    The path of the model may also be given for the tokenizer: "runs/demo", "runs/demo" -> model and tokenizer of the run.

    Raises:
        TypeError: the model is neither a model nor a path, or the tokenizer neither a tokenizer nor a path.
    """
    if isinstance(model, (str, Path)) and str(tokenizer) == str(model):
        return load(model)
    return get(model), tokenizers.get(tokenizer)
