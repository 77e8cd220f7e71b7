"""Files of sentence-transformers: `modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`.

They define how a text becomes a vector. In: a Hugging Face folder. Out: settings of `TextEmbedder`; or the other way round.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfllm.tokenizers.tokenizer_config import read_json

_MODULES = "sentence_transformers.models."


def read_pooling(folder: Path) -> dict[str, Any]:
    """The settings of `TextEmbedder`; {} if the folder has no files of sentence-transformers.

    Raises:
        ValueError: a module, the pooling or a change of texts is not supported.
    """
    if not (folder / "modules.json").is_file():
        return {}
    modules = read_json(folder / "modules.json")
    kinds = {module["type"].removeprefix(_MODULES): folder / module["path"] for module in modules}
    if unknown := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        raise ValueError(
            f"{folder / 'modules.json'} has {', '.join(unknown)}: expected only Transformer, Pooling, Normalize. Give a folder "
            "of such a model."
        )
    chosen = {"mean"}
    if "Pooling" in kinds:
        switches = read_json(kinds["Pooling"] / "config.json")
        chosen = {key.removeprefix("pooling_mode_") for key, on in switches.items() if on is True and key in _modes(switches)}
    if chosen - {"mean_tokens", "cls_token", "mean"} or len(chosen) != 1:
        raise ValueError(
            f"{kinds['Pooling'] / 'config.json'} has the pooling {', '.join(sorted(chosen)) or None}: expected mean_tokens or "
            "cls_token. Give a folder of such a model."
        )
    longest = None
    for path in folder.glob("sentence_*_config.json"):  # sentence_bert_config.json; in old folders the name of the family
        limits = read_json(path)
        longest = limits.get("max_seq_length")
        if limits.get("do_lower_case"):
            raise ValueError(
                f"{path}: do_lower_case=True is invalid: expected False. Write false, and give texts in lower case."
            )
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file() and (name := read_json(prompts).get("default_prompt_name")):
        raise ValueError(
            f"{prompts}: default_prompt_name={name!r} is invalid: expected null. Write null, and put the prompt before your "
            "texts."
        )
    pooling = {"pooling": "first" if chosen == {"cls_token"} else "mean", "normalize": "Normalize" in kinds}
    return pooling | ({"max_length": longest} if longest else {})


def _modes(switches: dict[str, Any]) -> list[str]:
    return [key for key in switches if key.startswith("pooling_mode_")]


def write_pooling(model: Any, folder: Path) -> None:
    """Writes the files of sentence-transformers for a `TextEmbedder`."""
    settings = model.settings()
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] * settings["normalize"])]
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"{_MODULES}{kind}"} for i, (path, kind) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (folder / "1_Pooling").mkdir()
    switches = {
        "word_embedding_dimension": model.config.hidden_size,
        "pooling_mode_cls_token": settings["pooling"] == "first",
        "pooling_mode_mean_tokens": settings["pooling"] == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(switches, indent=2) + "\n")
    limits = {"max_seq_length": model.max_length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits, indent=2) + "\n")
