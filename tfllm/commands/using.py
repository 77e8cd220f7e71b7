"""`tfllm predict`, `tfllm convert` and `tfllm export`."""

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
    """Predict with a fine-tuned model or a masked language model. Each prediction is one line of JSON.

    Args:
        model: A run, a checkpoint or a model folder, local or at an address (gs://…), or a Hugging Face folder.
        inputs: Texts; quote each. For a model with two inputs, give pairs: text and text_pair, or question and context, one
            after the other.
        file: Predict for each row of a .csv, .tsv, .jsonl or .parquet file. Its columns have the names of the model's inputs.
    """
    import tfllm
    from tfllm.data.labelled.text_files import read_rows, string_of
    from tfllm.prediction.answers import inputs_of

    if bool(inputs) == bool(file):
        raise ValueError("inputs is invalid: expected texts or --file. Give either quoted texts or --file, not both.")
    loaded, words = load_model(model)
    names = inputs_of(loaded)
    if len(inputs) % len(names):
        raise ValueError(
            f"inputs is invalid: expected pairs of {' and '.join(names)}, got {len(inputs)} texts. Give both of each pair, in "
            "this order."
        )
    columns = [list(inputs[number :: len(names)]) for number in range(len(names))]
    if file is not None:
        rows = list(read_rows(file))
        columns = [[string_of(row, name) for row in rows] for name in names]
    for answer in tfllm.predict(loaded, words, *columns):
        print(json.dumps(answer, ensure_ascii=False))


def convert(source: Model, out: Folder, *, to: Literal["tfllm", "huggingface"] = "tfllm", pairs: bool = False) -> None:
    """Convert a Hugging Face folder into a model folder of tfllm, or the other way round.

    Args:
        source: Folder of the model. One of tfllm may be at an address (gs://…).
        out: New folder.
        to: Format of the new folder.
        pairs: The Hugging Face model reads pairs of texts (entailment, reranking). Its files do not contain this information.
    """
    import tfllm

    if pairs and not is_huggingface(Path(source, "config.json")):
        raise ValueError(
            f"--pairs is invalid: expected no --pairs for {source}, for only Hugging Face folders need it. Remove --pairs."
        )
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
    """Write the next version of a SavedModel that takes and returns strings. For a decoder, the settings are those of the model
    folder's generation.json (GenerationConfig.save writes it), or the defaults.

    Args:
        model: A run, a checkpoint or a model folder, local or at an address (gs://…), or a Hugging Face folder.
        name: Name of the model on the server.
        folder: Folder of all exports.
        dtype: mixed_bfloat16 has half the size, and is faster if the processor supports it. auto chooses for this machine.
        quantize: int8 stores matrices in a quarter of the size of float32 (not the embeddings). Large models become faster,
            with slightly lower quality. Only on x86 processors.
        prepack: For a decoder: the server keeps another copy of each matrix, in the layout that its processor reads fastest.
            Faster for several prompts, or in bfloat16. Only on x86 processors; in bfloat16 only with AVX-512.
        draft_model: A smaller model with the same tokenizer, which drafts num_draft_tokens of generation.json at once.
    """
    import tfllm

    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"name={name!r} is invalid: expected a name without a path. Give the path in --folder.")
    loaded, words = load_model(model, dtype=dtype)
    drafter = None if draft_model is None else load_model(draft_model, dtype=dtype)[0]
    config = generation_config(model) if tasks.task_of(loaded).generates else None
    print(tfllm.export(loaded, words, folder / name, config, draft_model=drafter, quantize=quantize, prepack=prepack))
