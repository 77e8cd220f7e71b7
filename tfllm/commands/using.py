"""What models are for: answering, being converted, being exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfllm import tasks
from tfllm.commands.arguments import Address, Folder, Model, generation_config, is_huggingface, load_model


def predict(
    model: Model,
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    file: Path | None = None,
) -> None:
    """Ask a fine-tuned or masked model: one JSON line an answer.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        inputs: Texts, an answer each; quote each. For a model that reads two at once they come in twos: a text and its pair,
            or a question and its context.
        file: Ask about each row of a .csv, .tsv, .jsonl or .parquet file, whose columns are called as the model's inputs are.
    """
    import tfllm
    from tfllm.data.labelled.text_files import read_rows, string_of
    from tfllm.prediction.answers import inputs_of

    if bool(inputs) == bool(file):
        raise ValueError("give either the texts themselves (quoted) or --file")
    loaded, words = load_model(model)
    names = inputs_of(loaded)
    if len(inputs) % len(names):
        raise ValueError(
            f"{model} reads {' and '.join(names)} for an answer, in this order, got {len(inputs)} texts: give them in twos"
        )
    columns = [list(inputs[number :: len(names)]) for number in range(len(names))]
    if file is not None:
        rows = list(read_rows(file))
        columns = [[string_of(row, name) for row in rows] for name in names]
    for answer in tfllm.predict(loaded, words, *columns):
        print(json.dumps(answer, ensure_ascii=False))


def convert(source: Model, out: Folder, *, to: Literal["tfllm", "huggingface"] = "tfllm", pairs: bool = False) -> None:
    """Turn a Hugging Face folder into one of ours, or one of ours into Hugging Face's.

    Args:
        source: Folder of the model; one of ours may be at an address (gs://…).
        out: New folder.
        to: Whose format to write.
        pairs: The Hugging Face model reads two texts at once (entailment, reranking): no file of its folder says so.
    """
    import tfllm

    if pairs and not is_huggingface(Path(source, "config.json")):
        raise ValueError("--pairs is for Hugging Face folders: one of ours knows what it reads")
    loaded, words = load_model(source, **({"pairs": True} if pairs else {}))
    (tfllm.save if to == "tfllm" else tfllm.to_huggingface)(loaded, words, out)
    print(f"{out}: {type(loaded).__name__}, {loaded.config.num_parameters():,} parameters")


def export(
    model: Model,
    *,
    name: str,
    folder: Path = Path("saved_models"),
    dtype: Literal["auto", "float32", "mixed_bfloat16"] = "float32",
    quantize: Literal["int8"] | None = None,
    prepack: bool = False,
    draft_model: Address | None = None,
) -> None:
    """Write the next version of a SavedModel that takes and returns strings. A decoder's has the settings of the model folder's
    generation.json (GenerationConfig.save writes it), or the defaults.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        name: Of the model, as servers will call it.
        folder: Where exports land.
        dtype: mixed_bfloat16 makes half the size, and is faster where the processor has it; auto goes by this machine's.
        quantize: int8 keeps matrices in a quarter of float32's size (tables of vectors stay), and makes tokens of a large model
            faster, for a little quality; x86 only.
        prepack: A decoder's matrices stand in the server's memory once more, as its processor reads them soonest: for several
            prompts at once, or bfloat16; x86 only, in bfloat16 with AVX-512 only.
        draft_model: A smaller model of the same tokenizer, to draft generation.json's num_draft_tokens at once.
    """
    import tfllm

    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"name={name!r} must be a plain name; --folder says where exports land")
    loaded, words = load_model(model, dtype=dtype)
    drafter = None if draft_model is None else load_model(draft_model, dtype=dtype)[0]
    config = generation_config(model) if tasks.task_of(loaded).generates else None
    print(tfllm.export(loaded, words, folder / name, config, draft_model=drafter, quantize=quantize, prepack=prepack))
