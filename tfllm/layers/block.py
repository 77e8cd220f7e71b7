"""One Transformer block: attention and feed-forward, each with its norm, its dropout and the residual stream around it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import keras
import tensorflow as tf

from tfllm.layers.attention import AttentionOutput, MultiHeadAttention
from tfllm.layers.base import Composite
from tfllm.layers.cache import KeysAndValues
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import add_dropped, seed_of_call
from tfllm.layers.feedforward import FeedForward
from tfllm.layers.masks import combined_mask, keras_mask
from tfllm.layers.norms import norm as norm_called
from tfllm.layers.positions import Rotation
from tfllm.layers.stateless_random import fold_in

Role = Literal["encoder", "decoder", "decoder_with_cross_attention"]
"""An encoder's tokens see all others, a decoder's those before them; one with cross-attention reads a memory, too."""


class BlockOutput(NamedTuple):
    """What a block gives where more than its output is asked for. Parts that were not asked for are ()."""

    output: tf.Tensor
    """[B, S or P, D]."""
    cache: KeysAndValues | tuple[()] = ()
    """The self-attention's keys and values, [B, K, T, H] each."""
    scores: tf.Tensor | tuple[()] = ()
    """The self-attention's probabilities, [B, N, S or P, T]."""
    cross_scores: tf.Tensor | tuple[()] = ()
    """The cross-attention's, over the memory."""


@keras.saving.register_keras_serializable(package="tfllm")
class TransformerBlock(Composite):
    """Norm before each sublayer ("pre", Xiong et al. 2020) or after each sum ("post", Vaswani et al. 2017).

    >>> y = tfllm.layers.TransformerBlock(num_heads=8, ffn_size=2048, norm_place="post", dropout=0.1)(x)

    Args:
        input_size, memory_size: D, and the width of the memory; those of the first call unless given.
        num_heads, num_kv_heads, head_dim, qkv_bias, output_bias, qk_norm: of `MultiHeadAttention`.
        ffn_size, activation, gated, ffn_bias: of `FeedForward`, whose names for the first and the last are `inner_size` and
            `use_bias`.
        role: "encoder", "decoder" (no token sees those behind it) or "decoder_with_cross_attention".
        norm, norm_epsilon: kind of the norms, "layer" or "rms", and their epsilon.
        norm_place: "pre" or "post".
        dropout: rate after each sublayer. attention_dropout: rate on attention probabilities.
        stddev, output_stddev: of the first weights; the second of the projections that end a sublayer, `stddev` unless given.

    Raises:
        ValueError: there is no such role, norm, place or activation.
    """

    def __init__(
        self,
        num_heads: int,
        ffn_size: int,
        *,
        role: Role = "encoder",
        input_size: int | None = None,
        memory_size: int | None = None,
        head_dim: int | None = None,
        num_kv_heads: int | None = None,
        qkv_bias: bool = True,
        output_bias: bool = True,
        qk_norm: str | None = None,
        activation: str = "gelu",
        gated: bool = False,
        ffn_bias: bool = True,
        norm: str = "layer",
        norm_place: str = "pre",
        norm_epsilon: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stddev: float = 0.02,
        output_stddev: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for name, value, accepted in (("role", role, get_args(Role)), ("norm_place", norm_place, ("pre", "post"))):
            if value not in accepted:
                raise ValueError(f"{name}={value!r} is invalid: expected {', '.join(map(repr, accepted))}. Give one of these")
        self.role, self.pre, self.rates = role, norm_place == "pre", (dropout, attention_dropout)
        policy: dict[str, Any] = dict(dtype=self.dtype_policy)
        norms: dict[str, Any] = dict(kind=norm, epsilon=norm_epsilon) | policy
        spread: dict[str, Any] = dict(stddev=stddev, output_stddev=output_stddev)
        heads: dict[str, Any] = dict(num_heads=num_heads, head_dim=head_dim, num_kv_heads=num_kv_heads, qk_norm=qk_norm)
        heads |= dict(
            input_size=input_size,
            qkv_bias=qkv_bias,
            output_bias=output_bias,
            norm_epsilon=norm_epsilon,
            dropout=attention_dropout,
        )
        self.attention = MultiHeadAttention(**heads, **spread, name="attention", **policy)
        self.attention_norm = norm_called(**norms, name="attention_norm")
        self.cross_attention: Any = None
        self.cross_attention_norm: Any = None
        if role == "decoder_with_cross_attention":
            self.cross_attention = MultiHeadAttention(
                **heads, memory_size=memory_size or input_size, **spread, name="cross_attention", **policy
            )
            self.cross_attention_norm = norm_called(**norms, name="cross_attention_norm")
        inner: dict[str, Any] = dict(
            inner_size=ffn_size, input_size=input_size, activation=activation, gated=gated, use_bias=ffn_bias
        )
        self.feedforward = FeedForward(**inner, **spread, name="feedforward", **policy)
        self.feedforward_norm = norm_called(**norms, name="feedforward_norm")

    def build(self, x_shape: Any, memory_shape: Any = None) -> None:  # type: ignore[override]
        self.output_shape = tuple(x_shape)
        for layer in self._layers:
            shapes = (x_shape, memory_shape or x_shape) if layer is self.cross_attention else (x_shape,)
            if not layer.built:
                layer.build(*shapes)

    def call(
        self,
        x: tf.Tensor,
        memory: tf.Tensor | None = None,
        bias: tf.Tensor | None = None,
        *,
        attention_mask: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        rope: Rotation | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        cache: KeysAndValues | None = None,
        start: tf.Tensor | None = None,
        memory_cache: KeysAndValues | None = None,
        output_positions: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """[B, S, D] -> [B, S, D], or [B, P, D] at `output_positions`.

        Args:
            x: [B, S, D].
            memory: [B, T, any width], what a decoder with cross-attention reads.
            bias: of the self-attention.
            memory_cache: keys and values of the memory (`cross_attention.memory_cache`), in place of `memory`.
            attention_mask: of the self-attention. With a cache it hides what stands behind a token, too.
            other arguments: `MultiHeadAttention.call`'s.

        Returns:
            The output; a `BlockOutput` where there is a cache or scores are asked for.

        Raises:
            ValueError: there is a memory, and the role is not "decoder_with_cross_attention", or the other way round.
        """
        if (memory is None and memory_cache is None) != (self.cross_attention is None):
            raise ValueError(
                f"role={self.role!r} is invalid {'without' if memory is None else 'with'} a memory: expected one with role="
                "'decoder_with_cross_attention' and with no other role. Give memory= to such blocks, and to no others"
            )
        seed = seed_of_call(x, seed, training, *self.rates)
        seeds = [None] * 5 if seed is None else [fold_in(seed, i) for i in range(5)]
        attended: dict[str, Any] = dict(return_attention_scores=return_attention_scores, training=training, options=options)
        found = self.attention(
            self.attention_norm(x, options=options) if self.pre else x,
            bias=bias,
            attention_mask=combined_mask(attention=attention_mask, keys=keras_mask(x, mask)),
            use_causal_mask=self.role != "encoder" and cache is None,
            **dict(rope=rope, cache=cache, start=start, output_positions=output_positions, seed=seeds[0]),
            **attended,
        )
        inner, held, scores = found if isinstance(found, AttentionOutput) else (found, (), ())
        x = x if output_positions is None else tf.gather(x, output_positions, batch_dims=1)
        x = self._added(x, inner, self.attention_norm, seeds[1], options)
        cross_scores: Any = ()
        if self.cross_attention is not None:
            inner = self.cross_attention_norm(x, options=options) if self.pre else x
            given: dict[str, Any] = dict(memory=memory, memory_mask=memory_mask, cache=memory_cache, seed=seeds[3])
            found = self.cross_attention(inner, **given, **attended)
            inner, _, cross_scores = found if isinstance(found, AttentionOutput) else (found, (), ())
            x = self._added(x, inner, self.cross_attention_norm, seeds[4], options)
        inner = self.feedforward(self.feedforward_norm(x, options=options) if self.pre else x, options=options)
        x = self._added(x, inner, self.feedforward_norm, seeds[2], options)
        return x if cache is None and not return_attention_scores else BlockOutput(x, held, scores, cross_scores)

    def _added(self, x: tf.Tensor, inner: tf.Tensor, post_norm: Any, seed: tf.Tensor | None, options: CallOptions) -> tf.Tensor:
        """The residual stream behind a sublayer."""
        x = add_dropped(x, inner, self.rates[0], seed, options)
        return x if self.pre else post_norm(x, options=options)
