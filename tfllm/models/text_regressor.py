"""A number for a text, or for a pair of texts: a rating, a similarity."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import LABELS, ROW_WEIGHTS
from tfllm.layers.call_options import CallOptions
from tfllm.models.encoder_task import EncoderTask, Pooling, check_pooling
from tfllm.models.transformer import Features
from tfllm.train.batch_keys import BatchKeys, KeySpec
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.metrics import Ratio


@keras.saving.register_keras_serializable(package="tfllm")
class TextRegressor(EncoderTask):
    """One number from what stands for the whole row, by least squares.

    Args:
        pairs: rows are two texts each: how alike they are, say.
        pooling: "pooler", "first" (token) or "mean"; the pooler if the config has one, else the mean.

    Raises:
        ValueError: the pooling is unknown, or the config has no pooler.
    """

    task = "text_regressor"
    weight_unit = "rows"
    batch_keys = BatchKeys(targets={LABELS: KeySpec("float32", "B")})

    def __init__(
        self, config: ModelConfig, *, pairs: bool = False, pooling: Pooling | None = None, seed: int = 0, **kwargs: Any
    ):
        self.pairs, self.pooling = pairs, check_pooling(pooling, config)
        super().__init__(config, outputs=1, seed=seed, **kwargs)
        self.head.output_shape = (None, 1)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"pairs": self.pairs, "pooling": self.pooling}

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """float32 [B]."""
        return self.on_head(self.pooled(hidden, features, options), features, training, options)[:, 0]

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("absolute_error")]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Squared error."""
        error = self(features, training=training, options=options) - features[LABELS]
        weights = features.get(ROW_WEIGHTS, tf.ones(tf.shape(error)))
        weight, loss = tf.reduce_sum(weights), tf.reduce_sum(weights * tf.square(error))
        return LossAndMetrics(
            loss, weight, {"loss": (loss, weight), "absolute_error": (tf.reduce_sum(weights * tf.abs(error)), weight)}
        )
