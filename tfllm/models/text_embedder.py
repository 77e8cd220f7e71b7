"""A text as a vector, near the vectors of texts that mean the same (Reimers & Gurevych 2019, arXiv:1908.10084)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import POSITIONS, ROW_WEIGHTS, SEGMENT_IDS, TEXT_NUMBERS, TYPE_IDS
from tfllm.layers.call_options import CallOptions
from tfllm.models.encoder_task import EncoderTask, Pooling, check_pooling
from tfllm.models.transformer import Features
from tfllm.train.batch_keys import BatchKeys
from tfllm.train.distribution.replicas import gather_rows
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import class_cross_entropy
from tfllm.train.metrics import Ratio


def wrong_partners(texts: tf.Tensor) -> tf.Tensor:
    """Which second texts are wrong for which first: not those that are its partners somewhere, nor its own equals.

        pairs 0 1 | 2 1 | 0 3 -> F F F | F F T | F F F

    Transposed, it says which first texts are wrong for which second. So a batch may hold equal texts, which
    sentence-transformers' `NoDuplicatesBatchSampler` keeps apart.

    Args:
        texts: numbers of the texts of N pairs, int32 [N, 2].

    Returns:
        bool [N, N].
    """
    firsts, seconds = tf.unstack(texts, axis=1)
    same_first, same_second = (tf.cast(each[:, None] == each, tf.float32) for each in (firsts, seconds))
    partners = tf.matmul(same_first, same_second) > 0  # by some pair: it has an equal first text and an equal second
    return ~(partners | (firsts[:, None] == seconds))


@keras.saving.register_keras_serializable(package="tfllm")
class TextEmbedder(EncoderTask):
    """What stands for the row, of length 1: the product of two vectors is their cosine.

    Args:
        pooling: "mean", "first" (token) or "pooler".
        normalize: divide by the length.

    Raises:
        ValueError: the pooling is unknown, or the config has no pooler.
    """

    task = "text_embedder"
    weight_unit = "rows"
    batch_keys = BatchKeys(inputs=(POSITIONS, SEGMENT_IDS, TYPE_IDS, TEXT_NUMBERS), group_size=2)

    def __init__(self, config: ModelConfig, *, pooling: Pooling = "mean", normalize: bool = True, seed: int = 0, **kwargs: Any):
        self.pooling, self.normalize = check_pooling(pooling, config), normalize
        super().__init__(config, outputs=0, seed=seed, **kwargs)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"pooling": self.pooling, "normalize": self.normalize}

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Vectors, float32 [B, D]."""
        vectors = tf.cast(self.pooled(hidden, features, options), tf.float32)
        return tf.math.l2_normalize(vectors, -1) if self.normalize else vectors

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: None = None,
        *,
        temperature: float = 0.05,
        **kwargs: Any,
    ) -> None:
        """Says how to train; the other arguments are `TrainableModel.compile`'s.

        Args:
            temperature: cosines are divided by it before the softmax.

        Raises:
            ValueError: `temperature` is not above 0; gradients are to be accumulated, which would leave fewer others to tell a
                text's partner from; or XLA is to compile what several replicas tell each other.
        """
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be above 0")
        if kwargs.get("gradient_accumulation", 1) != 1:
            raise ValueError("gradient_accumulation would compare each text with those of its part only: give a smaller batch")
        if kwargs.get("jit_compile", "auto") not in (False, "auto") and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError("jit_compile=True: XLA compiles each replica by itself, texts are compared over all: leave it out")
        self._temperature = temperature
        super().compile(optimizer, loss, **kwargs)
        self.training_settings |= {"temperature": temperature}

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("accuracy")]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Which text is this one's partner, among those of the batch, asked both ways (van den Oord et al. 2018, InfoNCE).

        The batch is that of all replicas: each asks for the partners of its own texts among all.
        Rows 2i and 2i + 1 are partners. A text is compared with its partner and with those that are wrong, by TEXT_NUMBERS
        (`wrong_partners`); without them all others are. Pairs of weight 0 are compared with none.
        """
        vectors = tf.math.l2_normalize(self(features, training=training, options=options), -1)
        weights = tf.cast(features.get(ROW_WEIGHTS, tf.ones(tf.shape(vectors)[:1])), tf.float32)
        rows = gather_rows(tf.concat([vectors, weights[:, None]], -1))
        pairs = tf.reshape(rows.values[:, :-1], [-1, 2, self.config.hidden_size])
        weights = rows.values[::2, -1]
        cosines, targets = tf.matmul(pairs[:, 0], pairs[:, 1], transpose_b=True), tf.range(tf.shape(pairs)[0])
        scores = tf.concat([cosines, tf.transpose(cosines)], 0) / self._temperature
        compared = tf.tile(weights[None] > 0, [tf.shape(scores)[0], 1])
        if TEXT_NUMBERS in features:
            texts = tf.reshape(gather_rows(features[TEXT_NUMBERS]).values, [-1, 2])
            wrong = tf.linalg.set_diag(wrong_partners(texts), tf.ones(tf.shape(texts)[:1], tf.bool))
            compared &= tf.concat([wrong, tf.transpose(wrong)], 0)
        scores -= tf.cast(~compared, tf.float32) * 1e9
        weights = tf.where(rows.are_local(2 * targets), weights, 0.0)  # a pair counts where its first text is
        sums = class_cross_entropy(scores, tf.tile(targets, [2]), weights=tf.tile(weights, [2]))
        metrics = {"loss": (sums.nats, sums.weight), "accuracy": (sums.correct, sums.weight)}
        return LossAndMetrics(sums.loss, sums.weight, metrics)
