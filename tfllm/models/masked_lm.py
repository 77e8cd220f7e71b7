"""The masked language model (Devlin et al. 2018): hidden tokens from all around them, and whether two texts belong together."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import (
    PAIR_LABELS,
    POSITIONS,
    ROW_WEIGHTS,
    SEGMENT_IDS,
    TARGET_IDS,
    TARGET_PLACES,
    TARGET_WEIGHTS,
    TYPE_IDS,
)
from tfllm.layers.call_options import CallOptions
from tfllm.layers.feedforward import ACTIVATIONS
from tfllm.layers.heads import Transform, VocabularyHead
from tfllm.models.base import LanguageModel
from tfllm.models.encoder_task import last_layer
from tfllm.models.transformer import Features, Transformer, first_positions
from tfllm.train.batch_keys import BatchKeys, target_specs
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import class_cross_entropy, linear_cross_entropy
from tfllm.train.metrics import Perplexity, Ratio


@keras.saving.register_keras_serializable(package="tfllm")
class MaskedLM(LanguageModel):
    """An encoder with a vocabulary head, and one for pairs of texts if asked for.

    >>> model = MaskedLM(preset("bert-tiny"), next_sentence=True)
    >>> model({"token_ids": tf.constant([[101, 103, 102]])}).shape
    TensorShape([1, 3, 30522])

    Args:
        next_sentence: learn from pairs of texts, too, whether the second follows the first (or their order: as the data is).
        transform_activation, transform_epsilon: of the layer before the scores, where they are not the config's: KerasHub's.

    Raises:
        ValueError: `next_sentence` without the config's `pooler`.
    """

    task = "masked_lm"
    weight_unit = "masked_tokens"

    def __init__(
        self,
        config: ModelConfig,
        *,
        next_sentence: bool = False,
        transform_activation: str | None = None,
        transform_epsilon: float | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(config, seed=seed, **kwargs)
        if next_sentence and not config.pooler:
            raise ValueError("next_sentence=True reads the pooled first token: give a config with pooler=True")
        policy, stddev = dict(dtype=self.dtype_policy), config.initializer_range
        self._transform: dict[str, Any] = {
            "transform_activation": transform_activation or config.activation,
            "transform_epsilon": config.norm_epsilon if transform_epsilon is None else transform_epsilon,
        }
        if self._transform["transform_activation"] not in ACTIVATIONS:
            raise ValueError(f"transform_activation={transform_activation!r} is unknown; it is one of {', '.join(ACTIVATIONS)}")
        self.stack = Transformer(config, name="encoder", **policy)
        self.transform = Transform(
            config.hidden_size,
            activation=self._transform["transform_activation"],
            norm_kind=config.norm,
            norm_epsilon=self._transform["transform_epsilon"],
            stddev=stddev,
            name="transform",
            **policy,
        )
        self.head = VocabularyHead(
            config.hidden_size,
            config.vocab_size,
            tied=config.tied_embeddings,
            stddev=stddev,
            use_bias=True,
            name="head",
            **policy,
        )
        self.pair_head: Any = None
        if next_sentence:
            self.pair_head = last_layer(config, 2, name="pair_head")
            self.pair_head.output_shape = (None, 2)
        self.build()

    @property
    def batch_keys(self) -> BatchKeys:  # type: ignore[override]
        pairs = () if self.pair_head is None else (PAIR_LABELS,)
        inputs = (POSITIONS, SEGMENT_IDS, TYPE_IDS, TARGET_PLACES)
        return BatchKeys(inputs=inputs, targets=target_specs(TARGET_IDS, *pairs))

    def settings(self) -> dict[str, Any]:
        same = {"transform_activation": self.config.activation, "transform_epsilon": self.config.norm_epsilon}
        return {"next_sentence": self.pair_head is not None} | ({} if self._transform == same else dict(self._transform))

    def output_positions(self, features: Features) -> tf.Tensor | None:
        return features.get(TARGET_PLACES)

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """Of every token at the places in `features["target_places"]` [B, P], or at all: float32 [B, P or S, V]."""
        return self.logits(self.transform(hidden, options=options), options)

    def pair_scores(self, features: Features, training: bool = False, options: CallOptions = CallOptions()) -> tf.Tensor:
        """Scores of "the second text follows" and "it does not". float32 [B, 2].

        Raises:
            ValueError: the model was made without `next_sentence=True`.
        """
        if self.pair_head is None:
            raise ValueError("this model has no head for pairs: make it with next_sentence=True")
        features = self.read(features, training)
        found = self.stack(features, training=training, output_positions=first_positions(features), options=options)
        return self._pair_scores(found.last_hidden_state, options)

    def _pair_scores(self, hidden: tf.Tensor, options: CallOptions) -> tf.Tensor:
        return self.pair_head(self.stack.pooler(hidden, options=options), options=options)

    def build_metrics(self) -> list[Ratio]:
        pairs = [Ratio("pair_loss"), Ratio("pair_accuracy")] if self.pair_head is not None else []
        return [Ratio("loss"), Perplexity("perplexity"), Ratio("accuracy"), *pairs]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Cross-entropy of the hidden tokens. A pair's counts as much as the P places of a row: a sum, so exact on replicas."""
        positions = features.get(TARGET_PLACES)
        if positions is not None and self.pair_head is not None:
            positions = tf.concat([first_positions(features), positions], 1)
        hidden = self.stack(features, training=training, output_positions=positions, options=options).last_hidden_state
        asked = hidden[:, 1:] if positions is not None and self.pair_head is not None else hidden
        tokens = linear_cross_entropy(
            self.transform(tf.reshape(asked, [-1, self.config.hidden_size]), options=options),
            self.output_matrix,
            bias=tf.convert_to_tensor(self.head.bias),
            targets=tf.reshape(features[TARGET_IDS], [-1]),
            weights=tf.reshape(features[TARGET_WEIGHTS], [-1]),
            training=training,
            compiled=options.compiled,
        )
        loss = tokens.loss
        metrics = {"perplexity": (tokens.nats, tokens.weight), "accuracy": (tokens.correct, tokens.weight)}
        if self.pair_head is not None:
            labels = features[PAIR_LABELS]
            weights = features.get(ROW_WEIGHTS, tf.ones(tf.shape(labels)))
            pairs = class_cross_entropy(self._pair_scores(hidden, options), labels, weights=weights)
            loss += pairs.loss * tf.cast(tf.shape(features[TARGET_IDS])[1], tf.float32)
            metrics |= {"pair_loss": (pairs.nats, pairs.weight), "pair_accuracy": (pairs.correct, pairs.weight)}
        return LossAndMetrics(loss, tokens.weight, {"loss": (loss, tokens.weight)} | metrics)
