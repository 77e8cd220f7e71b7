"""Where in a context the answer to a question stands (Devlin et al. 2018, section 4.2; unanswerable: section 4.3)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import ANSWER_PLACES, POSITIONS, ROW_WEIGHTS, SEGMENT_IDS, SPAN_ENDS, SPAN_STARTS, TYPE_IDS
from tfllm.layers.call_options import CallOptions
from tfllm.layers.masks import HIDDEN
from tfllm.models.encoder_task import EncoderTask
from tfllm.models.transformer import Features
from tfllm.train.batch_keys import BatchKeys, target_specs
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import class_cross_entropy
from tfllm.train.metrics import Ratio

LONGEST_ANSWER = 30
"""Tokens (Devlin et al. 2018)."""


@keras.saving.register_keras_serializable(package="tfllm")
class QuestionAnswerer(EncoderTask):
    """Scores of every place as the answer's first and as its last token; place 0 says that there is no answer.

    Args:
        max_length: longest row of question and context in tokens; 384 at most unless given.
        stride: tokens of a long context that neighbouring rows share; a third of a row, at most 128, unless given.
        longest_answer: tokens of an answer, at most; `finetune` raises it to that of the rows it learns from.

    Raises:
        ValueError: `max_length` is below 4, or more than the model places.
    """

    task = "question_answerer"
    weight_unit = "rows"
    batch_keys = BatchKeys(
        inputs=(POSITIONS, SEGMENT_IDS, TYPE_IDS, ANSWER_PLACES), targets=target_specs(SPAN_STARTS, SPAN_ENDS)
    )

    def __init__(
        self,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        stride: int | None = None,
        longest_answer: int = LONGEST_ANSWER,
        seed: int = 0,
        **kwargs: Any,
    ):
        longest = min(384, config.max_length) if max_length is None else max_length
        super().__init__(config, outputs=2, max_length=longest, seed=seed, **kwargs)
        self.stride = min(128, self.max_length // 3) if stride is None else stride
        self.longest_answer = longest_answer

    def settings(self) -> dict[str, Any]:
        # Said only where it is another: folders and runs of earlier versions do not.
        longer = {} if self.longest_answer == LONGEST_ANSWER else {"longest_answer": self.longest_answer}
        return super().settings() | {"stride": self.stride} | longer

    def set_lengths_of(self, rows: Any) -> None:
        """Makes predictions read windows as long and as far apart as `rows` do, and give answers as long."""
        super().set_lengths_of(rows)
        self.stride = rows.stride
        self.longest_answer = max(self.longest_answer, rows.longest_answer)

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Scores (logits) of starts and ends, float32 [B, 2, S]; those outside `answer_places` are far below all others."""
        scores = tf.transpose(self.on_head(hidden, features, training, options), [0, 2, 1])
        places = features.get(ANSWER_PLACES)
        return scores if places is None else scores - HIDDEN * (1 - tf.cast(places, tf.float32))[:, None]

    def build_metrics(self) -> list[Ratio]:
        return [Ratio("loss"), Ratio("accuracy")]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Mean of the two cross-entropies over places; "accuracy" is the share of rows with both ends right."""
        scores = self(features, training=training, options=options)
        labels = tf.stack([features[SPAN_STARTS], features[SPAN_ENDS]], 1)
        weights = features.get(ROW_WEIGHTS, tf.ones(tf.shape(scores)[:1]))
        flat = tf.reshape(scores, [-1, tf.shape(scores)[2]])
        sums = class_cross_entropy(flat, tf.reshape(labels, [-1]), weights=tf.repeat(weights, 2))
        right = tf.reduce_all(tf.argmax(scores, 2, output_type=tf.int32) == labels, 1)
        correct = tf.reduce_sum(weights * tf.cast(right, tf.float32))
        weight = tf.reduce_sum(weights)
        return LossAndMetrics(sums.loss / 2, weight, {"loss": (sums.nats / 2, weight), "accuracy": (correct, weight)})
