"""What a text, or a pair of texts, is about: one of several labels, or any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import LABELS, ROW_WEIGHTS
from tfllm.models.base import seeded
from tfllm.models.encoder_task import EncoderTask, Pooling, check_labels, check_pooling
from tfllm.models.transformer import Features
from tfllm.train.losses import class_cross_entropy
from tfllm.train.metrics import Ratio
from tfllm.train.step import Objective


@keras.saving.register_keras_serializable(package="tfllm")
class TextClassifier(EncoderTask):
    """Scores of labels from what stands for the whole row.

    >>> model = TextClassifier(preset("bert-tiny"), labels=["bad", "good"])
    >>> model({"token_ids": tf.constant([[101, 2204, 102]])}).shape
    TensorShape([1, 2])

    Args:
        labels: their names; a class is a place in this list.
        multi_label: any number of labels may hold (a sigmoid each); else exactly one does (softmax).
        pooling: "pooler", "first" (token) or "mean"; the pooler if the config has one, else the mean.
    """

    task = "text_classifier"

    def __init__(
        self,
        config: ModelConfig,
        *,
        labels: Sequence[str],
        multi_label: bool = False,
        pooling: Pooling | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        self.labels, self.multi_label = check_labels(labels), multi_label
        self.pooling = check_pooling(pooling, config)
        super().__init__(config, outputs=len(self.labels), seed=seed, **kwargs)

    def settings(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "multi_label": self.multi_label, "pooling": self.pooling}

    def call(self, features: Features, training: bool = False) -> tf.Tensor:
        """Scores (logits), float32 [B, C]."""
        features = seeded(features, training)
        hidden = self.stack(features, training=training)
        return self.on_head(self.pooled(hidden, features, self.pooling), features, training)

    def probabilities(self, scores: tf.Tensor) -> tf.Tensor:
        """Of each label. float32 [B, C] -> float32 [B, C]."""
        return tf.sigmoid(scores) if self.multi_label else tf.nn.softmax(scores)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        *,
        class_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Says how to train; the other arguments are `TrainableModel.compile`'s.

        Args:
            class_weights: how much a row of each label counts (several labels: how much a label that holds); 1 if left out.
            label_smoothing: share of the label's probability spread over all, in [0, 1).

        Raises:
            ValueError: a label is unknown, or an argument out of range.
        """
        if unknown := sorted(set(class_weights or {}) - set(self.labels)):
            raise ValueError(f"class_weights has unknown labels {', '.join(unknown)}; they are {', '.join(self.labels)}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing} must be in [0, 1)")
        self._class_weights = [float((class_weights or {}).get(label, 1.0)) for label in self.labels]
        self._label_smoothing = label_smoothing
        super().compile(optimizer, **kwargs)
        self.training_settings |= {"label_smoothing": label_smoothing, "class_weights": self._class_weights}

    def measures(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("accuracy")]

    def objective(self, features: Features, training: bool) -> Objective:
        """Cross-entropy over rows; with several labels, the mean over labels of each one's binary cross-entropy."""
        scores, labels = self(features, training=training), features[LABELS]
        weights = features.get(ROW_WEIGHTS, tf.ones(tf.shape(scores)[:1]))
        by_class = tf.constant(self._class_weights)
        if not self.multi_label:
            rows = weights * tf.gather(by_class, labels)
            sums = class_cross_entropy(scores, labels, weights=rows, label_smoothing=self._label_smoothing * training)
            right = tf.cast(tf.argmax(scores, 1, output_type=tf.int32) == labels, tf.float32)
            measures = {"loss": (sums.nats, sums.weight), "accuracy": (tf.reduce_sum(weights * right), tf.reduce_sum(weights))}
            return Objective(sums.loss, sums.weight, measures)
        wanted = labels * (1 - self._label_smoothing * training) + 0.5 * self._label_smoothing * training
        counts = weights[:, None] * (1 + labels * (by_class - 1)) / len(self.labels)
        loss = tf.reduce_sum(counts * tf.nn.sigmoid_cross_entropy_with_logits(wanted, scores))
        right = tf.cast((scores > 0) == (labels > 0.5), tf.float32)
        shares = weights[:, None] / len(self.labels)
        accuracy = (tf.reduce_sum(shares * right), tf.reduce_sum(weights))
        return Objective(loss, tf.reduce_sum(counts), {"loss": (loss, tf.reduce_sum(counts)), "accuracy": accuracy})
