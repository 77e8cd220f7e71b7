"""Which task a Hugging Face folder is for: its head's tensors, `architectures` and labels, and the settings of our model.

Sentence-transformers' files beside them (`modules.json`, `1_Pooling/config.json`) say how a text becomes a vector.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfllm.config import ModelConfig
from tfllm.interop.tensor_names import Weights
from tfllm.tokenizers.tokenizer_config import read_json

_ARCHITECTURES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "gpt2": "GPT2LMHead",
    "openai-gpt": "OpenAIGPTLMHead",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}
_CLASSIFIERS = ("text_classifier", "text_regressor", "token_classifier")
_MODULES = "sentence_transformers.models."


def found_task(weights: Weights, *, values: dict[str, Any], asked: str | None) -> str | None:
    """The task whose head the tensors are; None for a head that is none of ours and not asked for.

    Raises:
        ValueError: no task was asked for, and the head is none of ours.
    """
    heads = {name.partition(".")[0] for name in weights}
    if any(name.startswith(("cls.predictions.", "lm_head.")) for name in weights):
        return "masked_lm"
    if "qa_outputs" in heads:
        return "question_answerer"
    if "classifier" not in heads:
        return "text_embedder"
    architectures = values.get("architectures") or []
    if any("ForTokenClassification" in name for name in architectures):
        return "token_classifier"
    if any("ForSequenceClassification" in name for name in architectures) or "classifier.dense.weight" in weights:
        return "text_regressor" if len(labels_of(values)) == 1 else "text_classifier"
    if asked is None:
        raise ValueError(
            f"the file has a head called classifier, and architectures={architectures!r} is not one read here; accepted: "
            "…ForSequenceClassification, …ForTokenClassification. Name one in config.json, or leave the head behind with task=…"
        )
    return asked if not architectures and asked in _CLASSIFIERS else None


def labels_of(values: dict[str, Any]) -> list[str]:
    """Names of the classes, by number.

    Raises:
        ValueError: `id2label` does not count from 0.
    """
    names = values.get("id2label")
    if names is None:
        return [f"LABEL_{i}" for i in range(values.get("num_labels", 2))]
    numbered = {int(number): str(name) for number, name in names.items()}
    if sorted(numbered) != list(range(len(numbered))):
        raise ValueError(f"id2label numbers its labels {sorted(numbered)}; accepted: 0, 1, 2, …")
    return [numbered[number] for number in range(len(numbered))]


def read_settings(task: str, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
    """What our model's constructor takes beside the config."""
    if task == "masked_lm":
        # RoBERTa's head has GELU whatever its blocks have.
        own = {"transform_activation": "gelu"} if values["model_type"] == "roberta" else {}
        return own | {"next_sentence": "cls.seq_relationship.weight" in weights}
    if task == "text_embedder":
        return _pooling(folder)
    if task not in _CLASSIFIERS:
        return {}
    labels, problem = labels_of(values), values.get("problem_type")
    kernel = next(name for name in ("classifier.out_proj.weight", "classifier.weight") if name in weights)
    if len(weights[kernel]) != len(labels):
        raise ValueError(f"{kernel} has {len(weights[kernel])} rows for the {len(labels)} labels of config.json: mend id2label")
    if task == "token_classifier":
        return {"labels": labels}
    if (task == "text_regressor") != (problem == "regression") and problem is not None:
        raise ValueError(f"problem_type={problem!r} with {len(labels)} labels is not carried: mend config.json")
    if task == "text_regressor":
        return {"pooling": "pooler"}
    return {"labels": labels, "multi_label": problem == "multi_label_classification", "pooling": "pooler"}


def _pooling(folder: Path) -> dict[str, Any]:
    """`TextEmbedder`'s settings, from sentence-transformers' files; none without them.

    Raises:
        ValueError: a module, a pooling or a preparation of texts is not carried.
    """
    if not (folder / "modules.json").is_file():
        return {}
    modules = read_json(folder / "modules.json")
    kinds = {module["type"].removeprefix(_MODULES): folder / module["path"] for module in modules}
    if unknown := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        raise ValueError(f"{folder / 'modules.json'} has {', '.join(unknown)}; accepted: Transformer, Pooling, Normalize")
    chosen = {"mean"}
    if "Pooling" in kinds:
        switches = read_json(kinds["Pooling"] / "config.json")
        chosen = {key.removeprefix("pooling_mode_") for key, on in switches.items() if on is True and key in _modes(switches)}
    if chosen - {"mean_tokens", "cls_token", "mean"} or len(chosen) != 1:
        raise ValueError(f"sentence-transformers pools by {', '.join(sorted(chosen))}; accepted: mean_tokens, or cls_token")
    longest = None
    for path in folder.glob("sentence_*_config.json"):  # sentence_bert_config.json; older ones have the family's name
        said = read_json(path)
        longest = said.get("max_seq_length")
        if said.get("do_lower_case"):
            raise ValueError(f"{path} has do_lower_case, which is not carried: set it to false, and give small letters")
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file() and (name := read_json(prompts).get("default_prompt_name")):
        raise ValueError(
            f"{prompts} puts the prompt {name!r} before each text, which is not carried: set it to null, and give it"
        )
    pooling = {"pooling": "first" if chosen == {"cls_token"} else "mean", "normalize": "Normalize" in kinds}
    return pooling | ({"max_length": longest} if longest else {})


def _modes(switches: dict[str, Any]) -> list[str]:
    return [key for key in switches if key.startswith("pooling_mode_")]


def write_settings(task: str, settings: dict[str, Any], *, config: ModelConfig, family: str) -> dict[str, Any]:
    """`architectures`, labels and kind of problem of `config.json`.

    Raises:
        ValueError: Hugging Face has no class that computes what this model does.
    """
    _check_class(task, settings, config, family)
    kinds = {
        "causal_lm": "Model" if family in ("gpt2", "openai-gpt") else "ForCausalLM",
        "masked_lm": "ForPreTraining" if settings.get("next_sentence") else "ForMaskedLM",
        "text_classifier": "ForSequenceClassification",
        "text_regressor": "ForSequenceClassification",
        "token_classifier": "ForTokenClassification",
        "question_answerer": "ForQuestionAnswering",
        "text_embedder": "Model",
    }
    values: dict[str, Any] = {"architectures": [_ARCHITECTURES[family] + kinds[task]]}
    labels = settings.get("labels") or (["LABEL_0"] if task == "text_regressor" else None)
    if labels:
        values["id2label"] = {str(number): label for number, label in enumerate(labels)}
        values["label2id"] = {label: number for number, label in enumerate(labels)}
    if task == "text_classifier":
        values["problem_type"] = ("multi" if settings["multi_label"] else "single") + "_label_classification"
    if task == "text_regressor":
        values["problem_type"] = "regression"
    return values


def _check_class(task: str, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
    if settings.get("pooling", "pooler") != "pooler" and task != "text_embedder":
        raise ValueError(f"pooling={settings['pooling']!r}: Hugging Face's classifiers read the pooled first token ('pooler')")
    if settings.get("pooling") == "pooler" and task == "text_embedder":
        raise ValueError("pooling='pooler': sentence-transformers pools by mean or first token; give TextEmbedder one of those")
    if settings.get("next_sentence") and family != "bert":
        raise ValueError(
            f"next_sentence=True: {family} has no class with a head for pairs; leave it behind with MaskedLM.from_pretrained"
        )
    activation = settings.get("transform_activation", config.activation)
    epsilon = settings.get("transform_epsilon", config.norm_epsilon)
    expected = "gelu" if family == "roberta" else config.activation
    if task == "masked_lm" and (activation, epsilon) != (expected, config.norm_epsilon):
        raise ValueError(
            f"the layer before the scores has transform_activation={activation!r}, transform_epsilon={epsilon}; {family}'s has "
            f"{expected!r} and {config.norm_epsilon}"
        )


def write_pooling(model: Any, folder: Path) -> None:
    """Sentence-transformers' files for a `TextEmbedder`."""
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
