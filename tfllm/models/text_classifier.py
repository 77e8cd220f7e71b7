"""What a text, or a pair of texts, is about: one of several labels, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import LABELS, ROW_WEIGHTS
from tfllm.layers.call_options import CallOptions
from tfllm.models.encoder_task import EncoderTask, Pooling, check_labels, check_pooling
from tfllm.models.transformer import Features
from tfllm.train.batch_keys import BatchKeys, KeySpec
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import class_cross_entropy
from tfllm.train.metrics import Ratio


@keras.saving.register_keras_serializable(package="tfllm")
class TextClassifier(EncoderTask):
    """Scores of labels from what stands for the whole row.

    >>> model = TextClassifier(preset("bert-tiny"), labels=["bad", "good"])
    >>> model({"token_ids": tf.constant([[101, 2204, 102]])}).shape
    TensorShape([1, 2])

    Args:
        labels: their names; a class is a place in this list.
        pairs: rows are two texts each: does the second follow from the first, say.
        multi_label: any number of labels may hold (a sigmoid each); else exactly one does (softmax).
        pooling: "pooler", "first" (token) or "mean"; the pooler if the config has one, else the mean.

    Raises:
        ValueError: fewer than two labels, one twice, or an unknown pooling.
    """

    task = "text_classifier"
    weight_unit = "rows"

    def __init__(
        self,
        config: ModelConfig,
        *,
        labels: Sequence[str],
        pairs: bool = False,
        multi_label: bool = False,
        pooling: Pooling | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        self.labels, self.pairs, self.multi_label = check_labels(labels), pairs, multi_label
        self.pooling = check_pooling(pooling, config)
        super().__init__(config, outputs=len(self.labels), seed=seed, **kwargs)
        self.head.output_shape = (None, len(self.labels))

    @property
    def batch_keys(self) -> BatchKeys:  # type: ignore[override]
        spec = KeySpec("float32", "BC") if self.multi_label else KeySpec("int32", "B")
        return BatchKeys(targets={LABELS: spec}, num_classes=len(self.labels))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "labels": list(self.labels),
            "pairs": self.pairs,
            "multi_label": self.multi_label,
            "pooling": self.pooling,
        }

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Scores (logits), float32 [B, C]."""
        return self.on_head(self.pooled(hidden, features, options), features, training, options)

    def probabilities(self, scores: tf.Tensor) -> tf.Tensor:
        """Of each label. float32 [B, C] -> float32 [B, C]."""
        return tf.sigmoid(scores) if self.multi_label else tf.nn.softmax(scores)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: None = None,
        *,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Says how to train; the other arguments are `TrainableModel.compile`'s.

        Args:
            label_smoothing: share of the label's probability spread over all, in [0, 1).

        Raises:
            ValueError: an argument is out of range.
        """
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing} must be in [0, 1)")
        self._label_smoothing = label_smoothing
        super().compile(optimizer, loss, **kwargs)
        self.training_settings |= {"label_smoothing": label_smoothing}

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("accuracy")]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Cross-entropy over rows; with several labels, the mean over labels of each one's binary cross-entropy.

        The accuracy is the share of rows with every label right.
        """
        scores, labels = self(features, training=training, options=options), features[LABELS]
        weights = features.get(ROW_WEIGHTS, tf.ones(tf.shape(scores)[:1]))
        smoothing = self._label_smoothing if training else 0.0
        if not self.multi_label:
            sums = class_cross_entropy(scores, labels, weights=weights, label_smoothing=smoothing)
            metrics = {"loss": (sums.nats, sums.weight), "accuracy": (sums.correct, sums.weight)}
            return LossAndMetrics(sums.loss, sums.weight, metrics)
        wanted = labels * (1 - smoothing) + 0.5 * smoothing
        nats = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, scores), 1)
        right = tf.cast(tf.reduce_all((scores > 0) == (labels > 0.5), 1), tf.float32)
        loss, correct, weight = tf.reduce_sum(weights * nats), tf.reduce_sum(weights * right), tf.reduce_sum(weights)
        return LossAndMetrics(loss, weight, {"loss": (loss, weight), "accuracy": (correct, weight)})
