"""The command line: `tfllm COMMAND …` or `python -m tfllm COMMAND …`. One thin function a command, on the Python API.

From a folder of text files to a served model:

    tfllm tokenizer my_texts --out runs/tokenizer
    tfllm prepare my_texts --tokenizer runs/tokenizer --out runs/store
    tfllm pretrain runs/store --tokenizer runs/tokenizer --run runs/first
    tfllm generate runs/first --prompt "Once upon a time"
    tfllm evaluate runs/first --store runs/store
    tfllm export runs/first --name first
    tfllm check saved_models/first
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfllm.config import ModelConfig
from tfllm.presets import preset as named_preset
from tfllm.presets import preset_names

Paths = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH …]")]
Folder = Annotated[Path, tyro.conf.Positional]

app = tyro.extras.SubcommandApp()


@app.command
def tokenizer(
    paths: Paths,
    *,
    out: Path,
    kind: Literal["unigram", "bpe", "bytes"] = "unigram",
    vocab_size: int | None = None,
    invalid_utf8: Literal["error", "skip"] = "error",
) -> None:
    """Train a tokenizer on text.

    Args:
        paths: Text files, folders or globs.
        out: Folder for the tokenizer.
        kind: unigram is fast, bpe gives slightly fewer tokens, bytes needs no training.
        vocab_size: Entries of the vocabulary; 8192 unless given.
        invalid_utf8: What to do with files that are not UTF-8.
    """
    from tfllm import tokenizers

    if out.exists():
        raise FileExistsError(f"{out} is there already: choose another folder, or remove it first")
    trained = tokenizers.train(list(paths), kind=kind, vocab_size=vocab_size, invalid_utf8=invalid_utf8)
    trained.save(out)
    print(f"{out}: {trained.kind} tokenizer, {trained.vocab_size} entries")


@app.command
def prepare(
    paths: Paths,
    *,
    tokenizer: Path,
    out: Path,
    field: str = "text",
    separator: str | None = None,
    exclude: tuple[str, ...] = (),
    validation: float = 0.005,
    processes: int | None = None,
    invalid_utf8: Literal["error", "skip"] = "error",
) -> None:
    """Turn text into a token store: deduplicated, split, shuffled by hash.

    Args:
        paths: Text files, folders, globs, .jsonl[.gz|.zst] or .parquet files.
        tokenizer: Folder of the tokenizer.
        out: Folder for the store. Interrupted, call again: it goes on.
        field: Name of the text in JSON lines and Parquet.
        separator: String between documents of a text file; without one, a file is a document.
        exclude: Patterns of files to leave out.
        validation: Share of the documents held out, chosen by their hash.
        processes: Worker processes; all cores unless given.
        invalid_utf8: What to do with documents that are not UTF-8.
    """
    from tfllm import data, tokenizers

    store = data.prepare(
        list(paths),
        tokenizers.load(tokenizer),
        out,
        field=field,
        separator=separator,
        exclude=exclude,
        validation=validation,
        processes=processes,
        invalid_utf8=invalid_utf8,
    )
    _print_store(store)


@app.command
def pretrain(
    store: Folder,
    *,
    tokenizer: Path,
    run: Path,
    preset: str = "llama-mini",
    config: Path | None = None,
    epochs: int = 10,
    steps_per_epoch: int = 100,
    batch_size: int = 16,
    sequence_length: int = 256,
    optimizer: Literal["adamw", "muon", "lion"] = "adamw",
    learning_rate: float = 1e-3,
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine",
    warmup_steps: int | None = None,
    weight_decay: float = 0.1,
    gradient_accumulation: int = 1,
    document_masks: bool = False,
    dtype: Literal["float32", "mixed_bfloat16"] = "float32",
    seed: int = 0,
    weights_from: Path | None = None,
    validation_steps: int = 50,
    prompts: tuple[str, ...] = ("",),
) -> None:
    """Train a causal language model. Killed at any moment, the same command goes on where the run was.

    Args:
        store: Folder of the token store.
        tokenizer: Folder of the store's tokenizer.
        run: Folder of the run: checkpoints, and logs for TensorBoard.
        preset: Architecture; `tfllm info` lists the names. The vocabulary is the tokenizer's.
        config: A JSON file with an architecture of your own (as `tfllm info NAME` prints it), in place of a preset.
        epochs: Epochs in all; each ends with a checkpoint and a validation.
        steps_per_epoch: Steps (batches) between two checkpoints.
        batch_size: Rows of a batch.
        sequence_length: Tokens of a row.
        optimizer: adamw, muon (fewer steps for the same loss), or lion.
        learning_rate: Highest learning rate.
        schedule: Course of the learning rate after the warm-up.
        warmup_steps: Steps in which the learning rate rises; a tenth of all, at most 100, unless given.
        weight_decay: Decoupled weight decay, on matrices only.
        gradient_accumulation: Parts a batch is computed in, for less memory.
        document_masks: Keep documents that share a row from seeing each other.
        dtype: mixed_bfloat16 is faster where the processor has it.
        seed: Of first weights, batches and dropout.
        weights_from: A model folder or run to start from, where this run has no checkpoint of its own.
        validation_steps: Most batches of held-out documents scored at the end of each epoch.
        prompts: Continued at the end of each epoch, for TensorBoard.
    """
    import tfllm
    from tfllm.data import Store, causal_lm

    words = tfllm.tokenizers.load(tokenizer)
    tokens = Store.open(store, words)
    model_config = (ModelConfig.load(config) if config else named_preset(preset)).replace(vocab_size=words.vocab_size)
    if epochs < 1:
        raise ValueError(f"epochs={epochs} must be at least 1")
    if sequence_length > model_config.max_length:
        print(f"max_length of the preset is {model_config.max_length}: made {sequence_length}, for rows of that length")
        model_config = model_config.replace(max_length=sequence_length)
    model = tfllm.CausalLM(model_config, seed=seed, dtype=dtype)
    steps = epochs * steps_per_epoch
    warmup = min(100, steps // 10) if warmup_steps is None else warmup_steps
    rates = tfllm.train.schedule(schedule, peak=learning_rate, steps=steps, warmup_steps=warmup)
    model.compile(
        getattr(tfllm.train, optimizer)(rates, weight_decay=weight_decay),
        token_bytes=words.token_bytes(),
        gradient_accumulation=gradient_accumulation,
        seed=seed,
    )
    rows: dict[str, Any] = dict(sequence_length=sequence_length, batch_size=batch_size, document_masks=document_masks)
    training = tfllm.train.Run(
        run,
        model,
        tokenizer=words,
        steps_per_epoch=steps_per_epoch,
        data=f"store {tokens.fingerprint}, seed {seed}, {json.dumps(rows)}",
        weights_from=weights_from,
    )
    print(f"{model_config.num_parameters():,} parameters; {run} is at step {training.step} of {steps}")
    held_out = None
    if tokens.manifest["splits"]["validation"]["documents"]:
        held_out = causal_lm(tokens, **rows, split="validation", repeat=False).take(validation_steps)
    model.fit(
        causal_lm(tokens, **rows, seed=seed, start_step=training.step),
        validation_data=held_out,
        epochs=epochs,
        initial_epoch=training.epoch,
        steps_per_epoch=steps_per_epoch,
        callbacks=training.callbacks(
            sample=lambda: [
                each.prompt + each.text for each in tfllm.generate(model, words, prompts, max_new_tokens=sequence_length // 2)
            ],
            flops_per_token=3 * model_config.forward_flops_per_token(sequence_length),
        ),
    )
    print(f"done: tfllm generate {run} --prompt …; tensorboard --logdir {run / 'logs'}")


@app.command
def generate(
    model: Folder,
    *,
    prompt: tuple[str, ...] = ("",),
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    num_sequences: int | None = None,
    stop: tuple[str, ...] | None = None,
    seed: int | None = None,
) -> None:
    """Continue prompts: one as it comes, several as JSON lines. What is not given is as in generation.json, or the default.

    Args:
        model: A run, a checkpoint or a model folder.
        prompt: Texts to continue; quote each.
        max_new_tokens: Longest continuation.
        temperature: 0 always takes the most probable token; 1 draws from the model's own distribution.
        top_k: Draw from the k most probable tokens only.
        top_p: Draw from the most probable tokens that make up this probability.
        min_p: Draw from tokens at least this many times as probable as the most probable.
        repetition_penalty: Above 1, tokens already there become less probable.
        num_sequences: Continuations of each prompt.
        stop: End before any of these strings.
        seed: The same seed gives the same text.
    """
    import tfllm

    given = {name: value for name, value in locals().items() if name in _settings_of_generation() and value is not None}
    loaded, words = tfllm.load(model)
    settings = tfllm.GenerationConfig.load(model).replace(**given)
    if len(prompt) == 1 and settings.num_sequences == 1:
        print(prompt[0], end="", flush=True)
        for piece in tfllm.stream(loaded, words, prompt[0], settings):
            print(piece, end="", flush=True)
        print()
        return
    for result in tfllm.generate(loaded, words, list(prompt), settings):
        print(json.dumps({"prompt": result.prompt, "text": result.text}, ensure_ascii=False))


@app.command
def evaluate(
    model: Folder,
    *,
    store: Path,
    split: str = "validation",
    sequence_length: int = 256,
    batch_size: int = 16,
    stride: int | None = None,
    document_masks: bool = False,
) -> None:
    """Score a split of a store, every token once, and print the metrics as JSON.

    Args:
        model: A run, a checkpoint or a model folder.
        store: Folder of the token store.
        split: validation or train.
        sequence_length: Tokens of a row.
        batch_size: Rows of a batch.
        stride: New tokens of a row, half of it unless given: each is scored with the rest of the row before it.
        document_masks: Keep documents that share a row from seeing each other; as in training.
    """
    import keras

    import tfllm
    from tfllm.data import Store, causal_lm

    loaded, words = tfllm.load(model)
    loaded.compile(keras.optimizers.SGD(), token_bytes=words.token_bytes())  # which keeps no state
    stride = max(1, sequence_length // 2) if stride is None else stride
    rows = causal_lm(
        Store.open(store, words),
        sequence_length=sequence_length,
        batch_size=batch_size,
        split=split,
        shuffle=False,
        repeat=False,
        stride=stride,
        document_masks=document_masks,
    )
    metrics = loaded.evaluate(rows, return_dict=True)
    settings = {"sequence_length": sequence_length, "stride": stride}
    print(json.dumps({name: float(value) for name, value in metrics.items()} | settings, indent=2))


@app.command
def export(model: Folder, *, name: str, folder: Path = Path("saved_models")) -> None:
    """Write the next version of a SavedModel that takes and returns strings.

    Args:
        model: A run, a checkpoint or a model folder.
        name: Of the model, as servers will call it.
        folder: Where exports land.
    """
    import tfllm

    loaded, words = tfllm.load(model)
    print(tfllm.export(loaded, words, folder / name, tfllm.GenerationConfig.load(model)))


@app.command
def check(folder: Folder) -> None:
    """Verify that an export keeps its contract, and run each signature once. Exit code 1 where it does not.

    Args:
        folder: Of an export, or of one version of it.
    """
    import tfllm

    report = tfllm.check(folder)
    print(report)
    raise SystemExit(0 if report.ok else 1)


@app.command
def info(thing: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Say what a preset, a run, a model folder or a token store is. Without a name: list the presets.

    Args:
        thing: Name of a preset, or a folder.
    """
    folder = Path(thing)
    if not thing:
        for name in preset_names():
            print(f"{name:16} {named_preset(name).num_parameters():>15,} parameters")
    elif thing in preset_names():
        print(json.dumps(named_preset(thing).to_dict(), indent=2))
    elif (folder / "manifest.json").is_file():
        from tfllm.data import Store

        _print_store(Store.open(folder))
    elif (folder / "config.json").is_file():
        _print_model(folder)
    else:
        raise ValueError(f"{thing!r} is neither a preset ({', '.join(preset_names())}) nor a run, model or store folder")


def _settings_of_generation() -> set[str]:
    import dataclasses

    from tfllm.generation.config import GenerationConfig

    return {field.name for field in dataclasses.fields(GenerationConfig)}


def _print_store(store: Any) -> None:
    splits = store.manifest["splits"]
    for name, split in splits.items():
        print(f"{name}: {split['documents']:,} documents, {split['tokens']:,} tokens, {split['utf8_bytes']:,} bytes")
    manifest = store.manifest
    print(f"{manifest['duplicates_removed']} duplicates removed, {manifest['skipped_documents']} documents skipped")


def _print_model(folder: Path) -> None:
    from tfllm.train.checkpoints import latest_checkpoint, read_state

    config = ModelConfig.load(folder / "config.json")
    print(json.dumps(config.to_dict(), indent=2))
    print(f"{config.num_parameters():,} parameters")
    newest = latest_checkpoint(folder)
    if newest is not None:
        history = read_state(newest)["history"]
        print(f"newest checkpoint: {newest}")
        print(json.dumps(history[-1], indent=2) if history else "no epoch finished yet")


def main() -> None:
    """Runs a command; what a user can mend is said in one line. TFLLM_TRACEBACK=1 shows where it came from."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app.cli(prog="tfllm", description=(__doc__ or "").replace("    tfllm", "  tfllm"))
    except BrokenPipeError:  # `tfllm info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        if os.environ.get("TFLLM_TRACEBACK"):
            raise
        print(f"tfllm: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
