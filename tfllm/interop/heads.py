"""The heads of Hugging Face's models: which task a folder is for, and which of our variables hold the head's tensors.

In: `config.json` and the tensors of a folder. Out: the task, and arguments of our model's constructor. Also the other way
round: from a model to the keys of `config.json`. A task names its `Head` in its `TaskSpec`.
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
    """How Hugging Face stores the head of one task. Each task has a subclass. A head has no state."""

    suffix = "Model"
    """End of the class name in `architectures`: "ForTokenClassification"."""
    is_classifier = False
    """Are the head's tensors called `classifier`, as those of several tasks are?"""
    is_bare = False
    """Is there no head? The tensors of the stack then have no prefix."""

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        """Is this the head of a folder with these tensors and this `config.json`?"""
        return False

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        """The arguments of our model's constructor besides the config.

        Raises:
            ValueError: a value is not supported.
        """
        return {}

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The keys of `config.json` for the head, without `architectures`."""
        return {}

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        """Raises ValueError if Hugging Face has no class for a model with these settings."""

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        """The class name in `architectures`."""
        return _ARCHITECTURES[family] + self.suffix

    def pools(self, family: str) -> bool:
        """Is the pooler's dense layer in the head? Otherwise it is in the stack."""
        return False

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        """For each parameter of the head, by its name in PyTorch, the place in our variables."""
        return {}

    def write_files(self, model: Any, folder: Path) -> None:
        """Writes further files into the folder."""


class CausalHead(Head):
    """Logits of the next token. In some families the class is called `…LMHeadModel`."""

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        return _ARCHITECTURES[family] + ("Model" if family in ("gpt2", "openai-gpt") else "ForCausalLM")

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        return {} if config.tied_embeddings else {"lm_head.weight": WeightSlice("head/kernel")}


class MaskedHead(Head):
    """Logits of masked tokens, and of sentence pairs if the model has a head for them."""

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return any(name.startswith(("cls.predictions.", "lm_head.")) for name in weights)

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        # RoBERTa's head has GELU, independent of the activation in its blocks.
        own = {"transform_activation": "gelu"} if values["model_type"] == "roberta" else {}
        return own | {"next_sentence": "cls.seq_relationship.weight" in weights}

    def architecture(self, settings: dict[str, Any], family: str) -> str:
        return _ARCHITECTURES[family] + ("ForPreTraining" if settings.get("next_sentence") else "ForMaskedLM")

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if settings.get("next_sentence") and family != "bert":
            raise ValueError(
                f"next_sentence=True is invalid: expected False, for Hugging Face has no {family} with a head for sentence "
                "pairs. Make a model without that head with tfllm.MaskedLM.from_pretrained(model)."
            )
        activation = settings.get("transform_activation", config.activation)
        epsilon = settings.get("transform_epsilon", config.norm_epsilon)
        expected = "gelu" if family == "roberta" else config.activation
        if (activation, epsilon) != (expected, config.norm_epsilon):
            raise ValueError(
                f"transform_activation={activation!r}, transform_epsilon={epsilon} is invalid: expected {expected!r} and "
                f"{config.norm_epsilon}, as {family} has in Hugging Face. Export the model with tfllm.export."
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
    """Logits of an answer's first and last token."""

    suffix = "ForQuestionAnswering"

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return "qa_outputs" in _modules(weights)

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        return dense("qa_outputs", "head")


class TokenHead(Head):
    """Logits of the labels for each token."""

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
    """Logits of the labels for the whole row, from the pooled first token."""

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
            accepted = "'regression'" if self.for_numbers else "'single_label_classification' or 'multi_label_classification'"
            raise ValueError(
                f"problem_type={problem!r} is invalid: expected {accepted} with {len(labels)} labels. Correct config.json."
            )
        classes = {"labels": labels, "multi_label": problem == "multi_label_classification"}
        return {"pooling": "pooler"} | ({} if self.for_numbers else classes)

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        kind = ("multi" if settings["multi_label"] else "single") + "_label_classification"
        return _numbered(settings["labels"]) | {"problem_type": kind}

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if (pooling := settings.get("pooling", "pooler")) != "pooler":
            raise ValueError(
                f"pooling={pooling!r} is invalid: expected 'pooler', the pooling of Hugging Face's classifiers. Train the "
                "model with pooling='pooler'."
            )

    def pools(self, family: str) -> bool:
        return family == "roberta"

    def weight_mapping(self, family: str, config: ModelConfig, *, next_sentence: bool = False) -> WeightMapping:
        if self.pools(family):
            return dense("classifier.dense", "encoder/pooler/dense") | dense("classifier.out_proj", "head")
        return dense("classifier", "head")


class RegressionHead(ClassificationHead):
    """One number for the whole row. In Hugging Face this is a classifier with one label."""

    for_numbers = True

    def write(self, settings: dict[str, Any]) -> dict[str, Any]:
        return _numbered(["LABEL_0"]) | {"problem_type": "regression"}


class EmbeddingHead(Head):
    """No head. Files of sentence-transformers define how the outputs of the stack are pooled to one vector."""

    is_bare = True

    def fits(self, weights: Weights, values: dict[str, Any]) -> bool:
        return not (MaskedHead().fits(weights, values) or {"qa_outputs", "classifier"} & _modules(weights))

    def read(self, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
        return read_pooling(folder)

    def check(self, settings: dict[str, Any], config: ModelConfig, family: str) -> None:
        if settings.get("pooling") == "pooler":
            raise ValueError(
                "pooling='pooler' is invalid: expected 'mean' or 'first', the poolings of sentence-transformers. Make a "
                "TextEmbedder with one of them."
            )

    def write_files(self, model: Any, folder: Path) -> None:
        write_pooling(model, folder)


def head_of(task: str) -> Head:
    """The head of a task.

    Raises:
        ValueError: the task is unknown, or Hugging Face has no class for it.
    """
    reference = tasks.get(task).huggingface
    if reference is None:
        raise ValueError(f"task={task!r} is invalid: expected a task that Hugging Face has a class for: {', '.join(_heads())}.")
    return tasks.resolve(reference)()


def found_task(weights: Weights, *, values: dict[str, Any], asked: str | None) -> str | None:
    """The task of the head of an encoder. None: the head is unknown, and `asked` is a task of another head.

    Raises:
        ValueError: the head is unknown, and no task was asked for.
    """
    heads = _heads()
    for task, head in reversed(heads.items()):  # registered tasks come before the built-in ones
        if head.fits(weights, values):
            return task
    architectures = values.get("architectures") or []
    if asked is None:
        raise ValueError(
            f"architectures={architectures!r} is invalid: expected …ForSequenceClassification or …ForTokenClassification, for "
            "the weights have a head called classifier. Write one of them into config.json, or load the model without its "
            "head: give task='text_embedder'."
        )
    return asked if not architectures and asked in heads and heads[asked].is_classifier else None


def bare_task() -> str:
    """The task of a stack without a head."""
    return next(task for task, head in _heads().items() if head.is_bare)


def read_settings(task: str, values: dict[str, Any], weights: Weights, folder: Path) -> dict[str, Any]:
    """The arguments of our model's constructor besides the config."""
    return head_of(task).read(values, weights, folder)


def write_settings(task: str, settings: dict[str, Any], *, config: ModelConfig, family: str) -> dict[str, Any]:
    """The keys of `config.json` for the head: `architectures`, labels, `problem_type`.

    Raises:
        ValueError: Hugging Face has no class for a model with these settings.
    """
    head = head_of(task)
    head.check(settings, config, family)
    return {"architectures": [head.architecture(settings, family)]} | head.write(settings)


def labels_of(values: dict[str, Any]) -> list[str]:
    """The names of the classes, ordered by their numbers.

    Raises:
        ValueError: the numbers in `id2label` are not 0, 1, 2, ….
    """
    names = values.get("id2label")
    if names is None:
        return [f"LABEL_{i}" for i in range(values.get("num_labels", 2))]
    numbered = {int(number): str(name) for number, name in names.items()}
    if sorted(numbered) != list(range(len(numbered))):
        raise ValueError(f"id2label has the numbers {sorted(numbered)}: expected 0, 1, 2, …. Correct config.json.")
    return [numbered[number] for number in range(len(numbered))]


def _heads() -> dict[str, Head]:
    """Name of a task -> its head."""
    return {spec.name: head_of(spec.name) for spec in tasks.all_tasks() if spec.huggingface}


def _modules(weights: Weights) -> set[str]:
    """bert.pooler.dense.bias, classifier.bias -> bert, classifier."""
    return {name.partition(".")[0] for name in weights}


def _is_of(values: dict[str, Any], suffix: str) -> bool:
    return any(suffix in name for name in values.get("architectures") or [])


def _checked_labels(values: dict[str, Any], weights: Weights) -> list[str]:
    """The names of the classes. Raises ValueError if their number is not that of the head's logits."""
    labels = labels_of(values)
    kernel = next(name for name in ("classifier.out_proj.weight", "classifier.weight") if name in weights)
    if len(weights[kernel]) != len(labels):
        raise ValueError(
            f"id2label has {len(labels)} labels: expected {len(weights[kernel])}, the rows of {kernel}. Correct config.json."
        )
    return labels


def _numbered(labels: list[str]) -> dict[str, Any]:
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
