"""A task from outside the package, as a user writes one. Its model and its functions are in `emotion_model.py`."""

from tfllm.tasks import Field, FinetuningSpec, Metrics, Option, PredictionSpec, TaskSpec

SPEC = TaskSpec(
    name="emotion_regressor",
    model="emotion_model:EmotionRegressor",
    finetuning=FinetuningSpec(
        reader="emotion_model:read_emotions",
        evaluator="emotion_model:evaluate_emotions",
        metrics=Metrics(("largest_error",), best="val_loss"),
        reader_options=(Option("arousal_column", str, "arousal", "Column of how strong the emotion is."),),
    ),
    prediction=PredictionSpec(
        predictor="emotion_model:predict_emotions",
        inputs={"text": ["", "what a film!"]},
        outputs={"valence": Field("float32", "B"), "arousal": Field("float32", "B")},
    ),
)
