"""`export`: writes a model and its tokenizer as one SavedModel.

In: a model, a tokenizer, settings, a folder. Out: `folder/1`, `folder/2`, …, the versions that TensorFlow Serving loads.
A version holds variables, a graph of TensorFlow and TensorFlow Text ops, and two files in `assets.extra`. To run it, neither
tfllm nor Keras is needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfllm import __version__, tasks
from tfllm.exporting import warm_up
from tfllm.exporting.contract import DESCRIPTION_FILE, EXTRA_FOLDER, WARM_UP_FILE, contract_of, versions
from tfllm.exporting.signatures import build, contract_name_of
from tfllm.files import move_into_place, temporary_path
from tfllm.generation.config import GenerationConfig, config_of
from tfllm.generation.drafting import check_draft_model
from tfllm.models.base import LanguageModel, check_tokenizer
from tfllm.models.folder import get, get_both
from tfllm.models.inference import InferenceModel, Quantization, check_form
from tfllm.tokenizers import Tokenizer


def export(
    model: LanguageModel | str | Path,
    tokenizer: Tokenizer | str | Path,
    folder: str | Path,
    config: GenerationConfig | None = None,
    *,
    draft_model: LanguageModel | str | Path | None = None,
    quantize: Quantization = None,
    prepack: bool = False,
    **overrides: Any,
) -> Path:
    """Writes the next version of an export. If it fails, no version appears.

    >>> tfllm.export(model, tokenizer, "saved_models/demo")
    PosixPath('saved_models/demo/1')

    Args:
        model, tokenizer: a model and its tokenizer, or the paths of their folders.
        folder: the folder of all versions. Its name is the model's name on the server.
        config: settings of a causal model. `serving_default` takes all settings from it; by default it decodes greedily.
            `generate` takes from it the settings that are no inputs: stop strings, biases, bad words, `top_log_probs`, ….
            None: the default settings.
        draft_model: a smaller model for speculative decoding, as in `tfllm.generate`: it drafts `config.num_draft_tokens`
            tokens at a time. The export contains its weights, too.
        quantize: "int8" stores the matrices of the blocks and of the vocabulary in 8 bits, and multiplies in 8 bits. A token
            of GPT-2 small then takes 0.54 times as long as in float32 (0.9 times without VNNI). The gain is less for smaller
            models. The quality is slightly lower (docs/performance.md). Only on x86 processors, where TensorFlow runs oneDNN.
        prepack: of a causal model: the server keeps another copy of each matrix, in the layout that its processor reads
            fastest. Several prompts at once become faster; in bfloat16 also one prompt. `serving_default` and `generate` each
            take memory for another copy of the weights at their first request. "int8" always does this. Only on x86
            processors, where TensorFlow runs oneDNN; in bfloat16 only with AVX-512: on another processor TensorFlow ends the
            server.
        overrides: single settings in place of those of `config`: `max_new_tokens=40`.

    Returns:
        The folder of the new version. Its number is one more than the highest number in `folder`.

    Raises:
        TypeError: `model` is no model, or `tokenizer` no tokenizer.
        ValueError: the model was made by `for_inference`; the tokenizer is not the model's; the model does not support a
            setting; the draft model does not fit; or `quantize` or `prepack` needs another value, processor or dtype.
        FileExistsError: `folder` is a file, or the folder of a version.
    """
    model, tokenizer = get_both(model, tokenizer)
    draft_model = None if draft_model is None else get(draft_model)
    if isinstance(model, InferenceModel) or isinstance(draft_model, InferenceModel):
        name, value = ("model", model) if isinstance(model, InferenceModel) else ("draft_model", draft_model)
        raise ValueError(
            f"{name}={type(value).__name__} is invalid: expected a model that for_inference did not copy. Give its .model; "
            "quantize and prepack are arguments of export, too."
        )
    check_form(model, quantize, prepack)
    if not tasks.task_of(model).generates:
        _check_no_generation(model, config, overrides, prepack)
    config = config_of(config, overrides)
    check_tokenizer(model, tokenizer)
    if draft_model is not None:
        check_draft_model(draft_model, model, tokenizer, config)
        check_form(draft_model, quantize, prepack)
    if config.num_sequences != 1:
        raise ValueError(
            f"num_sequences={config.num_sequences} is invalid: expected 1, for an export returns one text for each prompt. "
            "Set num_sequences=1. For several texts, send the prompt several times, with different seeds."
        )
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: expected a folder for the versions of a model. Give another path.")
    if (folder / "saved_model.pb").exists():
        raise FileExistsError(
            f"{folder} is one version of an export: expected the folder that holds the versions. Give {folder.parent}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_path(folder / "version") as partial:
        _write(model, tokenizer, config, partial, draft_model, quantize, prepack)
        return _publish_version(partial, folder)


def _check_no_generation(
    model: LanguageModel, config: GenerationConfig | None, overrides: dict[str, Any], prepack: bool
) -> None:
    """Raises ValueError if there are settings of generation, which this model cannot use."""
    name = type(model).__name__
    for argument, value in (overrides if config is None else {"config": config}).items():
        raise ValueError(
            f"{argument}={value!r:.80} is invalid: expected no setting of generation, for {name} does not generate text. "
            f"Remove {argument}."
        )
    if prepack:
        raise ValueError(f"prepack=True is invalid: expected False, for {name} does not generate text. Remove prepack=True.")


def _write(
    model: LanguageModel,
    tokenizer: Tokenizer,
    config: GenerationConfig,
    folder: Path,
    draft_model: LanguageModel | None,
    quantize: Quantization,
    prepack: bool,
) -> None:
    module = tf.Module()
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    served = [InferenceModel(each, quantize, prepack) for each in (model, draft_model) if each is not None]
    # Only the variables: with a Keras object in the module, loading would need Keras.
    module.weights = [variable for each in served for variable in each.variables]
    target, drafter = [each.replaced for each in served] if draft_model is not None else (served[0].replaced, None)
    tf.saved_model.save(module, str(folder), signatures=build(target, tokenizer, config, drafter), options=options)
    extra = folder / EXTRA_FOLDER
    extra.mkdir()
    warm_up.write(extra / WARM_UP_FILE, contract_of(contract_name_of(model), config.to_dict()))
    described = _description(model, tokenizer, config) | {"quantize": quantize, "prepack": prepack}
    if draft_model is not None:
        described["draft_model"] = draft_model.config.to_dict()
    description = json.dumps(described, indent=2, ensure_ascii=False)
    (extra / DESCRIPTION_FILE).write_text(description + "\n", encoding="utf-8")


def _description(model: LanguageModel, tokenizer: Tokenizer, config: GenerationConfig) -> dict[str, Any]:
    """The contents of `tfllm.json`: what the export was made from."""
    return {
        "tfllm": __version__,
        "tensorflow": tf.__version__,
        "contract": contract_name_of(model),
        "dtype": model.dtype_policy.name,
        "model": model.config.to_dict(),
        "task": {"task": model.task} | model.settings(),
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "fingerprint": tokenizer.fingerprint(),
        },
    } | ({"generation": config.to_dict()} if tasks.task_of(model).generates else {})


def _publish_version(partial: Path, folder: Path) -> Path:
    """Moves a complete export to the next free version number, and returns its new path."""
    while True:
        path = folder / str(max(versions(folder), default=0) + 1)
        try:
            move_into_place(partial, path)
            return path
        except OSError:
            # If the path exists, another export took the number in the meantime. Otherwise it is an error.
            if not path.is_dir():
                raise
