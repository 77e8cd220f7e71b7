"""What models are for: continuing, answering, being exported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfllm.commands.arguments import Folder, Model, generation_config, load_model


def generate(
    model: Model,
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
        model: A run, a checkpoint or a model folder, here or at an address (gs://…).
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
    settings = generation_config(model).replace(**given)
    if len(prompt) == 1 and settings.num_sequences == 1:
        print(prompt[0], end="", flush=True)
        for piece in tfllm.stream(loaded, words, prompt[0], settings):
            print(piece, end="", flush=True)
        print()
        return
    for result in tfllm.generate(loaded, words, list(prompt), settings):
        print(json.dumps({"prompt": result.prompt, "text": result.text}, ensure_ascii=False))


def predict(
    model: Model,
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    file: Path | None = None,
) -> None:
    """Ask a fine-tuned or masked model: one JSON line an answer.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        inputs: A text; a text and its pair; or a question and its context. Quote each.
        file: Ask about each row of a .csv, .tsv or .jsonl file, whose columns are called as the model's inputs are.
    """
    import tfllm
    from tfllm.data.labelled.reading import read_rows, string_of
    from tfllm.prediction.answers import inputs_of

    if bool(inputs) == bool(file):
        raise ValueError("give either the texts themselves or --file")
    loaded, words = load_model(model)
    columns = [[text] for text in inputs]
    if file is not None:
        rows = list(read_rows(file))
        columns = [[string_of(row, name) for row in rows] for name in inputs_of(loaded)]
    for answer in tfllm.predict(loaded, words, *columns):
        print(json.dumps(answer, ensure_ascii=False))


def convert(source: Model, out: Folder, *, to: Literal["tfllm", "huggingface"] = "tfllm") -> None:
    """Turn a Hugging Face folder into one of ours, or one of ours into Hugging Face's.

    Args:
        source: Folder of the model; one of ours may be at an address (gs://…).
        out: New folder.
        to: Whose format to write.
    """
    import tfllm

    loaded, words = load_model(source)
    (tfllm.save if to == "tfllm" else tfllm.to_huggingface)(loaded, words, out)
    print(f"{out}: {type(loaded).__name__}, {loaded.config.num_parameters():,} parameters")


def export(model: Model, *, name: str, folder: Path = Path("saved_models")) -> None:
    """Write the next version of a SavedModel that takes and returns strings.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        name: Of the model, as servers will call it.
        folder: Where exports land.
    """
    import tfllm

    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"name={name!r} must be a plain name; --folder says where exports land")
    loaded, words = load_model(model)
    config = generation_config(model) if loaded.causal else None
    print(tfllm.export(loaded, words, folder / name, config))


def _settings_of_generation() -> set[str]:
    from tfllm.generation.config import GenerationConfig

    return {field.name for field in dataclasses.fields(GenerationConfig)}
