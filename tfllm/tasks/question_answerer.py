"""Extractive question answering: the part of a context that answers a question."""

from __future__ import annotations

from typing import Any

from tfllm.tasks.spec import REAL, TEXT, WHOLE, FinetuningSpec, Metrics, PredictionSpec, TaskSpec


def _reader_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Rows of a long context share a third of a row, at most 128 tokens, as `QuestionAnswerer`'s do."""
    return options | {"stride": min(128, options["max_length"] // 3)}


SPEC = TaskSpec(
    name="question_answerer",
    model="tfllm.models.question_answerer:QuestionAnswerer",
    finetuning=FinetuningSpec(
        reader="tfllm.data.labelled:question_answering",
        evaluator="tfllm.finetuning.evaluation:evaluate_answers",
        metrics=Metrics(
            (
                *("exact_match", "f1", "exact_match_answerable", "f1_answerable"),
                *("right_unanswerable", "oracle_exact_match"),
            ),
            best="val_f1",
        ),
        reader_arguments=_reader_arguments,
        max_length=384,
    ),
    prediction=PredictionSpec(
        predictor="tfllm.prediction.question_answering:find_answers",
        inputs={"question": ["Who?", ""], "context": ["It was Ada.", ""]},
        outputs={"answer": TEXT, "start": WHOLE, "end": WHOLE, "score": REAL},
    ),
    huggingface="tfllm.interop.heads:QuestionHead",
    old_names=("question-answering",),
)
