"""Multi-head attention (Vaswani et al. 2017) with grouped key and value heads (Ainslie et al. 2023)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.cache import write
from tfllm.layers.dropout import dropout
from tfllm.layers.norms import norm
from tfllm.layers.positions import Rotation, rotate

KeysAndValues = tuple[tf.Tensor, tf.Tensor]


class Attention(Composite):
    """Self-attention: queries, keys and values by one fused projection, [D] -> [(N + 2K) H].

    Args:
        size: D. num_heads: N. num_kv_heads: K. head_dim: H.
        qkv_bias, output_bias: biases of the two projections.
        qk_norm: the kind of norm on each query and key head, or "" for none.
        stddev, output_stddev: of the first weights of the two projections.
    """

    def __init__(
        self,
        size: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        qkv_bias: bool,
        output_bias: bool,
        qk_norm: str,
        norm_epsilon: float,
        dropout: float,
        stddev: float,
        output_stddev: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.heads = (num_heads, num_kv_heads, num_kv_heads)
        self.head_dim, self.rate = head_dim, dropout
        widths = (heads * head_dim for heads in self.heads)
        self.qkv = Linear(size, *widths, use_bias=qkv_bias, stddev=stddev, name="qkv", **policy)
        self.query_norm = self.key_norm = None
        if qk_norm:
            self.query_norm = norm(qk_norm, head_dim, epsilon=norm_epsilon, name="query_norm", **policy)
            self.key_norm = norm(qk_norm, head_dim, epsilon=norm_epsilon, name="key_norm", **policy)
        self.output_projection = Linear(
            num_heads * head_dim, size, use_bias=output_bias, stddev=output_stddev, name="output", **policy
        )

    def call(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        *,
        turn: Rotation | None = None,
        cache: KeysAndValues | None = None,
        start: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Every token gathers from the tokens it sees.

        Args:
            x: [B, S, D].
            bias: float32 [B or 1, 1, S, T], from `masks.attention_bias`.
            turn: rotary positions of the S tokens.
            cache, start: keys and values [B, K, T, H] so far, and the slot where the new ones go.
            seed: int32 [], of the dropout on the attention probabilities.

        Returns:
            [B, S, D], and the keys and values attended to, [B, K, T, H].
        """
        query, key, value = self.project(x, turn)
        if cache is not None:
            key, value = write(cache[0], key, start), write(cache[1], value, start)
        probabilities = dropout(self.probabilities(query, key, bias), self.rate, seed)
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        grouped = tf.reshape(probabilities, self._grouped_shape(batch, length, tf.shape(key)[2]))
        heads = tf.reshape(tf.matmul(grouped, value), [batch, self.heads[0], length, self.head_dim])
        joined = tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), [batch, length, self.heads[0] * self.head_dim])
        return self.output_projection(joined), (key, value)

    def project(self, x: tf.Tensor, turn: Rotation | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Queries [B, N, S, H], scaled by H^-1/2, keys and values [B, K, S, H], normalised and turned."""
        shape = [tf.shape(x)[0], tf.shape(x)[1], sum(self.heads), self.head_dim]
        together = tf.transpose(tf.reshape(self.qkv(x), shape), [0, 2, 1, 3])
        query, key, value = tf.split(together, self.heads, axis=1)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        return query * tf.constant(self.head_dim**-0.5, query.dtype), key, value

    def probabilities(self, query: tf.Tensor, key: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """How much each query takes of each key, summing to 1 over T. [B, N, S, H], [B, K, T, H] -> [B, N, S, T]."""
        batch, length, keys = tf.shape(query)[0], tf.shape(query)[2], tf.shape(key)[2]
        grouped = tf.reshape(query, self._grouped_shape(batch, length, self.head_dim))
        scores = tf.reshape(tf.matmul(grouped, key, transpose_b=True), [batch, self.heads[0], length, keys])
        exact = tf.cast(scores, tf.float32) + tf.cast(bias, tf.float32)
        return tf.cast(tf.nn.softmax(exact), query.dtype)

    def _grouped_shape(self, batch: tf.Tensor, length: tf.Tensor, last: int | tf.Tensor) -> list[Any]:
        """[B, K, N/K * S, last]: the queries that share a key head stand under each other."""
        return [batch, self.heads[1], self.heads[0] // self.heads[1] * length, last]
