"""`export`: a model and its tokenizer as one version of a SavedModel.

Enters: a model, a tokenizer, settings, a folder. Leaves: `folder/1`, `folder/2`, …: what TensorFlow Serving loads.
Nothing of tfllm or Keras is in it: variables, a graph of core and TensorFlow Text ops, and a few files beside.
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
    """Writes the next version of an export, all of it or nothing.

    >>> tfllm.export(model, tokenizer, "saved_models/demo")
    PosixPath('saved_models/demo/1')

    Args:
        model, tokenizer: or the paths of their folders.
        folder: of all versions; servers take its name for the model's.
        config: of a causal model: how `serving_default` continues its prompts (greedily, unless said), and what of the settings
            `generate` cannot be told by row: stop strings, biases, bad words, how many alternatives it gives; `overrides`
            change single ones (`max_new_tokens=40`).
        quantize: "int8" keeps the matrices of stack and vocabulary in 8 bits, and multiplies in 8 bits: a token of GPT-2 small
            takes 0.54 of its time in float32 (without VNNI 0.9), of a smaller model more, for a little quality
            (docs/performance.md). Only on x86 processors, where TensorFlow runs oneDNN.
        prepack: of a causal model: the server keeps each matrix once more, as its processor reads it soonest. Several prompts
            at once are continued sooner, in bfloat16 one is, too; `serving_default` and `generate` take memory for the
            weights again, when they are first asked. int8 does so always. Only on x86 processors, where TensorFlow runs oneDNN;
            in bfloat16 only on those with AVX-512: without, TensorFlow ends the server.
        draft_model: drafts `config.num_draft_tokens` at a time, as in `tfllm.generate`; its weights are in the export, too.

    Returns:
        The folder of the new version: one more than the highest there.

    Raises:
        TypeError: the model is no model, or the tokenizer no tokenizer.
        ValueError: the model is for inference already, the tokenizer is not the model's, the config wants what the model cannot
            give, the draft model does not fit, `quantize` is unknown, or it or `prepack` wants another processor or dtype.
        FileExistsError: `folder` is a file, or a version.
    """
    model, tokenizer = get_both(model, tokenizer)
    draft_model = None if draft_model is None else get(draft_model)
    if isinstance(model, InferenceModel) or isinstance(draft_model, InferenceModel):
        raise ValueError("export takes models themselves, and its own quantize; what for_inference made has copies of one")
    generates = tasks.task_of(model).generates
    if not generates and (config is not None or overrides):
        raise ValueError(f"{type(model).__name__} does not generate: leave the GenerationConfig and its settings out")
    check_form(model, quantize, prepack)
    if not generates and prepack:
        raise ValueError(f"prepack=True makes decoding faster, and {type(model).__name__} does not generate: leave it out")
    config = config_of(config, overrides)
    check_tokenizer(model, tokenizer)
    if draft_model is not None:
        check_draft_model(draft_model, model, tokenizer, config)
        check_form(draft_model, quantize, prepack)
    if config.num_sequences != 1:
        raise ValueError(
            f"num_sequences={config.num_sequences} cannot be exported, for a signature gives a row a prompt: "
            "send the prompt several times with different seeds; of a beam search the best one is given"
        )
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give the folder that holds a model's versions")
    if (folder / "saved_model.pb").exists():
        raise FileExistsError(f"{folder} is a version: give the folder that holds them, {folder.parent}")
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_path(folder / "version") as partial:
        _write(model, tokenizer, config, partial, draft_model, quantize, prepack)
        return _publish_version(partial, folder)


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
    # The bare variables: a Keras object in here would need Keras to load.
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
    """What the export was made from."""
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
    """Renames a complete export to the next free version number; returns its new path."""
    while True:
        path = folder / str(max(versions(folder), default=0) + 1)
        try:
            move_into_place(partial, path)
            return path
        except OSError:
            # Another export took the number in between; anything else is an error.
            if not path.is_dir():
                raise
