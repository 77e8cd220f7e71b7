"""Two numbers for a text: how pleasant its emotion is (valence), and how strong (arousal; Russell 1980)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm import data
from tfllm.data.encoder_inputs import build_encoder_inputs
from tfllm.features import LABELS, ROW_WEIGHTS
from tfllm.layers.call_options import CallOptions
from tfllm.models.encoder_task import EncoderTask
from tfllm.train.batch_keys import BatchKeys, KeySpec
from tfllm.train.callbacks.evaluation import Evaluation
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.metrics import Ratio


@keras.saving.register_keras_serializable(package="emotions")
class EmotionRegressor(EncoderTask):
    """Valence and arousal from the mean of all tokens, by least squares."""

    task = "emotion_regressor"
    weight_unit = "rows"
    batch_keys = BatchKeys(targets={LABELS: KeySpec("float32", "BN")})

    pooling = "mean"

    def __init__(self, config: Any, *, seed: int = 0, **kwargs: Any):
        super().__init__(config, outputs=2, seed=seed, **kwargs)

    def scores(self, hidden: tf.Tensor, features: Any, training: bool, options: CallOptions) -> tf.Tensor:
        """float32 [B, 2]."""
        return self.on_head(self.pooled(hidden, features, options), features, training, options)

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss")]

    def loss_and_metrics(self, features: Any, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        errors = tf.reduce_sum(tf.square(self(features, training=training, options=options) - features[LABELS]), 1)
        loss, weight = tf.reduce_sum(features[ROW_WEIGHTS] * errors), tf.reduce_sum(features[ROW_WEIGHTS])
        return LossAndMetrics(loss, weight, {"loss": (loss, weight)})


def read_emotions(source: Any, tokenizer: Any, *, arousal_column: str = "arousal", max_length: int = 128) -> data.Labelled:
    """A table with columns `text`, `valence` and `arousal`."""
    both = [data.regression(source, tokenizer, label=name, max_length=max_length) for name in ("valence", arousal_column)]
    numbers = np.stack([rows.row_features[LABELS] for rows in both], 1)
    return dataclasses.replace(both[0], task=EmotionRegressor.task, row_features={LABELS: numbers})


def evaluate_emotions(model: Any, rows: data.Labelled, forward: Callable[..., Any], batch_size: int) -> Evaluation:
    batches = rows.batches(batch_size, shuffle=False, repeat=False)
    outputs = np.concatenate([np.asarray(forward(batch)) for batch in batches])[: len(rows)]
    return Evaluation({"largest_error": float(np.abs(outputs - rows.row_features[LABELS]).max())})


def predict_emotions(model: Any, tokenizer: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
    valence, arousal = tf.unstack(
        model(build_encoder_inputs(tokenizer.tokenize(text), tokenizer=tokenizer, max_length=model.max_length)), axis=1
    )
    return {"valence": valence, "arousal": arousal}
