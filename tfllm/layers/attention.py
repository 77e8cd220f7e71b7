"""Multi-head attention (Vaswani et al. 2017) with grouped key and value heads (Ainslie et al. 2023)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear
from tfllm.layers.cache import write
from tfllm.layers.dropout import keep_mask, kept_share
from tfllm.layers.mesh import apart
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
        penalty: tf.Tensor | None,
        *,
        turn: Rotation | None = None,
        cache: KeysAndValues | None = None,
        start: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Every token gathers from the tokens it sees.

        Args:
            x: [B, S, D].
            penalty: float32 [B or 1, 1, S, T], from `masks.attention_penalty`; None where every token sees all.
            turn: rotary positions of the S tokens.
            cache, start: keys and values [B, K, T, H] so far, and the slot where the new ones go.
            seed: int32 [B], of the dropout on the attention probabilities.

        Returns:
            [B, S, D], and the keys and values attended to, [B, K, T, H].
        """
        query, key, value = self.project(x, turn)
        if cache is not None:
            key, value = write(cache[0], key, start), write(cache[1], value, start)
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        grouped = tf.reshape(query, self._grouped_shape(batch, length, self.head_dim))
        heads = attend(grouped, key, value, penalty, rate=self.rate, seed=seed)
        heads = tf.reshape(heads, [batch, self.heads[0], length, self.head_dim])
        joined = tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), [batch, length, self.heads[0] * self.head_dim])
        return self.output_projection(joined), (key, value)

    def project(self, x: tf.Tensor, turn: Rotation | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Queries [B, N, S, H], scaled by H^-1/2, keys and values [B, K, S, H], normalised and turned."""
        shape = [tf.shape(x)[0], tf.shape(x)[1], sum(self.heads), self.head_dim]
        together = tf.transpose(tf.reshape(self.qkv(x), shape), [0, 2, 1, 3])
        query, key, value = apart(together, self.heads, axis=1, groups=self.qkv.groups)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        return query * tf.constant(self.head_dim**-0.5, query.dtype), key, value

    def probabilities(self, query: tf.Tensor, key: tf.Tensor, penalty: tf.Tensor | None) -> tf.Tensor:
        """How much each query takes of each key, summing to 1 over T. [B, N, S, H], [B, K, T, H] -> [B, N, S, T]."""
        batch, length, keys = tf.shape(query)[0], tf.shape(query)[2], tf.shape(key)[2]
        grouped = tf.reshape(query, self._grouped_shape(batch, length, self.head_dim))
        return tf.reshape(_probabilities(grouped, key, penalty), [batch, self.heads[0], length, keys])

    def _grouped_shape(self, batch: tf.Tensor, length: tf.Tensor, last: int | tf.Tensor) -> list[Any]:
        """[B, K, N/K * S, last]: the queries that share a key head stand under each other."""
        return [batch, self.heads[1], self.heads[0] // self.heads[1] * length, last]


def attend(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, penalty: tf.Tensor | None, *, rate: float, seed: tf.Tensor | None
) -> tf.Tensor:
    """The values each query sees, mixed by softmax(query key^T - penalty), with dropout on the softmax.

    The gradient is written by hand: what softmax's needs for each query, the sum over keys of probability times its gradient,
    is also the product of output and output's gradient (Dao et al. 2022), H numbers a query in place of T.

    Args:
        query: [B, K, N/K * S, H], scaled; the queries that share a key head stand under each other.
        key, value: [B, K, T, H].
        penalty: float32 [B or 1, 1, S, T], or None.
        rate, seed: of the dropout.

    Returns:
        [B, K, N/K * S, H].
    """
    mask: tf.Tensor | None = None
    if seed is not None and kept_share(rate) < 1:
        mask = keep_mask(tf.concat([tf.shape(query)[:3], tf.shape(key)[2:3]], 0), rate, seed, query.dtype)
        value = value * tf.constant(1 / kept_share(rate), value.dtype)

    @tf.custom_gradient
    def mix(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor):  # type: ignore[no-untyped-def]
        probabilities = _probabilities(query, key, penalty)
        kept = probabilities if mask is None else probabilities * mask
        mixed = tf.matmul(kept, value)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            by_kept = tf.matmul(upstream, value, transpose_b=True)
            exact = tf.cast(upstream, tf.float32) * tf.cast(mixed, tf.float32)
            share = tf.cast(tf.reduce_sum(exact, -1, keepdims=True), query.dtype)
            by_scores = kept * by_kept - probabilities * share
            by_key = tf.matmul(by_scores, query, transpose_a=True)
            return tf.matmul(by_scores, key), by_key, tf.matmul(kept, upstream, transpose_a=True)

        return mixed, gradient

    return mix(query, key, value)


def _probabilities(query: tf.Tensor, key: tf.Tensor, penalty: tf.Tensor | None) -> tf.Tensor:
    """softmax(query key^T - penalty), grouped as `attend` has it: [B, K, N/K * S, T]."""
    scores = tf.matmul(query, key, transpose_b=True)
    if penalty is None:
        return tf.nn.softmax(scores)
    # Subtracted: a product and an addition that broadcasts would be fused into an oneDNN kernel that is 500 times slower.
    shape = tf.shape(scores)
    apart = tf.reshape(scores, [shape[0], -1, tf.shape(penalty)[2], shape[3]])
    return tf.reshape(tf.nn.softmax(apart - tf.cast(penalty, apart.dtype)), shape)
