"""Hugging Face folders in and out: `config.json`, weights and tokenizer.

Enters: a folder as `save_pretrained` writes it, of any age. Leaves: our model and tokenizer; or the other way round.
Neither PyTorch nor Transformers is needed. What is not supported raises an error that names it.
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
"""Rows of a table behind the last id that a file names: published models have some hundred, to make its size a round one."""


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
        folder: with `config.json`, weights (`model.safetensors` or `pytorch_model.bin`, also sharded) and tokenizer files.
        model_class: the class of the result. If the folder's head is for another class, the model gets a new head.
            None: the class that the folder's head is for; without a head, `TextEmbedder` (encoders) or `CausalLM`.
        dtype: as every model's: "float32", "mixed_bfloat16" or "auto".
        task: in place of `model_class`: its name as in `task.json` ("text_classifier").
        tokenizer: one to use instead of the folder's.
        settings: further arguments of the model's constructor: `labels`, `pooling`, `seed`.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: tensors are missing, unexpected or of another shape, or something is not supported; each is named.

    Warns:
        UserWarning: the folder ends texts at other tokens than the tokenizer's `eos_id`, as chat models do.
    """
    if model_class is not None and task is not None:
        raise ValueError(
            f"task={task!r} is invalid: expected none beside model_class={model_class.__name__}. Give one of them."
        )
    task = task if model_class is None else model_class.task
    folder = _folder(folder)
    model_class = None if task is None else tasks.get(task).model_class
    values, given = _config(folder), tokenizer
    tokenizer = given or read_tokenizer(folder)
    try:
        config = read_config(values)
        if model_class is not None and model_class.causal != config.causal:
            raise ValueError(f"task={task!r} wants {'a decoder' if model_class.causal else 'an encoder'}, and this is none")
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
    """Writes a folder that Transformers' Auto classes load: all of it, or nothing.

    Model and tokenizer may be the paths of their folders.

    Raises:
        FileExistsError: the folder is there already and not empty.
        ValueError: Hugging Face has no class for this architecture or task, or no form of this tokenizer; the message says
            what stands in the way.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another folder, or remove it first")
    model, tokenizer = get_both(model, tokenizer)
    config, family = model.config, family_of(model.config)
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} entries, the model {config.vocab_size}: give the one of this model"
        )
    check_writable(tokenizer)
    values = write_config(config, family) | {"torch_dtype": "float32"}
    values |= write_settings(model.task, model.settings(), config=config, family=family)
    if family == "roberta" and values["pad_token_id"] != tokenizer.pad_id:
        raise ValueError(
            f"position_offset={config.position_offset}, and the tokenizer's pad_id is {tokenizer.pad_id}: in RoBERTa the first "
            "is the second + 1"
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
    """Assigns every variable from the tensors that have a place in it; nothing is assigned unless all fits.

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
            problems.append(f"{name} is {list(weights[name].shape)} in the file and {list(part.shape)} by config.json")
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(
            f"the weights do not fit: {'; '.join(problems[:8])}{more}. Is config.json theirs? A head that is not wanted is "
            "left behind with task=…"
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    if path.is_dir():
        return path
    if not path.is_absolute() and len(path.parts) <= 2 and not path.exists():
        raise FileNotFoundError(
            f"there is no folder {folder}. If it is a model's name on the hub, download it first: "
            f"hf download {folder} --local-dir {path.name}"
        )
    raise FileNotFoundError(f"there is no folder {folder}: give one with config.json, weights and tokenizer files")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: a Hugging Face folder holds the architecture in config.json")
    values = read_json(path)
    if (folder / "task.json").is_file() and "model_type" not in values:
        raise ValueError(f"{folder} is a model folder of tfllm: open it with tfllm.load")
    return values


def _vocab_size(config: ModelConfig, tokenizer: Tokenizer, folder: Path, values: dict[str, Any]) -> int:
    """That of the tokenizer; a model may have some rows more, which no file of its folder names.

    Raises:
        ValueError: it has fewer, or so many more that they are no padding, or one of them is named.
    """
    if 0 <= config.vocab_size - tokenizer.vocab_size <= MOST_UNUSED:
        named = {id: file for file, ids in _named_ids(folder, values).items() for id in ids}
        if lost := sorted(id for id in named if tokenizer.vocab_size <= id < config.vocab_size):
            raise ValueError(
                f"{named[lost[-1]]} names the id {lost[-1]}, and the tokenizer ends at {tokenizer.vocab_size - 1}: its trained "
                "row would be lost. Give the tokenizer that the model was trained with, with tokenizer=… or added_tokens.json"
            )
        return tokenizer.vocab_size
    raise ValueError(
        f"the tokenizer has {tokenizer.vocab_size} entries, the model {config.vocab_size}; accepted: as many, or up to "
        f"{MOST_UNUSED} more, which are left out. If the folder's own do not agree, resize the model in Transformers first: "
        "model.resize_token_embeddings(len(tokenizer))"
    )


def _named_ids(folder: Path, values: dict[str, Any]) -> dict[str, list[int]]:
    """By file: the highest id of the tokenizer's files, and those of tokens that the configs name (`pad_token_id`)."""
    generation = folder / "generation_config.json"
    configs = {"config.json": values} | ({generation.name: read_json(generation)} if generation.is_file() else {})
    found = {file: [highest] for file, highest in named_ids(folder).items()}
    for file, said in configs.items():
        ids = [value for name, value in said.items() if name.endswith("_token_id")]
        found[file] = [id for each in ids for id in (each if isinstance(each, list) else [each]) if isinstance(id, int)]
    return found


def _check_ends(folder: Path, values: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Warns of tokens that end a text in Transformers (`eos_token_id`) and not here."""
    generation = folder / "generation_config.json"
    said = read_json(generation) if generation.is_file() else values
    ends = said.get("eos_token_id") or []
    if others := sorted({*(ends if isinstance(ends, list) else [ends])} - {tokenizer.eos_id}):
        warnings.warn(
            f"{folder}: eos_token_id names {others}, too; here a text ends at {tokenizer.eos_id} only, or with max_new_tokens "
            "or a stop string",
            stacklevel=3,
        )


def _model(
    config: ModelConfig, values: dict[str, Any], weights: Weights, *, folder: Path, task: str | None, settings: dict[str, Any]
) -> LanguageModel:
    """The model with the file's head, or with a new one on the file's stack."""
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
                f"labels={named!r:.100}: {len(named)}, the folder's head has {len(had)}. Load it without labels=, and give the "
                f"model another head: tfllm.{tasks.get(found).model_class.__name__}.from_pretrained(model, labels=[…])"
            )
        return _filled(config, family, weights, task=found, settings=own | settings)
    stack = {name: value for name, value in weights.items() if name.startswith(stack_prefix(family))}
    pooling = read_settings(bare_task(), values, weights, folder)
    pretrained = _filled(config, family, stack, task=bare_task(), settings=pooling)
    takes = inspect.signature(tasks.get(task).model_class).parameters
    if not pooling and "pooling" in takes:  # no file says any: the task's own, not the embedder's
        settings = {"pooling": takes["pooling"].default} | settings
    return tasks.get(task).model_class.from_pretrained(pretrained, **settings)


def _filled(config: ModelConfig, family: str, weights: Weights, *, task: str, settings: dict[str, Any]) -> LanguageModel:
    pooler = f"{family}.pooler.dense."
    if "classifier.dense.weight" in weights:  # RoBERTa's head has its own; the other, in old files, was never used
        weights = {name: value for name, value in weights.items() if not name.startswith(pooler)}
    next_sentence = settings.get("next_sentence", False)
    needed = next_sentence or settings.get("pooling") == "pooler"
    config = config.replace(pooler=needed or f"{pooler}weight" in weights)
    model = tasks.get(task).model_class(config, **settings, skip_init=True)
    fill(model, weights, weight_mapping(family, config, task, next_sentence=next_sentence))
    return model


def _weights(model: LanguageModel, family: str) -> Weights:
    """Every parameter by its name in PyTorch; those of a bare stack without a prefix, as Transformers writes them."""
    table = weight_mapping(family, model.config, model.task, next_sentence=model.settings().get("next_sentence", False))
    variables = variables_by_name(model.variables)
    values = {name: np.asarray(variable, np.float32) for name, variable in variables.items()}
    if left := sorted(set(values) - {place.variable for place in table.values()}):
        raise ValueError(f"{family} has no place for {', '.join(left)}")
    for name in [name for name in table if name.endswith(".decoder.bias")]:
        # Transformers 5 reads the decoder's and calls the other missing, 4 reads both into one.
        table[name.replace(".decoder.", ".")] = table[name]
    bare = stack_prefix(family) if head_of(model.task).is_bare else ""
    return {name.removeprefix(bare): np.ascontiguousarray(place.of(values)) for name, place in table.items()}
