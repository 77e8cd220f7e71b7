"""What a task is: one record, which folders, fine-tuning, predictions, exports and the command line read.

A record is plain data, and importing it imports no TensorFlow. What needs TensorFlow is a `Reference`: its name as a string,
which is imported when it is first used. A task of your own may give the object itself.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tfllm.models.base import LanguageModel

Reference = str | Callable[..., Any]
"""A class or function, or where to import it from: "tfllm.models.causal_lm:CausalLM"."""


class Field(NamedTuple):
    """A tensor of a signature: the name of its dtype, and a letter for each dimension. B is the batch."""

    dtype: str
    shape: str


TEXT, WHOLE, REAL = Field("string", "B"), Field("int32", "B"), Field("float32", "B")
"""One string, one integer and one number a row."""


class Option(NamedTuple):
    """An option of `tfllm finetune`, which some tasks take. A value that is the default is not handed on."""

    name: str
    type: Any
    default: Any
    help: str


class Metrics(NamedTuple):
    """What the evaluator of a task computes."""

    names: tuple[str, ...]
    best: str
    """The metric by which the best epoch is kept, as the run's history names it: "val_accuracy"."""


@dataclass(frozen=True, kw_only=True)
class FinetuningSpec:
    """How a model learns a task from labelled rows, and how it is evaluated."""

    reader: Reference
    """(source, tokenizer, *, max_length, **options) -> Labelled: reads a file of the task."""
    evaluator: Reference
    """(model, rows, forward, batch_size) -> Evaluation; `forward` is the model in a graph."""
    metrics: Metrics | Reference
    """What the evaluator computes; a function (model) -> Metrics where that depends on the model."""
    reader_options: tuple[Option, ...] = ()
    """Options that the reader takes."""
    reader_arguments: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Options, `max_length` among them -> arguments of the reader, where names or values differ."""
    model_options: tuple[Option, ...] = ()
    """Options that the model's constructor takes."""
    settings_from_rows: tuple[str, ...] = ()
    """Arguments of the model's constructor that are attributes of the rows: "labels", "pairs", "multi_label"."""
    compile_settings: tuple[str, ...] = ()
    """Settings of `tfllm.Finetuning` that the model's `compile` takes, and that not every task has."""
    max_length: int = 128
    """Longest row in tokens, unless another is given."""

    def metrics_of(self, model: LanguageModel) -> Metrics:
        """What the evaluator computes for this model."""
        found = resolve(self.metrics)
        return found if isinstance(found, Metrics) else found(model)


@dataclass(frozen=True, kw_only=True)
class PredictionSpec:
    """What `tfllm.predict` asks a model of the task, and what an export answers."""

    predictor: Reference
    """(model, tokenizer, **inputs) -> outputs. A graph function: inputs are string [B], outputs tensors [B, …], ragged where
    rows have different numbers of answers."""
    inputs: Mapping[str, Sequence[str]]
    """Name of each input -> two example values, which warm a server up and check an export."""
    outputs: Mapping[str, Field]
    """Name of each output -> its form in an export. Ragged outputs are padded there, and `count` says how many are real."""
    takes_pairs: bool = False
    """A model made with `pairs=True` takes a second input, `text_pair`."""


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """The signatures of an export with more than the one of `prediction`."""

    contract: Reference
    """(generation config as a dict, or None) -> `tfllm.exporting.contract.Contract`."""
    functions: Reference
    """(model, tokenizer, config, draft_model) -> the function of each signature, by name."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task. A part that is None is one that the task does not have: a causal model is not fine-tuned on labelled rows.

    Several tasks may share a model class. One of them has the name that is the class's `task`: folders and exports of the model
    are its. The others have `finetuning` alone: other rows, metrics and options for the same model (translation and
    summarization, say).
    """

    name: str
    """The one name: on the command line and of labelled rows; where the class says it too, in `task.json` and exports."""
    model: Reference
    """Class of the model: a `LanguageModel`."""
    finetuning: FinetuningSpec | None = None
    prediction: PredictionSpec | None = None
    export: ExportSpec | None = None
    """Left out: an export has one signature, "serving_default", which is `prediction`."""
    huggingface: Reference | None = None
    """How Hugging Face writes the head: a `tfllm.interop.heads.Head`. None: the model is not read or written in its format."""
    generates: bool = False
    """The model continues texts, so an export has a `GenerationConfig`."""
    pretrains: bool = False
    """The model learns from a token store, and is evaluated on one."""
    old_names: tuple[str, ...] = ()
    """Names the command line and `finetuning.read` had for the task; they warn."""

    @property
    def model_class(self) -> type[LanguageModel]:
        """The class of the model.

        Raises:
            ValueError: the class's `task` is another name, and this task is more than a way of fine-tuning.
        """
        found = resolve(self.model)
        if found.task != self.name and (self.prediction or self.export):
            raise ValueError(
                f"{found.__name__}.task={found.task!r} is invalid: expected {self.name!r}, the name of its TaskSpec. Write "
                f"task = {self.name!r} in the class"
            )
        return found

    def input_names(self, pairs: bool = False) -> tuple[str, ...]:
        """Names of the strings that a prediction takes; with `pairs`, those of a model made for pairs."""
        assert self.prediction is not None
        return (*self.prediction.inputs, *(["text_pair"] if pairs else []))


def resolve(reference: Any) -> Any:
    """The object that a `Reference` names, or the object itself."""
    return pkgutil.resolve_name(reference) if isinstance(reference, str) else reference
