"""Multi-head attention (Vaswani et al. 2017) as a Keras layer, with grouped key and value heads (Ainslie et al. 2023).

Inputs: vectors, and the vectors that they attend to: themselves, or a memory. Outputs: vectors of the first ones' shape.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.layers.base import Composite, Linear, sizes_of
from tfllm.layers.cache import KeysAndValues, write
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dot_product_attention import attention_with_probabilities, dot_product_attention
from tfllm.layers.dropout import seed_of_call
from tfllm.layers.masks import at_queries, causal_mask, combined_mask, keras_mask
from tfllm.layers.mesh import split
from tfllm.layers.norms import norm
from tfllm.layers.positions import Rotation, rotate


class AttentionOutput(NamedTuple):
    """What attention gives where more than its output is asked for. Parts that were not asked for are ()."""

    output: tf.Tensor
    """[B, S or P, D]."""
    cache: KeysAndValues | tuple[()] = ()
    """Keys and values attended to, [B, K, T, H] each."""
    scores: tf.Tensor | tuple[()] = ()
    """How much each query takes of each key, behind the softmax and dropout: [B, N, S or P, T]."""


@keras.saving.register_keras_serializable(package="tfllm")
class MultiHeadAttention(Composite):
    """softmax(query key^T / sqrt(H) + bias) value, for N heads at once.

    Self-attention (no `memory`) projects queries, keys and values by one fused kernel [D, (N + 2K) H]. Cross-attention projects
    queries by one [D, N H], keys and values by another [D of the memory, 2K H]. The first call decides which of the two it is.

    >>> y = tfllm.layers.MultiHeadAttention(num_heads=8, head_dim=64)(x)

    Args:
        num_heads: N.
        head_dim: H; D / N unless given.
        num_kv_heads: K, of which N is a multiple; N unless given (Ainslie et al. 2023).
        output_size: the width of the output; that of the input, D, unless given.
        input_size, memory_size: D, and the width of the memory (cross-attention); those of the first call unless D is given.
        qkv_bias, output_bias: biases of the projections.
        qk_norm: "layer" or "rms" to normalise each query and key head; None for no norm.
        norm_epsilon: of these norms.
        dropout: rate of the dropout on the attention probabilities, in [0, 1).
        stddev, output_stddev: of the first weights of the projections; `output_stddev` is `stddev` unless given.

    Raises:
        ValueError: `num_heads` is not a multiple of `num_kv_heads`.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        *,
        num_kv_heads: int | None = None,
        output_size: int | None = None,
        input_size: int | None = None,
        memory_size: int | None = None,
        qkv_bias: bool = True,
        output_bias: bool = True,
        qk_norm: str | None = None,
        norm_epsilon: float = 1e-5,
        dropout: float = 0.0,
        stddev: float = 0.02,
        output_stddev: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        num_kv_heads = num_kv_heads or num_heads
        if num_heads % num_kv_heads:
            raise ValueError(
                f"num_kv_heads={num_kv_heads} is invalid: expected a divisor of num_heads={num_heads}. Leave it out for as "
                "many key heads as query heads"
            )
        self.heads = (num_heads, num_kv_heads, num_kv_heads)
        self.head_dim: Any = head_dim
        self.output_size, self.rate = output_size, dropout
        self.qkv_bias, self.output_bias, self.qk_norm, self.norm_epsilon = qkv_bias, output_bias, qk_norm, norm_epsilon
        self.stddev, self.output_stddev = stddev, stddev if output_stddev is None else output_stddev
        self.query_norm = self.key_norm = None
        if input_size:
            self._make_layers(input_size, memory_size)

    def build(self, x_shape: Any, memory_shape: Any = None) -> None:  # type: ignore[override]
        if not self._layers:
            self._make_layers(x_shape[-1], memory_shape and memory_shape[-1])
        self.output_shape = (*x_shape[:-1], self.output_projection.sizes[1])
        super().build((None, None, None, self.head_dim))

    def _make_layers(self, size: int, memory_size: int | None) -> None:
        policy = dict(dtype=self.dtype_policy)
        if self.head_dim is None:
            if size % self.heads[0]:
                raise ValueError(
                    f"num_heads={self.heads[0]} is invalid: expected a divisor of the width {size}. Or give head_dim"
                )
            self.head_dim = size // self.heads[0]
        widths = [heads * self.head_dim for heads in self.heads]
        rest: dict[str, Any] = dict(use_bias=self.qkv_bias, stddev=self.stddev)
        self.is_cross_attention = memory_size is not None
        if memory_size is not None:
            self.query = Linear(size, widths[0], name="query", **rest, **policy)
            self.key_value = Linear(memory_size, *widths[1:], name="key_value", **rest, **policy)
        else:
            self.qkv = Linear(size, *widths, name="qkv", **rest, **policy)
        if self.qk_norm:
            self.query_norm = norm(self.qk_norm, epsilon=self.norm_epsilon, name="query_norm", **policy)
            self.key_norm = norm(self.qk_norm, epsilon=self.norm_epsilon, name="key_norm", **policy)
        self.output_projection = Linear(
            widths[0], self.output_size or size, use_bias=self.output_bias, stddev=self.output_stddev, name="output", **policy
        )

    def call(
        self,
        x: tf.Tensor,
        memory: tf.Tensor | None = None,
        bias: tf.Tensor | None = None,
        *,
        attention_mask: tf.Tensor | None = None,
        use_causal_mask: bool = False,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        rope: Rotation | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        cache: KeysAndValues | None = None,
        start: tf.Tensor | None = None,
        output_positions: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """Each vector of x takes from the vectors that it sees.

        Args:
            x: [B, S, D].
            memory: [B, T, any width], where keys and values come from (cross-attention); None for x itself.
            bias: floating [B or 1, N or 1, S or 1, T], added to the scores (relative positions, ALiBi); it has a gradient.
            attention_mask: bool [S, T], [B, S, T] or [B, N, S, T], True where a query sees a key.
            use_causal_mask: no token sees those behind it in the row.
            mask, memory_mask: masks of x and of the memory, bool [B, S] and [B, T], False for padding. Keras fills them in.
            rope: the rotation of the S positions (`RotaryPositions`).
            return_attention_scores: give an `AttentionOutput`.
            training: apply dropout. Keras fills it in.
            seed: int32 [B], of the dropout; drawn unless given.
            cache, start: self-attention: keys and values [B, K, T, H] so far, and the slot where the S new ones are written.
                Cross-attention: the memory's keys and values (`memory_cache`), in place of `memory`.
            output_positions: int32 [B, P], the places of the queries that are wanted; None for all S.
            options: of the call.

        Returns:
            [B, S or P, output_size]; an `AttentionOutput` where there is a cache or scores are asked for.

        Raises:
            ValueError: `attention_mask` has a rank that is none of these.
        """
        if self.is_cross_attention == (memory is None and (cache is None or start is not None)):
            given, expected = ("None", "a tensor") if self.is_cross_attention else ("a tensor", "None")
            raise ValueError(
                f"memory={given} is invalid: expected {expected}, as in this layer's first call. Make one layer for "
                "self-attention and another for cross-attention"
            )
        query, key, value = self._query_key_value(x, memory, rope, cache, start, options)
        keys = keras_mask(memory, memory_mask) if self.is_cross_attention else keras_mask(x, mask)
        allowed = combined_mask(attention=attention_mask, keys=keys)
        if use_causal_mask:
            ahead = causal_mask(sizes_of(x)[1] if x.shape[1] is not None else tf.shape(x)[1])
            allowed = ahead if allowed is None else allowed & ahead
        if output_positions is not None:
            query = tf.gather(query, output_positions, axis=2, batch_dims=1)
            allowed, bias = at_queries(allowed, output_positions), at_queries(bias, output_positions)
        seed, rows = seed_of_call(x, seed, training, self.rate), None
        if self.is_cross_attention and cache is not None:
            query, rows = _by_memory(query, key), tf.shape(query)
        attend: dict[str, Any] = dict(mask=allowed, bias=bias, rate=self.rate, seed=seed, options=options)
        scores: Any = ()
        if return_attention_scores:
            mixed, scores = attention_with_probabilities(query, key, value, **attend)
        else:
            is_causal = use_causal_mask and output_positions is None
            mixed = dot_product_attention(query, key, value, is_causal=is_causal, **attend)
        if rows is not None:
            mixed, scores = _by_row(mixed, rows), _by_row(scores, rows) if return_attention_scores else ()
        output = self.output_projection(self._joined(mixed), options=options)
        if cache is None and not return_attention_scores:
            return output
        return AttentionOutput(output, (key, value), scores)

    def memory_cache(self, memory: tf.Tensor, options: CallOptions = CallOptions()) -> KeysAndValues:
        """Keys and values of a memory, made once for many calls: [B, T, any width] -> [B, K, T, H] each."""
        key, value = self._by_head(self.key_value(memory, options=options), self.heads[1:], self.key_value.groups)
        return (key if self.key_norm is None else self.key_norm(key, options=options)), value

    def _query_key_value(
        self,
        x: tf.Tensor,
        memory: Any,
        rope: Rotation | None,
        cache: KeysAndValues | None,
        start: tf.Tensor | None,
        options: CallOptions,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Queries [B, N, S, H], scaled by H^-1/2, and the keys and values [B, K, T, H] that they attend to."""
        if self.is_cross_attention:
            [query] = self._by_head(self.query(x, options=options), self.heads[:1], self.query.groups)
            key, value = self.memory_cache(memory, options) if cache is None else cache
        else:
            query, key, value = self._by_head(self.qkv(x, options=options), self.heads, self.qkv.groups)
            key = key if self.key_norm is None else self.key_norm(key, options=options)
        query = query if self.query_norm is None else self.query_norm(query, options=options)
        if rope is not None and not self.is_cross_attention:
            query, key = rotate(query, rope), rotate(key, rope)
        if cache is not None and not self.is_cross_attention:
            key, value = write(cache[0], key, start), write(cache[1], value, start)
        return query * tf.constant(self.head_dim**-0.5, query.dtype), key, value

    def _by_head(self, projected: tf.Tensor, heads: tuple[int, ...], groups: int) -> list[tf.Tensor]:
        """The parts of a fused projection: [B, S, sum(heads) H] -> [B, heads, S, H] each."""
        shape = [*sizes_of(projected)[:2], sum(heads), self.head_dim]
        return split(tf.transpose(tf.reshape(projected, shape), [0, 2, 1, 3]), heads, axis=1, groups=groups)

    def _joined(self, mixed: tf.Tensor) -> tf.Tensor:
        """[B, N, S, H] -> [B, S, N H]."""
        mixed = tf.transpose(mixed, [0, 2, 1, 3])
        return tf.reshape(mixed, [*sizes_of(mixed)[:2], self.heads[0] * self.head_dim])


def _by_memory(query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Rows that share a memory as more queries of one row: [C B, N, S, H] beside keys of B rows -> [B, N, C S, H]."""
    heads, size = query.shape[1], query.shape[3]
    apart = tf.reshape(query, [tf.shape(key)[0], -1, heads, tf.shape(query)[2], size])
    return tf.reshape(tf.transpose(apart, [0, 2, 1, 3, 4]), [tf.shape(key)[0], heads, -1, size])


def _by_row(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """The other way round: [B, N, C S, any] -> [C B, N, S, any], where `rows` is the shape [C B, N, S, ...]."""
    apart = tf.reshape(x, [tf.shape(x)[0], x.shape[1], -1, rows[2], tf.shape(x)[3]])
    return tf.reshape(tf.transpose(apart, [0, 2, 1, 3, 4]), [rows[0], x.shape[1], rows[2], x.shape[3] or tf.shape(x)[3]])
