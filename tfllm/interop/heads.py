"""Hugging Face's heads: which task a folder is for, the settings of our model, and where the head's tensors lie in it.

Enters: `config.json` and the tensors of a folder; or a model. Leaves: a task and its settings; or what `config.json` says of a
head. A task names its `Head` in its `TaskSpec`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfllm import tasks
from tfllm.config import ModelConfig
from tfllm.interop.sentence_transformers import read_pooling, write_pooling
from tfllm.interop.tensor_names import Weights
from tfllm.interop.weight_mapping import WeightMapping, WeightSlice, dense, norm

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


class Head:
    """How Hugging Face writes the head of one task. Each task has a subclass; none has state."""

    suffix = "Model"
    """Of the class in `architectures`: "ForTokenClassification"."""
    is_classifier = False
    """The head's tensors are called `classifier`, as several tasks' are."""
    is_bare = False
    """There are no tensors but the stack's, which have no prefix then."""

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        """Is this the head of a folder with these tensors and this `config.json`?"""
        return False

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        """What our model's constructor takes beside the config.

        Raises:
            ValueError: something is not supported.
        """
        return {}

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What `config.json` says of the head, but for `architectures`."""
        return {}

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        """Raises ValueError where Hugging Face has no class that computes what a model of these settings does."""

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        """The class in `architectures`."""
        return _ARCHITECTURES[family] + self.suffix

    def pools(self, family: str) -> bool:
        """The head holds the pooler's dense layer, which the stack holds otherwise."""
        return False

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        """Where the head's parameters lie in ours, by their names in PyTorch."""
        return {}

    def write_files(self, model: Any, folder: Path) -> None:
        """Files beside `config.json` and the weights."""


class CausalHead(Head):
    """The scores of the next token; of some families the class is `…LMHeadModel`."""

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        return _ARCHITECTURES[family] + ("Model" if family in ("gpt2", "openai-gpt") else "ForCausalLM")

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        return {} if config.tied_embeddings else {"lm_head.weight": WeightSlice("head/kernel")}


class MaskedHead(Head):
    """The scores of hidden tokens, and of pairs where there are any."""

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return any(name.startswith(("cls.predictions.", "lm_head.")) for name in weights)

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        # RoBERTa's head has GELU whatever its blocks have.
        own = {"transform_activation": "gelu"} if values["model_type"] == "roberta" else {}
        return own | {"next_sentence": "cls.seq_relationship.weight" in weights}

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        return _ARCHITECTURES[family] + ("ForPreTraining" if settings.get("next_sentence") else "ForMaskedLM")

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if settings.get("next_sentence") and family != "bert":
            raise ValueError(
                f"next_sentence=True: {family} has no class with a head for pairs; leave it behind with "
                "MaskedLM.from_pretrained"
            )
        activation = settings.get("transform_activation", config.activation)
        epsilon = settings.get("transform_epsilon", config.norm_epsilon)
        expected = "gelu" if family == "roberta" else config.activation
        if (activation, epsilon) != (expected, config.norm_epsilon):
            raise ValueError(
                f"the layer before the scores has transform_activation={activation!r}, transform_epsilon={epsilon}; {family}'s "
                f"has {expected!r} and {config.norm_epsilon}"
            )

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        if family == "bert":
            found = dense("cls.predictions.transform.dense", "transform/dense")
            found |= norm("cls.predictions.transform.LayerNorm", "transform/norm")
            head = "cls.predictions"
        else:
            found = dense("lm_head.dense", "transform/dense") | norm("lm_head.layer_norm", "transform/norm")
            head = "lm_head"
        if config.tied_embeddings:
            found[f"{head}.bias"] = WeightSlice("head/bias")
        else:  # then Transformers uses the decoder's own bias
            found |= {f"{head}.decoder.weight": WeightSlice("head/kernel"), f"{head}.decoder.bias": WeightSlice("head/bias")}
        return found | (dense("cls.seq_relationship", "pair_head") if next_sentence else {})


class QuestionHead(Head):
    """The scores of an answer's first and last token."""

    suffix = "ForQuestionAnswering"

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return "qa_outputs" in _modules(weights)

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        return dense("qa_outputs", "head")


class TokenHead(Head):
    """The scores of labels for each token."""

    suffix = "ForTokenClassification"
    is_classifier = True

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return "classifier" in _modules(weights) and _is_of(values, self.suffix)

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        return {"labels": _checked_labels(values, weights)}

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        return _numbered(settings["labels"])

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        return dense("classifier", "head")


class ClassificationHead(Head):
    """The scores of labels for the whole row, from the pooled first token."""

    suffix = "ForSequenceClassification"
    is_classifier = True
    for_numbers = False

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        if "classifier" not in _modules(weights) or _is_of(values, TokenHead.suffix):
            return False
        named = _is_of(values, self.suffix) or "classifier.dense.weight" in weights
        return named and (len(labels_of(values)) == 1) == self.for_numbers

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        labels, problem = _checked_labels(values, weights), values.get("problem_type")
        if self.for_numbers != (problem == "regression") and problem is not None:
            raise ValueError(f"problem_type={problem!r} with {len(labels)} labels is not supported: mend config.json")
        classes = {"labels": labels, "multi_label": problem == "multi_label_classification"}
        return {"pooling": "pooler"} | ({} if self.for_numbers else classes)

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        kind = ("multi" if settings["multi_label"] else "single") + "_label_classification"
        return _numbered(settings["labels"]) | {"problem_type": kind}

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if (pooling := settings.get("pooling", "pooler")) != "pooler":
            raise ValueError(f"pooling={pooling!r}: Hugging Face's classifiers read the pooled first token ('pooler')")

    def pools(self, family: str) -> bool:
        return family == "roberta"

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        if self.pools(family):
            return dense("classifier.dense", "encoder/pooler/dense") | dense("classifier.out_proj", "head")
        return dense("classifier", "head")


class RegressionHead(ClassificationHead):
    """One number for the whole row: to Hugging Face a classifier of one label."""

    for_numbers = True

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        return _numbered(["LABEL_0"]) | {"problem_type": "regression"}


class EmbeddingHead(Head):
    """No head; sentence-transformers' files say how the stack's outputs become a vector."""

    is_bare = True

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return not (MaskedHead().fits(weights, values) or {"qa_outputs", "classifier"} & _modules(weights))

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        return read_pooling(folder)

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if settings.get("pooling") == "pooler":
            raise ValueError(
                "pooling='pooler': sentence-transformers pools by mean or first token; give TextEmbedder one of those"
            )

    def write_files(self, model: Any, folder: Path) -> None:
        write_pooling(model, folder)


def head_of(task: str) -> Head:
    """The head of a task.

    Raises:
        ValueError: there is no such task, or Hugging Face has no class for it.
    """
    reference = tasks.get(task).huggingface
    if reference is None:
        raise ValueError(f"task={task!r} is invalid: expected a task that Hugging Face has a class for: {', '.join(_heads())}.")
    return tasks.resolve(reference)()


def found_task(weights: Weights, *, values: dict[str, Any], asked: str | None) -> str | None:
    """The task whose head the tensors of an encoder are; None for a head that is none of ours and not asked for.

    Raises:
        ValueError: no task was asked for, and the head is none of ours.
    """
    heads = _heads()
    for task, head in reversed(heads.items()):  # a registered task before the built-in ones
        if head.fits(weights, values):
            return task
    architectures = values.get("architectures") or []
    if asked is None:
        raise ValueError(
            f"the file has a head called classifier, and architectures={architectures!r} is not one read here; accepted: "
            "…ForSequenceClassification, …ForTokenClassification. Name one in config.json, or leave the head behind with task=…"
        )
    return asked if not architectures and asked in heads and heads[asked].is_classifier else None


def bare_task() -> str:
    """The task of a stack without a head."""
    return next(task for task, head in _heads().items() if head.is_bare)


def read_settings(task: str, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
    """What our model's constructor takes beside the config."""
    return head_of(task).read(values, weights, folder)


def write_settings(task: str, settings: dict[str, Any], *, config: ModelConfig, family: str) -> dict[str, Any]:
    """`architectures`, labels and kind of problem of `config.json`.

    Raises:
        ValueError: Hugging Face has no class that computes what this model does.
    """
    head = head_of(task)
    head.check(settings, config, family)
    return {"architectures": [head.architecture(settings, family)]} | head.write(settings)


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


def _heads() -> dict[str, Head]:
    """By the name of their task."""
    return {spec.name: head_of(spec.name) for spec in tasks.all_tasks() if spec.huggingface}


def _modules(weights: Weights) -> set[str]:
    """bert.pooler.dense.bias, classifier.bias -> bert, classifier."""
    return {name.partition(".")[0] for name in weights}


def _is_of(values: dict[str, Any], suffix: str) -> bool:
    return any(suffix in name for name in values.get("architectures") or [])


def _checked_labels(values: dict[str, Any], weights: Weights) -> list[str]:
    """The names of the classes, as many as the head has scores."""
    labels = labels_of(values)
    kernel = next(name for name in ("classifier.out_proj.weight", "classifier.weight") if name in weights)
    if len(weights[kernel]) != len(labels):
        raise ValueError(f"{kernel} has {len(weights[kernel])} rows for the {len(labels)} labels of config.json: mend id2label")
    return labels


def _numbered(labels: list[str]) -> dict[str, Any]:
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
