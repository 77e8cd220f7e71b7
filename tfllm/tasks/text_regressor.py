"""Text regression: a number for a text or a pair of texts."""

from tfllm.tasks.options import LABEL, PAIR, POOLING, SKIP_EMPTY, TEXT_COLUMN
from tfllm.tasks.spec import REAL, FinetuningSpec, Metrics, PredictionSpec, TaskSpec

SPEC = TaskSpec(
    name="text_regressor",
    model="tfllm.models.text_regressor:TextRegressor",
    finetuning=FinetuningSpec(
        reader="tfllm.data.labelled:regression",
        evaluator="tfllm.finetuning.evaluation:evaluate_numbers",
        metrics=Metrics(("pearson", "spearman", "mean_squared_error"), best="val_loss"),
        reader_options=(TEXT_COLUMN, PAIR, LABEL, SKIP_EMPTY),
        model_options=(POOLING,),
        settings_from_rows=("pairs",),
    ),
    prediction=PredictionSpec(
        predictor="tfllm.prediction.texts:rate",
        inputs={"text": ["", "naïve 中文\n"]},
        outputs={"value": REAL},
        takes_pairs=True,
    ),
    huggingface="tfllm.interop.heads:RegressionHead",
    old_names=("regression",),
)
