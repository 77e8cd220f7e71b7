"""Text embedding: a vector for a text, near the vectors of texts that mean the same."""

from tfllm.tasks.options import PAIR, POOLING, SKIP_EMPTY, TEXT_COLUMN
from tfllm.tasks.spec import Field, FinetuningSpec, Metrics, PredictionSpec, TaskSpec

SPEC = TaskSpec(
    name="text_embedder",
    model="tfllm.models.text_embedder:TextEmbedder",
    finetuning=FinetuningSpec(
        reader="tfllm.data.labelled:text_pairs",
        evaluator="tfllm.finetuning.evaluation:evaluate_vectors",
        metrics=Metrics(("recall_at_1", "mean_reciprocal_rank"), best="val_recall_at_1"),
        reader_options=(TEXT_COLUMN, PAIR, SKIP_EMPTY),
        model_options=(POOLING,),
        compile_settings=("temperature",),
    ),
    prediction=PredictionSpec(
        predictor="tfllm.prediction.texts:embed",
        inputs={"text": ["", "naïve 中文\n"]},
        outputs={"embedding": Field("float32", "BD")},
    ),
    huggingface="tfllm.interop.heads:EmbeddingHead",
    old_names=("embedding",),
)
