"""Token classification: a label for each word; named entities (BIO labels) or parts of speech."""

from __future__ import annotations

from typing import Any, Literal

from tfllm.tasks.options import LABEL, LABELS
from tfllm.tasks.spec import WHOLE, Field, FinetuningSpec, Option, PredictionSpec, TaskSpec


def _reader_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """label "3" -> column 3; label "UPOS" -> column "UPOS"."""
    columns = {"label": "column", "word_column": "word_column"}
    return {columns.get(name, name): _column(value) if name in columns else value for name, value in options.items()}


def _column(name: str) -> int | str:
    """A column of a CoNLL file is a number, of a CoNLL-U file a name."""
    return int(name) if name.removeprefix("-").isdecimal() else name


SPEC = TaskSpec(
    name="token_classifier",
    model="tfllm.models.token_classifier:TokenClassifier",
    finetuning=FinetuningSpec(
        reader="tfllm.data.labelled:tagging",
        evaluator="tfllm.finetuning.evaluation:evaluate_words",
        metrics="tfllm.finetuning.evaluation:word_metrics",
        reader_options=(
            LABEL,
            LABELS,
            Option("word_column", str | None, None, "Column of the words; of CoNLL files its number, else its name."),
            Option(
                "spaces",
                Literal["restored", "single"] | None,
                None,
                "Between the words of a CoNLL file: those of ordinary typography, which is the default, or one after each "
                "word.",
            ),
        ),
        reader_arguments=_reader_arguments,
        settings_from_rows=("labels",),
    ),
    prediction=PredictionSpec(
        predictor="tfllm.prediction.token_classification:tag_words",
        inputs={"text": ["", "naïve 中文\n"]},
        outputs={
            "text": Field("string", "BE"),
            "label": Field("string", "BE"),
            "start": Field("int32", "BE"),
            "end": Field("int32", "BE"),
            "score": Field("float32", "BE"),
            "count": WHOLE,
        },
    ),
    huggingface="tfllm.interop.heads:TokenHead",
    old_names=("tagging",),
)
