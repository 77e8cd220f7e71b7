"""What every model shares: it is made from a `ModelConfig` alone, saves itself, and starts from another."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import DROPOUT_SEED, TOKEN_IDS
from tfllm.layers.cache import Cache
from tfllm.layers.call_options import CallOptions
from tfllm.layers.devices import fastest_dtype, is_slow
from tfllm.layers.heads import VocabularyHead
from tfllm.models.transformer import Features, Transformer
from tfllm.tokenizers import Tokenizer
from tfllm.train.distribution.tensor_parallel import arrange
from tfllm.train.runs.weights import variables_by_name
from tfllm.train.standardize import standardize_batch
from tfllm.train.trainable_model import TrainableModel

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
"""Keras' policies that a model may have; the last cannot be trained. "auto" is the soonest of the others."""
_FREE = ("dropout", "attention_dropout", "initializer_range", "remat", "pooler")
"""What a config may have otherwise than that of the weights it takes."""


class ModelOutput(NamedTuple):
    """What `model(features, output_hidden_states=True, output_attentions=True)` gives. Parts that were not asked for are ()."""

    output: tf.Tensor
    """What the model gives without these arguments: scores, say."""
    hidden_states: tuple[tf.Tensor, ...] = ()
    """[B, S, D], one more than there are blocks: what enters the first block and what leaves each, the last behind the final
    norm, as Hugging Face has them."""
    attentions: tuple[tf.Tensor, ...] = ()
    """[B, N, S, T], one a block: how much each token takes of each other one."""
    cache: Cache | tuple[()] = ()
    """Of a decoder that was given one."""


class LanguageModel(TrainableModel):
    """A model built, weights and all, from its config and settings. Its `.keras` file holds them and the weights.

    Args:
        config: the architecture.
        seed: of the initial weights: the same seed gives the same weights, in every process.
        skip_init: make the matrices of zeros, in much less time, because the caller assigns every weight.
        before_build: is called with the model when it has its layers, but no weights yet (`replace_layers`).
        dtype: a Keras dtype policy: "float32", "mixed_bfloat16" (weights in float32, products in bfloat16), or "auto":
            the second where the devices multiply bfloat16 themselves, else the first.

    Warns:
        UserWarning: bfloat16 is slower than float32 on this processor.

    Raises:
        TypeError: `config` is not a `ModelConfig`.
        ValueError: a decoder was asked for with an encoder's config, or the other way round; no such dtype.
    """

    task = "language_model"
    """Its name in files: `config.json`, exports, the command line."""
    causal = False
    stack: Transformer
    head: Any

    def __init__(
        self,
        config: ModelConfig,
        *,
        seed: int = 0,
        skip_init: bool = False,
        before_build: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(config, ModelConfig):
            raise TypeError(f"{type(self).__name__} wants a ModelConfig (see tfllm.preset), got {type(config).__name__}")
        if config.causal != self.causal:
            kind = "a decoder's" if self.causal else "an encoder's"
            raise ValueError(f"{type(self).__name__} wants {kind} config, got causal={config.causal}")
        kwargs["dtype"] = _policy(kwargs.get("dtype"), warn=before_build is None)
        # A fixed name: weights are saved by path, and Keras would number the second model of a process.
        kwargs.setdefault("name", self.task)
        super().__init__(**kwargs)
        self.config, self._weights_seed, self._skip_init, self._before_build = config, seed, skip_init, before_build
        self.max_length = config.max_length

    @classmethod
    def from_pretrained(cls, pretrained: LanguageModel | str | Path, **settings: Any) -> Self:
        """A model for this task on the stack of another, with a new head; weights are copied.

        >>> pretrained, tokenizer = tfllm.load("runs/bert")
        >>> model = tfllm.TextClassifier.from_pretrained(pretrained, labels=["bad", "good"])

        Args:
            pretrained: any encoder (from `tfllm.load`, `tfllm.from_huggingface` or `tfllm.from_keras_hub`), or the path of its
                folder.
            settings: of this task; `config` (another dropout, say), `seed` and `dtype` among them.

        Raises:
            TypeError: `pretrained` is no model.
            ValueError: the given config is another architecture.
        """
        from tfllm.models.folder import get  # which imports this module

        pretrained = get(pretrained)
        config = settings.pop("config", pretrained.config)
        changed = pretrained.config.differences(config, but_for=_FREE)
        if changed:
            raise ValueError(
                f"the given config is not the pretrained {type(pretrained).__name__}'s: {'; '.join(changed)}. Begin with "
                f"pretrained.config.replace(…); what may be changed is {', '.join(_FREE)}"
            )
        model = cls(config, **settings)
        theirs, ours = variables_by_name(pretrained.stack.variables), variables_by_name(model.stack.variables)
        if missing := sorted(ours.keys() - theirs.keys()):
            raise ValueError(
                f"the pretrained {type(pretrained).__name__} has no such weights: {', '.join(missing[:8])}. Give a config "
                "without them: pretrained.config.replace(pooler=False)"
            )
        for name, variable in ours.items():
            variable.assign(theirs[name])
        return model

    def build(self, input_shape: Any = None) -> None:
        if self._before_build is not None:
            self._before_build(self)
            self._before_build = None  # it may hold another model
        drawn = [layer for layer in self._flatten_layers() if self._skip_init and hasattr(layer, "stddev")]
        spreads = [layer.stddev for layer in drawn]
        for layer in drawn:
            layer.stddev = 0.0
        # Keras' initializers draw their seeds from Python's generator.
        state = random.getstate()
        random.seed(self._weights_seed)
        for layer in self._layers:
            if not layer.built:
                layer.build(None)
        random.setstate(state)
        for layer, stddev in zip(drawn, spreads, strict=True):
            layer.stddev = stddev
        arrange(self)

    def read(self, features: Any, training: bool) -> Features:
        """What `call` computes with: inputs by our names, and fresh seeds of dropout where they are needed and none came."""
        inputs = standardize_batch(self.batch_keys, features, model_name=type(self).__name__, with_targets=False)
        if training and DROPOUT_SEED not in inputs:
            rows = tf.shape(inputs[TOKEN_IDS])[:1]
            inputs[DROPOUT_SEED] = tf.random.uniform(rows, maxval=tf.int32.max, dtype=tf.int32)
        return inputs

    def set_lengths_of(self, rows: Any) -> None:
        """Makes predictions read as much of a text as `rows` do, the labelled rows that the model learns from.

        A model that generates reads prompts of any length: nothing is set.
        """

    @property
    def ties_head(self) -> bool:
        """Does the vocabulary head, if there is one, score by the table of the token embedding?"""
        head = getattr(self, "head", None)
        return isinstance(head, VocabularyHead) and head.tied

    @property
    def output_matrix(self) -> tf.Tensor:
        """What scores the vocabulary, of a model with a vocabulary head: [V, D]."""
        return (self.stack.token_embedding if self.ties_head else self.head).matrix

    def logits(self, hidden: tf.Tensor, options: CallOptions = CallOptions()) -> tf.Tensor:
        """Scores of every token, by the vocabulary head of a model that has one. [..., D] -> float32 [..., V]."""
        embedding = self.stack.token_embedding if self.ties_head else None
        return self.head(hidden, embedding=embedding, options=options)

    def call(
        self,
        features: Any,
        training: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """What the task computes of a batch (`scores`).

        Args:
            features: `token_ids` [B, S] and the task's other inputs (`tfllm.features`).
            training: apply dropout, from `features["dropout_seed"]` or a fresh seed.
            output_hidden_states, output_attentions: give what every block computed, too.
            options: what is known of the graph, for those who build one (`tfllm.layers.call_options`).

        Returns:
            The task's output; a `ModelOutput` where hidden states or attentions are asked for.
        """
        features = self.read(features, training)
        found = self.stack(
            features,
            training=training,
            output_positions=self.output_positions(features),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            options=options,
        )
        output = self.scores(found.last_hidden_state, features, training, options)
        if output_hidden_states or output_attentions:
            return ModelOutput(output, found.hidden_states, found.attentions)
        return output

    def output_positions(self, features: Features) -> tf.Tensor | None:
        """The places of the tokens whose hidden states the task reads, int32 [B, P]; None for all."""
        return None

    def scores(self, hidden: tf.Tensor, features: Features, training: bool, options: CallOptions) -> tf.Tensor:
        """What the task computes of the hidden states at its `output_positions`, [B, S or P, D]."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What the constructor takes beside the config, as JSON has it: a classifier's labels, say."""
        return {}

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "name": self.name, "dtype": self.dtype_policy.name, **self.settings()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> LanguageModel:
        return cls(ModelConfig.from_dict(config["config"]), **{key: config[key] for key in config if key != "config"})


def _policy(dtype: Any, *, warn: bool) -> keras.DTypePolicy:
    """The policy that was asked for; Keras' global one for None."""
    policy = keras.dtype_policies.get(fastest_dtype() if dtype == "auto" else dtype or keras.config.dtype_policy())
    if policy.name not in DTYPES:
        raise ValueError(f"dtype={policy.name!r}: weights are float32; give 'auto', {' or '.join(map(repr, DTYPES))}")
    if warn and is_slow(policy.compute_dtype):
        slow = f"dtype={policy.name!r} is slower than float32 on this processor, without AVX-512"
        warnings.warn(f"{slow}: give dtype='auto' or 'float32'", stacklevel=4)
    return policy


def check_tokenizer(model: Any, tokenizer: Tokenizer) -> None:
    """Raises ValueError unless the vocabularies are of one size."""
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model's vocabulary {model.config.vocab_size}: "
            "the tokenizer is not this model's. Take the one that tfllm.load gives with the model, or make a model with "
            f"vocab_size={tokenizer.vocab_size}"
        )
