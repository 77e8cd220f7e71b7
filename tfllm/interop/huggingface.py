"""Reads and writes Hugging Face folders: `config.json`, weights and tokenizer.

In: a folder that `save_pretrained` of any version of Transformers wrote. Out: a tfllm model and its tokenizer; or the other way
round. Neither PyTorch nor Transformers is needed. Unsupported values raise an error that names them.
"""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors.numpy import save_file

from tfllm import tasks
from tfllm.config import ModelConfig
from tfllm.files import publish_folder
from tfllm.interop.configs import family_of, read_config, write_config
from tfllm.interop.heads import bare_task, found_task, head_of, read_settings, write_settings
from tfllm.interop.tensor_names import Weights, canonical, cut_vocabulary, stack_prefix
from tfllm.interop.tokenizer_files import check_writable, write_tokenizer
from tfllm.interop.weight_files import read_weights
from tfllm.interop.weight_mapping import WeightMapping, weight_mapping
from tfllm.models.base import LanguageModel
from tfllm.models.folder import Model, get_both
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.huggingface import named_ids, read_tokenizer
from tfllm.tokenizers.tokenizer_config import read_json
from tfllm.train.runs.weights import variables_by_name

MOST_UNUSED = 1024
"""Most unused rows at the end of an embedding table. Published models have up to some hundred, for a round size."""


@overload
def from_huggingface(
    folder: str | Path, model_class: None = None, *, dtype: str = ..., task: str | None = ..., tokenizer: Tokenizer | None = ...
) -> tuple[LanguageModel, Tokenizer]: ...
@overload
def from_huggingface(
    folder: str | Path, model_class: type[Model], *, dtype: str = ..., tokenizer: Tokenizer | None = ..., **settings: Any
) -> tuple[Model, Tokenizer]: ...
def from_huggingface(
    folder: str | Path,
    model_class: type[LanguageModel] | None = None,
    *,
    dtype: str = "float32",
    task: str | None = None,
    tokenizer: Tokenizer | None = None,
    **settings: Any,
) -> tuple[LanguageModel, Tokenizer]:
    """The model and tokenizer of a Hugging Face folder.

    >>> embedder, tokenizer = tfllm.from_huggingface("all-MiniLM-L6-v2")
    >>> classifier, _ = tfllm.from_huggingface("bert-base-uncased", tfllm.TextClassifier, labels=["bad", "good"])

    Args:
        folder: a folder with `config.json`, weights (`model.safetensors` or `pytorch_model.bin`, also sharded) and tokenizer
            files.
        model_class: the class of the result. If the folder's head is for another class, the model gets a new head.
            None: the class that the folder's head is for; without a head, `TextEmbedder` (encoders) or `CausalLM`.
        dtype: the model's dtype policy: "float32", "mixed_bfloat16" or "auto".
        task: in place of `model_class` the name of a task, as in `task.json`: "text_classifier".
        tokenizer: a tokenizer to use in place of the folder's.
        settings: further arguments of the model's constructor: `labels`, `pooling`, `seed`.

    Returns:
        The model and the tokenizer.

    Raises:
        FileNotFoundError: the folder does not exist, or one of its files is missing.
        ValueError: tensors are missing, unexpected or of another shape, or a value is not supported. The message names it.

    Warns:
        UserWarning: in the folder, other tokens than the tokenizer's `eos_id` end a text, too. Chat models have such tokens.
    """
    if model_class is not None and task is not None:
        raise ValueError(f"task={task!r} is invalid: expected None with model_class={model_class.__name__}. Give one of them.")
    task = task if model_class is None else model_class.task
    folder = _folder(folder)
    model_class = None if task is None else tasks.get(task).model_class
    values, given = _config(folder), tokenizer
    tokenizer = given or read_tokenizer(folder)
    try:
        config = read_config(values)
        if model_class is not None and model_class.causal != config.causal:
            kind = "a decoder" if config.causal else "an encoder"
            raise ValueError(
                f"task={task!r} is invalid: expected a task of {kind}, for the folder holds {kind}. Give another task."
            )
        config, rows = config.replace(vocab_size=_vocab_size(config, tokenizer, folder, values)), config.vocab_size
        weights = canonical(read_weights(folder), family=values["model_type"], config=config)
        if config.vocab_size < rows:
            weights = cut_vocabulary(weights, rows=config.vocab_size)
        model = _model(config, values, weights, folder=folder, task=task, settings=settings | {"dtype": dtype})
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if config.causal and given is None:
        _check_ends(folder, values, tokenizer)
    return model, tokenizer


def to_huggingface(model: LanguageModel | str | Path, tokenizer: Tokenizer | str | Path, folder: str | Path) -> Path:
    """Writes a folder that the Auto classes of Transformers load. If it fails, no folder appears.

    Args:
        model, tokenizer: a model and its tokenizer, or the paths of their folders.
        folder: a new or empty folder.

    Returns:
        The path of the folder.

    Raises:
        FileExistsError: the folder exists and is not empty.
        ValueError: Hugging Face has no class for this architecture, task or tokenizer. The message names the reason.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty: expected a new or empty folder. Choose another folder, or remove it first."
        )
    model, tokenizer = get_both(model, tokenizer)
    config, family = model.config, family_of(model.config)
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} entries: expected {config.vocab_size}, as the model has. Give the "
            "tokenizer of this model."
        )
    check_writable(tokenizer)
    values = write_config(config, family) | {"torch_dtype": "float32"}
    values |= write_settings(model.task, model.settings(), config=config, family=family)
    if family == "roberta" and values["pad_token_id"] != tokenizer.pad_id:
        raise ValueError(
            f"position_offset={config.position_offset} is invalid: expected {tokenizer.pad_id + 1}, for in RoBERTa it is the "
            "pad_id of the tokenizer + 1. Give the tokenizer that the model was trained with."
        )
    values["pad_token_id"] = tokenizer.pad_id
    if config.causal:
        values |= {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    weights = _weights(model, family)
    with publish_folder(folder) as partial:
        (partial / "config.json").write_text(json.dumps(values, indent=2) + "\n")
        save_file(weights, partial / "model.safetensors", {"format": "pt"})
        write_tokenizer(tokenizer, partial, config)
        head_of(model.task).write_files(model, partial)
    return folder


def fill(model: LanguageModel, weights: Weights, table: WeightMapping) -> None:
    """Assigns the tensors to the variables. If one does not fit, it assigns none.

    Args:
        model: its variables are assigned.
        weights: tensors by their names in PyTorch.
        table: for each name the place in our variables.

    Raises:
        ValueError: tensors are missing, unexpected or of another shape.
    """
    variables = variables_by_name(model.variables)
    values = {name: np.full(variable.shape, np.nan, np.float32) for name, variable in variables.items()}
    problems = [f"{name} is missing" for name in sorted(table.keys() - weights.keys())]
    problems += [f"{name} is unexpected" for name in sorted(weights.keys() - table.keys())]
    for name in table.keys() & weights.keys():
        part = table[name].of(values)
        if part.shape == weights[name].shape:
            part[...] = weights[name]
        else:
            problems.append(f"{name} has shape {list(weights[name].shape)}, not {list(part.shape)}")
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(
            f"the weights do not fit config.json: {'; '.join(problems[:8])}{more}. Take both from the same model. To load an "
            "encoder without its head, give task='text_embedder'."
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    if path.is_dir():
        return path
    if not path.is_absolute() and len(path.parts) <= 2 and not path.exists():
        raise FileNotFoundError(
            f"{folder} is not a folder: expected one with config.json, weights and tokenizer files. If it is the name of a "
            "model on the Hugging Face Hub, download it first: "
            f"hf download {folder} --local-dir {path.name}"
        )
    raise FileNotFoundError(
        f"{folder} is not a folder: expected one with config.json, weights and tokenizer files. Give the path of such a folder."
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: expected a Hugging Face folder. Copy config.json into it.")
    values = read_json(path)
    if (folder / "task.json").is_file() and "model_type" not in values:
        raise ValueError(f"{folder} is a model folder of tfllm: expected one of Hugging Face. Load it with tfllm.load.")
    return values


def _vocab_size(config: ModelConfig, tokenizer: Tokenizer, folder: Path, values: dict[str, Any]) -> int:
    """The size of the tokenizer. The model may have some unused rows more.

    Raises:
        ValueError: the model has fewer rows or too many more, or a file of the folder names the id of one of them.
    """
    if 0 <= config.vocab_size - tokenizer.vocab_size <= MOST_UNUSED:
        named = {id: file for file, ids in _named_ids(folder, values).items() for id in ids}
        if lost := sorted(id for id in named if tokenizer.vocab_size <= id < config.vocab_size):
            raise ValueError(
                f"{named[lost[-1]]} names the id {lost[-1]}: expected at most {tokenizer.vocab_size - 1}, the highest id of "
                "the tokenizer. Give the tokenizer that the model was trained with, with tokenizer=… or added_tokens.json"
            )
        return tokenizer.vocab_size
    raise ValueError(
        f"the tokenizer has {tokenizer.vocab_size} entries: expected {config.vocab_size}, as the model has, or up to "
        f"{MOST_UNUSED} fewer. If model and tokenizer are of the same folder, resize the model in Transformers first: "
        "model.resize_token_embeddings(len(tokenizer))"
    )


def _named_ids(folder: Path, values: dict[str, Any]) -> dict[str, list[int]]:
    """File -> ids that it names: the highest one of a tokenizer file; of a config those such as `pad_token_id`."""
    generation = folder / "generation_config.json"
    configs = {"config.json": values} | ({generation.name: read_json(generation)} if generation.is_file() else {})
    found = {file: [highest] for file, highest in named_ids(folder).items()}
    for file, config in configs.items():
        ids = [value for name, value in config.items() if name.endswith("_token_id")]
        found[file] = [id for each in ids for id in (each if isinstance(each, list) else [each]) if isinstance(id, int)]
    return found


def _check_ends(folder: Path, values: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Warns of tokens that end a text in Transformers (`eos_token_id`), but not in tfllm."""
    generation = folder / "generation_config.json"
    ends = (read_json(generation) if generation.is_file() else values).get("eos_token_id") or []
    if others := sorted({*(ends if isinstance(ends, list) else [ends])} - {tokenizer.eos_id}):
        warnings.warn(
            f"{folder}: eos_token_id names {others}, which do not end a text in tfllm: it ends at {tokenizer.eos_id} only, or "
            "with max_new_tokens or a stop string",
            stacklevel=3,
        )


def _model(
    config: ModelConfig, values: dict[str, Any], weights: Weights, *, folder: Path, task: str | None, settings: dict[str, Any]
) -> LanguageModel:
    """The model with the head of the folder, or with a new head on the stack of the folder."""
    family = values["model_type"]
    if config.causal:
        task = tasks.DEFAULT if task is None else task
        model = tasks.get(task).model_class(config, **settings, skip_init=True)
        fill(model, weights, weight_mapping(family, config, task))
        return model
    found = found_task(weights, values=values, asked=task)
    if task is None or task == found:
        assert found is not None
        own = read_settings(found, values, weights, folder)
        if len(named := settings.get("labels", own.get("labels", ()))) != len(had := own.get("labels", ())):
            raise ValueError(
                f"labels={named!r:.100} is invalid: expected {len(had)} labels, as the folder's head has. Load it without "
                "labels=, and give the model another head: "
                f"tfllm.{tasks.get(found).model_class.__name__}.from_pretrained(model, labels=[…])"
            )
        return _filled(config, family, weights, task=found, settings=own | settings)
    stack = {name: value for name, value in weights.items() if name.startswith(stack_prefix(family))}
    pooling = read_settings(bare_task(), values, weights, folder)
    pretrained = _filled(config, family, stack, task=bare_task(), settings=pooling)
    takes = inspect.signature(tasks.get(task).model_class).parameters
    if not pooling and "pooling" in takes:  # no file names a pooling: the default of the task, not that of the embedder
        settings = {"pooling": takes["pooling"].default} | settings
    return tasks.get(task).model_class.from_pretrained(pretrained, **settings)


def _filled(config: ModelConfig, family: str, weights: Weights, *, task: str, settings: dict[str, Any]) -> LanguageModel:
    pooler = f"{family}.pooler.dense."
    if "classifier.dense.weight" in weights:
        # RoBERTa's head has its own pooler. Old files have a second one, which is not used.
        weights = {name: value for name, value in weights.items() if not name.startswith(pooler)}
    next_sentence = settings.get("next_sentence", False)
    needed = next_sentence or settings.get("pooling") == "pooler"
    config = config.replace(pooler=needed or f"{pooler}weight" in weights)
    model = tasks.get(task).model_class(config, **settings, skip_init=True)
    fill(model, weights, weight_mapping(family, config, task, next_sentence=next_sentence))
    return model


def _weights(model: LanguageModel, family: str) -> Weights:
    """The parameters by their names in PyTorch. Without a head the names have no prefix, as in Transformers."""
    table = weight_mapping(family, model.config, model.task, next_sentence=model.settings().get("next_sentence", False))
    variables = variables_by_name(model.variables)
    values = {name: np.asarray(variable, np.float32) for name, variable in variables.items()}
    if left := sorted(set(values) - {place.variable for place in table.values()}):
        raise ValueError(f"the model has {', '.join(left)}: expected only variables that {family} has in Hugging Face")
    for name in [name for name in table if name.endswith(".decoder.bias")]:
        # Transformers 5 reads this one and reports the other as missing. Transformers 4 reads both into one parameter.
        table[name.replace(".decoder.", ".")] = table[name]
    bare = stack_prefix(family) if head_of(model.task).is_bare else ""
    return {name.removeprefix(bare): np.ascontiguousarray(place.of(values)) for name, place in table.items()}
