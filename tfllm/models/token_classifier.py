"""What each word is: a named entity's beginning, inside or none (BIO), or a part of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import TARGET_IDS, TARGET_WEIGHTS
from tfllm.layers.call_options import CallOptions
from tfllm.models.encoder_task import EncoderTask, check_labels
from tfllm.models.transformer import Features
from tfllm.train.batch_keys import BatchKeys, target_specs
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import class_cross_entropy
from tfllm.train.metrics import Ratio


@keras.saving.register_keras_serializable(package="tfllm")
class TokenClassifier(EncoderTask):
    """Scores of labels for every token; what counts is each word's first piece (Devlin et al. 2018, section 5.3).

    Args:
        labels: their names; a class is a place in this list.

    Raises:
        ValueError: fewer than two labels, or one twice.
    """

    task = "token_classifier"
    weight_unit = "words"

    def __init__(self, config: ModelConfig, *, labels: Sequence[str], seed: int = 0, **kwargs: Any):
        self.labels = check_labels(labels)
        super().__init__(config, outputs=len(self.labels), seed=seed, **kwargs)

    @property
    def batch_keys(self) -> BatchKeys:  # type: ignore[override]
        return BatchKeys(targets=target_specs(TARGET_IDS), num_classes=len(self.labels))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"labels": list(self.labels)}

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Scores (logits), float32 [B, S, C]."""
        return self.on_head(hidden, features, training, options)

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("accuracy")]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Cross-entropy over the words' first pieces."""
        scores = tf.reshape(self(features, training=training, options=options), [-1, len(self.labels)])
        targets, weights = tf.reshape(features[TARGET_IDS], [-1]), tf.reshape(features[TARGET_WEIGHTS], [-1])
        sums = class_cross_entropy(scores, targets, weights=weights)
        metrics = {"loss": (sums.nats, sums.weight), "accuracy": (sums.correct, sums.weight)}
        return LossAndMetrics(sums.loss, sums.weight, metrics)
