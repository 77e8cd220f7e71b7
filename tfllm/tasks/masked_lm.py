"""Masked language modelling: fill the hidden tokens of a text."""

from tfllm.tasks.spec import TEXT, WHOLE, Field, PredictionSpec, TaskSpec

SPEC = TaskSpec(
    name="masked_lm",
    model="tfllm.models.masked_lm:MaskedLM",
    prediction=PredictionSpec(
        predictor="tfllm.prediction.fill_mask:fill_masks",
        inputs={"text": ["", "one [MASK] two"]},
        outputs={"token": Field("string", "BMK"), "score": Field("float32", "BMK"), "text": TEXT, "count": WHOLE},
    ),
    huggingface="tfllm.interop.heads:MaskedHead",
    pretrains=True,
)
