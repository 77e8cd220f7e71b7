"""The causal language model: what comes next, given all that came before (Radford et al. 2018)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import POSITIONS, SEGMENT_IDS, TARGET_IDS, TARGET_WEIGHTS
from tfllm.layers.cache import Cache
from tfllm.layers.call_options import CallOptions
from tfllm.layers.heads import VocabularyHead
from tfllm.models.base import LanguageModel, ModelOutput
from tfllm.models.transformer import Features, Transformer
from tfllm.train.batch_keys import BatchKeys, target_specs
from tfllm.train.gradients import LossAndMetrics
from tfllm.train.losses import linear_cross_entropy
from tfllm.train.metrics import BitsPerByte, Perplexity, Ratio


@keras.saving.register_keras_serializable(package="tfllm")
class CausalLM(LanguageModel):
    """A decoder with a vocabulary head.

    >>> model = CausalLM(preset("gpt2-tiny"))
    >>> model({"token_ids": tf.constant([[3, 4, 5]])}).shape
    TensorShape([1, 3, 512])
    """

    task = "causal_lm"
    causal = True
    batch_keys = BatchKeys(inputs=(POSITIONS, SEGMENT_IDS), targets=target_specs(TARGET_IDS), predicts_next_token=True)

    def __init__(self, config: ModelConfig, *, seed: int = 0, **kwargs: Any):
        super().__init__(config, seed=seed, **kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.stack = Transformer(config, name="decoder", **policy)
        self.head = VocabularyHead(
            config.hidden_size,
            config.vocab_size,
            tied=config.tied_embeddings,
            stddev=config.initializer_range,
            name="head",
            **policy,
        )
        self.build()

    def call(  # type: ignore[override]
        self,
        features: Features,
        cache: Cache | None = None,
        training: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """Scores of every token at every place.

        Args:
            features: `token_ids` [B, S], and `positions` and `segment_ids` where rows are packed or padded.
            cache: what was read before (`new_cache`); the S tokens are written behind it, where it has room for them: without,
                a graph (tf.function) loses them or ends with an error.
            training: apply dropout, from `features["dropout_seed"]` or a fresh seed.
            output_hidden_states, output_attentions: give what every block computed, too.
            options: what is known of the graph, for those who build one (`tfllm.layers.call_options`).

        Returns:
            float32 [B, S, V]; with a cache, the pair of it and the new cache; a `ModelOutput` where hidden states or attentions
            are asked for.

        Raises:
            ValueError: outside a graph, the cache has no room for the tokens, or is of another number of rows.
        """
        features = self.read(features, training)
        asked = dict(output_hidden_states=output_hidden_states, output_attentions=output_attentions)
        found = self.stack(features, cache=cache, training=training, options=options, **asked)
        scores = self.logits(found.last_hidden_state, options)
        if any(asked.values()):
            return ModelOutput(scores, found.hidden_states, found.attentions, found.cache)
        return scores if cache is None else (scores, found.cache)

    def new_cache(self, batch_size: int | tf.Tensor, length: int | tf.Tensor) -> Cache:
        """An empty cache for `batch_size` rows of at most `length` tokens."""
        return self.stack.new_cache(batch_size, length)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: None = None,
        *,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        token_bytes: np.ndarray | None = None,
        **kwargs: Any,
    ) -> None:
        """Says how to train; the other arguments are `TrainableModel.compile`'s.

        Args:
            label_smoothing: share of the target's probability spread over the vocabulary, in [0, 1).
            z_loss: factor of log(Z)^2 in the loss; PaLM's is 1e-4.
            token_bytes: `tokenizer.token_bytes()`, int32 [V]: adds the metric `bits_per_byte`.

        Raises:
            ValueError: an argument is out of range.
        """
        if not 0 <= label_smoothing < 1 or z_loss < 0:
            raise ValueError(f"label_smoothing={label_smoothing} must be in [0, 1), z_loss={z_loss} at least 0")
        if token_bytes is not None and len(token_bytes) != self.config.vocab_size:
            raise ValueError(
                f"token_bytes has {len(token_bytes)} entries, the model's vocabulary {self.config.vocab_size}: "
                "the tokenizer is not this model's"
            )
        self.label_smoothing, self.z_loss = label_smoothing, z_loss
        self._token_bytes = None if token_bytes is None else np.asarray(token_bytes, np.float32)
        super().compile(optimizer, loss, **kwargs)
        self.training_settings |= {"label_smoothing": label_smoothing, "z_loss": z_loss}

    def get_compile_config(self) -> dict[str, Any] | None:
        config = super().get_compile_config()
        sizes = getattr(self, "_token_bytes", None)
        return config if config is None or sizes is None else config | {"token_bytes": sizes.tolist()}

    def build_metrics(self) -> list[Ratio]:
        bits = [] if self._token_bytes is None else [BitsPerByte("bits_per_byte")]
        return [Ratio("loss"), Perplexity("perplexity"), Ratio("accuracy"), *bits]

    def loss_and_metrics(self, features: Features, training: bool, options: CallOptions = CallOptions()) -> LossAndMetrics:
        """Next-token cross-entropy, summed over the targets by their weights."""
        hidden = self.stack(features, training=training, options=options).last_hidden_state
        targets, weights = tf.reshape(features[TARGET_IDS], [-1]), tf.reshape(features[TARGET_WEIGHTS], [-1])
        sums = linear_cross_entropy(
            tf.reshape(hidden, [-1, self.config.hidden_size]),
            self.output_matrix,
            targets=targets,
            weights=weights,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            training=training,
            compiled=options.compiled,
        )
        metrics = {
            "loss": (sums.loss, sums.weight),
            "perplexity": (sums.nats, sums.weight),
            "accuracy": (sums.correct, sums.weight),
        }
        if self._token_bytes is not None:
            metrics["bits_per_byte"] = (
                sums.nats,
                tf.reduce_sum(weights * tf.gather(self._token_bytes, targets)),
            )
        return LossAndMetrics(sums.loss, sums.weight, metrics)
