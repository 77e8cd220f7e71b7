"""`tfllm pretrain`, `tfllm finetune` and `tfllm evaluate`.

The options of `finetune` that only some tasks have are derived from the tasks (`tfllm/tasks/`).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfllm import tasks
from tfllm.commands.arguments import Address, Folder, Model, below, load_model
from tfllm.config import ModelConfig
from tfllm.presets import preset as named_preset
from tfllm.settings import Finetuning, Pretraining, StrategyName


def _tasks_with(option: tasks.Option) -> str:
    """The names of the tasks with this option."""
    return ", ".join(spec.name for spec in tasks.all_tasks() if option in tasks.options_of(spec))


def _help(option: tasks.Option) -> str:
    return f"{option.help} For {_tasks_with(option)}."


TaskName = Annotated[
    str, tyro.conf.arg(metavar="{" + ",".join(spec.name for spec in tasks.all_tasks() if spec.finetuning) + "}")
]
TaskOptions: Any = dataclasses.make_dataclass(
    "TaskOptions",
    [
        (option.name, Annotated[option.type, tyro.conf.arg(help=_help(option))], dataclasses.field(default=option.default))
        for option in tasks.finetuning_options().values()
    ],
    frozen=True,
    kw_only=True,
)
"""The options that only some tasks have."""


def pretrain(
    store: Folder,
    *,
    tokenizer: Path,
    run: Address,
    preset: str = "llama-mini",
    config: Path | None = None,
    weights_from: Address | None = None,
    prompts: tuple[str, ...] = (),
    strategy: StrategyName = "auto",
    devices: int | None = None,
    mesh: tuple[int, int] | None = None,
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining(),  # noqa: B008  (frozen)
) -> None:
    """Train a language model: a decoder (next token) or an encoder (masked tokens), depending on the preset.

    If it is stopped or killed, run the same command again: it continues from the last checkpoint.

    Args:
        store: Folder of the token store.
        tokenizer: Folder of the store's tokenizer.
        run: Folder of the run, or its address (gs://…). It gets the checkpoints, and logs for TensorBoard.
        preset: Architecture; `tfllm info` lists the names. The size of the vocabulary is that of the tokenizer.
        config: A JSON file with another architecture, in the format that `tfllm info NAME` prints, in place of a preset.
        weights_from: A model folder or run to start from, if this run has no checkpoint yet.
        prompts: Texts that are continued after some epochs, or whose [MASK] is filled, for TensorBoard: see --samples-every.
        strategy: Where to train. auto: as in TF_CONFIG (see launch), else mirrored if there are several GPUs, else one device.
        devices: Number of GPUs of this machine; without GPUs, of parts of its processor.
        mesh: Split the weights over devices: number of devices for the rows of a batch, and for the weights.
    """
    import tfllm
    from tfllm.data import Store

    place = tfllm.train.strategy(strategy, devices=devices, mesh=mesh)  # before TensorFlow does anything else
    words = tfllm.tokenizers.load(tokenizer)
    architecture = (ModelConfig.load(config) if config else named_preset(preset)).replace(vocab_size=words.vocab_size)
    if settings.sequence_length > architecture.max_length:
        longer = settings.sequence_length
        print(f"max_length of the preset is {architecture.max_length}: made {longer}, for rows of that length")
        architecture = architecture.replace(max_length=longer)
    tfllm.pretrain(
        Store.open(store, words),
        words,
        config=architecture,
        folder=run,
        settings=settings,
        weights_from=weights_from,
        prompts=prompts or (("",) if architecture.causal else ()),
        strategy=place,
    )
    use = "generate" if architecture.causal else "predict"
    print(f"done: tfllm {use} {run} …; tensorboard --logdir {below(run, 'logs')}")


def finetune(
    model: Model = "",
    *,
    task: TaskName,
    data: Path,
    validation: Annotated[str, tyro.conf.arg(metavar="PATH|SHARE")],
    run: Address,
    preset: str | None = None,
    config: Path | None = None,
    tokenizer: Path | None = None,
    test: Path | None = None,
    max_length: int | None = None,
    options: Annotated[TaskOptions, tyro.conf.arg(name="")] = TaskOptions(),  # noqa: B008  (frozen)
    dtype: Literal["auto", "float32", "mixed_bfloat16"] = "float32",
    strategy: StrategyName = "auto",
    devices: int | None = None,
    mesh: tuple[int, int] | None = None,
    settings: Annotated[Finetuning, tyro.conf.arg(name="")] = Finetuning(),  # noqa: B008  (frozen)
) -> None:
    """Fine-tune a pretrained encoder for a task. The model of the best epoch is saved in RUN/best.

    If it is stopped or killed, run the same command again: it continues from the last checkpoint.

    Args:
        model: A pretrained encoder: a run, a model folder or a Hugging Face folder. Without it, a new model is trained: give
            its architecture with --preset or --config, and --tokenizer.
        task: Task of the model.
        data: Training data: .csv, .tsv, .jsonl, .json, .parquet, .txt or .conll (CoNLL), .conllu, SQuAD .json.
        validation: Data for the choice of the best epoch: a file of the same kind, or a share of --data, for example 0.1. Its
            rows are chosen by the hash of their text, so equal texts are all in one of the two parts.
        run: Folder of the run, or its address (gs://…). It gets the checkpoints, the best model, and logs for TensorBoard.
        preset: Architecture of a new model; `tfllm info` lists the names. The size of the vocabulary is that of the tokenizer.
        config: A JSON file with another architecture, in place of a preset.
        tokenizer: Folder of the tokenizer of a new model.
        test: Data for one evaluation of the best model at the end.
        max_length: Longest row in tokens; by default 128, for questions 384, and at most the number of the model's positions.
        dtype: mixed_bfloat16 is faster if the devices support it. auto chooses it then.
        strategy: Where to train. auto: as in TF_CONFIG (see launch), else mirrored if there are several GPUs, else one device.
        devices: Number of GPUs of this machine; without GPUs, of parts of its processor.
        mesh: Split the weights over devices: number of devices for the rows of a batch, and for the weights.
    """
    spec = tasks.get(task)
    finetuned = tasks.finetuning_of(spec)
    of_reader, of_model = _options_of(spec, options)
    import tfllm
    from tfllm import finetuning

    place = tfllm.train.strategy(strategy, devices=devices, mesh=mesh)  # before TensorFlow does anything else
    pretrained, words = _start(spec, model, preset, config, tokenizer)
    most = (pretrained if isinstance(pretrained, ModelConfig) else pretrained.config).max_length
    of_reader["max_length"] = min(finetuned.max_length if max_length is None else max_length, most)
    rows, held_out, asked = _read_rows(spec.name, words, data, validation, test, of_reader)
    with place.scope():
        learner = finetuning.build_model(spec.name, pretrained, rows, seed=settings.seed, dtype=dtype, **of_model)
    finished = tfllm.finetune(learner, rows, held_out, folder=run, settings=settings)
    best_epoch = {name: value for name, value in (finished.best_record or {}).items() if isinstance(value, int | float)}
    print(json.dumps({"best epoch": best_epoch}, indent=2))
    if asked is not None:
        best, _ = tfllm.load(below(run, "best"))
        print(json.dumps({"test": finetuning.evaluator(best, asked)().scores}, indent=2))
    print(f"done: tfllm predict {below(run, 'best')} …; tfllm export {below(run, 'best')} --name …")


def _options_of(spec: tasks.TaskSpec, options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the task's reader, and those of its model.

    Raises:
        ValueError: the task does not have an option that was given.
    """
    finetuned = tasks.finetuning_of(spec)
    reader, model = (
        {each.name: getattr(options, each.name) for each in group}
        for group in (finetuned.reader_options, finetuned.model_options)
    )
    for option in tasks.finetuning_options().values():
        if option.name not in reader | model and getattr(options, option.name) != option.default:
            flag = f"--{option.name.replace('_', '-')}"
            raise ValueError(
                f"{flag} is invalid: expected no {flag} with --task {spec.name}, for it is an option of {_tasks_with(option)}. "
                f"Remove {flag}."
            )
    return reader, model


def _read_rows(
    task: str, words: Any, data: Path, validation: str, test: Path | None, options: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """The rows for training, validation and test (None without a test). All have the labels of the training."""
    import tfllm
    from tfllm import finetuning

    rows = finetuning.read(task, data, words, **options)
    if rows.labels:
        options = options | {"labels": rows.labels}
    share = _share(validation)
    if share is None:
        held_out = finetuning.read(task, Path(validation), words, **options)
    else:
        rows, held_out = tfllm.data.split(rows, validation=share)
        kept, apart = len(rows.records), len(held_out.records)
        print(f"{data}: {apart} of {kept + apart} records held out to choose the best epoch by (validation {share})")
    return rows, held_out, None if test is None else finetuning.read(task, test, words, **options)


def _start(
    spec: tasks.TaskSpec, model: str, preset: str | None, config: Path | None, tokenizer: Path | None
) -> tuple[Any, Any]:
    """The model to start from, or the architecture of a new model; and the tokenizer."""
    import tfllm

    given = {"a model": model, "--preset": preset, "--config": config}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) != 1:
        raise ValueError(f"expected one of {', '.join(given)}, got {' and '.join(chosen) or 'none'}. Give one of them.")
    if model:
        if tokenizer is not None:
            raise ValueError(
                f"--tokenizer {tokenizer} is invalid: expected no --tokenizer with a model, for a model has its own. Remove it."
            )
        return load_model(model)
    if tokenizer is None:
        raise ValueError(
            f"--tokenizer is missing: expected one with {chosen[0]}. Give the folder that tfllm tokenizer --out wrote."
        )
    words = tfllm.tokenizers.load(tokenizer)
    architecture = ModelConfig.load(config) if config else named_preset(preset or "")
    if architecture.causal and not spec.model_class.causal:
        raise ValueError(
            f"{chosen[0]} {config or preset} is invalid: expected an encoder. Give one, such as --preset bert-tiny or "
            "--preset modern-encoder-mini."
        )
    return architecture.replace(vocab_size=words.vocab_size), words


def _share(validation: str) -> float | None:
    """0.1 -> 0.1; held_out.csv -> None."""
    try:
        return float(validation)
    except ValueError:
        return None


def evaluate(
    model: Model,
    *,
    store: Path,
    split: str = "validation",
    sequence_length: int = 256,
    batch_size: int = 16,
    stride: int | None = None,
    document_masks: bool = False,
    pairs: Literal["nsp", "sop"] = "nsp",
    limit: int | None = None,
) -> None:
    """Evaluate a language model on a split of a store, and print the metrics as JSON.

    A decoder predicts each token once. An encoder predicts the same masked tokens in each evaluation. For models with another
    task, use `finetune --test`.

    Args:
        model: A run, a checkpoint or a model folder, local or at an address (gs://…), or a Hugging Face folder.
        store: Folder of the token store.
        split: validation or train.
        sequence_length: Tokens of a row.
        batch_size: Rows of a batch.
        stride: For decoders: number of tokens that are scored in a row; half of the row by default. The other tokens before
            them are only context.
        document_masks: Documents in one row do not attend to each other; as in training.
        pairs: For encoders that were trained on pairs: which pairs (nsp: next sentence, sop: sentence order).
        limit: Evaluate only this many rows of the split.
    """
    import keras

    from tfllm.data import Store
    from tfllm.pretraining import batches

    loaded, words = load_model(model)
    if not tasks.task_of(loaded).pretrains:
        raise ValueError(
            f"{model} holds a {type(loaded).__name__}: expected a CausalLM or MaskedLM. Evaluate this model with tfllm "
            "finetune --test."
        )
    options: dict[str, Any] = dict(sequence_length=sequence_length, batch_size=batch_size, document_masks=document_masks)
    if loaded.causal:
        options["stride"] = max(1, sequence_length // 2) if stride is None else stride
    if loaded.settings().get("next_sentence"):
        options["pairs"] = pairs
    measures = {"token_bytes": words.token_bytes()} if loaded.causal else {}
    loaded.compile(keras.optimizers.SGD(), **measures)  # which keeps no state
    rows = batches(loaded, Store.open(store, words), words, **options, split=split, shuffle=False, repeat=False)
    if limit is not None:
        rows = rows.first_rows(limit)
        options["limit"] = limit
    metrics = loaded.evaluate(rows, return_dict=True)
    print(json.dumps({name: float(value) for name, value in metrics.items()} | options, indent=2))
