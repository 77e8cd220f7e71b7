"""Text classification: one of several labels, or any number of them, for a text or a pair of texts."""

from tfllm.tasks.options import LABEL, LABELS, PAIR, POOLING, SKIP_EMPTY, TEXT_COLUMN
from tfllm.tasks.spec import REAL, TEXT, Field, FinetuningSpec, Option, PredictionSpec, TaskSpec

SPEC = TaskSpec(
    name="text_classifier",
    model="tfllm.models.text_classifier:TextClassifier",
    finetuning=FinetuningSpec(
        reader="tfllm.data.labelled:text_classification",
        evaluator="tfllm.finetuning.evaluation:evaluate_classes",
        metrics="tfllm.finetuning.evaluation:class_metrics",
        reader_options=(
            *(TEXT_COLUMN, PAIR, LABEL, LABELS, SKIP_EMPTY),
            Option("multi_label", bool, False, "Any number of labels may hold."),
        ),
        model_options=(POOLING,),
        settings_from_rows=("labels", "pairs", "multi_label"),
        compile_settings=("label_smoothing",),
    ),
    prediction=PredictionSpec(
        predictor="tfllm.prediction.texts:classify",
        inputs={"text": ["", "naïve 中文\n"]},
        outputs={
            "label": TEXT,
            "score": REAL,
            "labels": Field("string", "BC"),
            "probabilities": Field("float32", "BC"),
        },
        takes_pairs=True,
    ),
    huggingface="tfllm.interop.heads:ClassificationHead",
    old_names=("classification",),
)
