"""Multi-head attention (Vaswani et al. 2017) with grouped key and value heads (Ainslie et al. 2023)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.base import Composite, Linear, sizes_of
from tfllm.layers.cache import write
from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.dropout import kept_share, zeroed
from tfllm.layers.fused import fused, rounded
from tfllm.layers.masks import penalty_at
from tfllm.layers.mesh import apart
from tfllm.layers.norms import norm
from tfllm.layers.positions import Rotation, rotate
from tfllm.layers.stateless_random import fold_in

KeysAndValues = tuple[tf.Tensor, tf.Tensor]
BLOCK = 128
"""The fewest queries a causal row is split into: shorter products are slower than what they save."""


class Attention(Composite):
    """Self-attention: queries, keys and values by one fused projection, [D] -> [(N + 2K) H].

    Args:
        size: D. num_heads: N. num_kv_heads: K. head_dim: H.
        causal: tokens see none that stand behind them in the row, whatever `penalty` says.
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
        causal: bool,
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
        self.head_dim, self.causal, self.rate, self.output_shape = head_dim, causal, dropout, (None, None, size)
        widths = (heads * head_dim for heads in self.heads)
        self.qkv = Linear(size, *widths, use_bias=qkv_bias, stddev=stddev, name="qkv", **policy)
        self.query_norm = self.key_norm = None
        if qk_norm:
            self.query_norm = norm(qk_norm, head_dim, epsilon=norm_epsilon, name="query_norm", **policy)
            self.key_norm = norm(qk_norm, head_dim, epsilon=norm_epsilon, name="key_norm", **policy)
            self.query_norm.output_shape = self.key_norm.output_shape = (None, None, None, head_dim)
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
        places: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Every token gathers from the tokens it sees.

        Args:
            x: [B, S, D].
            penalty: float32 [B or 1, 1, S, T], from `masks.attention_penalty`; None where every token sees all.
            turn: rotary positions of the S tokens.
            cache, start: keys and values [B, K, T, H] so far, and the slot where the new ones go.
            seed: int32 [B], of the dropout on the attention probabilities.
            places: int32 [B, P], of the tokens that are asked for; None for all.
            options: of the call.

        Returns:
            [B, S, D] or [B, P, D], and the keys and values attended to, [B, K, T, H].
        """
        query, key, value = self.project(x, turn, options)
        if cache is not None:
            key, value = write(cache[0], key, start), write(cache[1], value, start)
        if places is not None:
            query = tf.gather(query, places, axis=2, batch_dims=1)
            penalty = None if penalty is None else penalty_at(penalty, places)
        blocks = _blocks(query.shape[2]) if self.causal and cache is None and places is None else 1
        heads = attend_in_blocks(query, key, value, penalty, blocks=blocks, rate=self.rate, seed=seed, options=options)
        mixed = tf.transpose(heads, [0, 2, 1, 3])
        flat = tf.reshape(mixed, [*sizes_of(mixed)[:2], self.heads[0] * self.head_dim])
        return self.output_projection(flat, options=options), (key, value)

    def project(
        self, x: tf.Tensor, turn: Rotation | None, options: CallOptions = CallOptions()
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Queries [B, N, S, H], scaled by H^-1/2, keys and values [B, K, S, H], normalised and turned."""
        shape = [*sizes_of(x)[:2], sum(self.heads), self.head_dim]
        together = tf.transpose(tf.reshape(self.qkv(x, options=options), shape), [0, 2, 1, 3])
        query, key, value = apart(together, self.heads, axis=1, groups=self.qkv.groups)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query, options=options), self.key_norm(key, options=options)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        return query * tf.constant(self.head_dim**-0.5, query.dtype), key, value

    def probabilities(self, query: tf.Tensor, key: tf.Tensor, penalty: tf.Tensor | None) -> tf.Tensor:
        """How much each query takes of each key, summing to 1 over T. [B, N, S, H], [B, K, T, H] -> [B, N, S, T]."""
        return _ungrouped(_probabilities(_grouped(query, key), key, penalty), query)


def attend_in_blocks(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    penalty: tf.Tensor | None,
    *,
    blocks: int,
    rate: float,
    seed: tf.Tensor | None,
    options: CallOptions = CallOptions(),
) -> tf.Tensor:
    """`attend` where no query sees a key behind its own place: a block of queries takes the keys up to its end only.

    Of all the work (blocks + 1) / (2 blocks) is left. Arguments and result are `attend`'s, with S = T, a multiple of `blocks`.
    """
    if blocks == 1 or penalty is None:
        return attend(query, key, value, penalty, rate=rate, seed=seed, options=options)
    queries, keys, values = (tf.split(each, blocks, axis=2) for each in (query, key, value))
    size, mixed = query.shape[2] // blocks, []
    for i, part in enumerate(queries):
        end = size * (i + 1)
        key, value = (tf.concat(parts[: i + 1], 2) for parts in (keys, values))
        own_seed = None if seed is None else fold_in(seed, i)
        own_penalty = penalty[:, :, end - size : end, :end]
        mixed.append(attend(part, key, value, own_penalty, rate=rate, seed=own_seed, options=options))
    return tf.concat(mixed, 2)


def attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    penalty: tf.Tensor | None,
    *,
    rate: float,
    seed: tf.Tensor | None,
    options: CallOptions = CallOptions(),
) -> tf.Tensor:
    """The values each query sees, mixed by softmax(query key^T - penalty), with dropout on the softmax.

    The gradient is written by hand: what softmax's needs for each query, the sum over keys of probability times its gradient,
    is also the product of output and output's gradient (Dao et al. 2022), H numbers a query in place of T.

    Args:
        query: [B, N, S, H], scaled.
        key, value: [B, K, T, H]; N/K queries share a key.
        penalty: float32 [B or 1, 1, S, T], or None.
        rate, seed: of the dropout.
        options: of the call.

    Returns:
        [B, N, S, H].
    """
    grouped, drops = _grouped(query, key), seed is not None and kept_share(rate) < 1
    if drops:
        value = value * tf.constant(1 / kept_share(rate), value.dtype)

    settings: Any = dict(rate=rate, compiled=options.compiled)

    @custom_gradient
    def mix(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        probabilities = _probabilities(query, key, penalty)
        mixed = tf.matmul(_kept(probabilities, seed, **settings) if drops else probabilities, value)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            by_kept = tf.matmul(upstream, value, transpose_b=True)
            exact = tf.cast(upstream, tf.float32) * tf.cast(mixed, tf.float32)
            share = tf.reduce_sum(exact, -1, keepdims=True)
            if drops:
                kept, by_scores = _kept_and_by_scores(probabilities, by_kept, share, seed, **settings)
            else:
                kept, by_scores = probabilities, _by_scores(probabilities, by_kept, share, compiled=options.compiled)
            by_key = tf.matmul(by_scores, query, transpose_a=True)
            return tf.matmul(by_scores, key), by_key, tf.matmul(kept, upstream, transpose_a=True)

        return mixed, gradient

    return _ungrouped(mix(grouped, key, value, options=options), query)


@fused
def _kept(probabilities: tf.Tensor, seed: tf.Tensor, *, rate: float, compiled: bool) -> tf.Tensor:
    """The probabilities [B, K, N/K * S, T] that dropout leaves, not yet scaled."""
    return zeroed(probabilities, rate, seed)


@fused
def _by_scores(probabilities: tf.Tensor, by_probabilities: tf.Tensor, share: tf.Tensor, *, compiled: bool) -> tf.Tensor:
    """Softmax's gradient, of the shape of the first two; `share`, float32 [..., 1], is the sum of their product over T."""
    exact = tf.cast(probabilities, tf.float32) * (tf.cast(by_probabilities, tf.float32) - share)
    return rounded(exact, probabilities.dtype, compiled=compiled)


@fused
def _kept_and_by_scores(
    probabilities: tf.Tensor, by_kept: tf.Tensor, share: tf.Tensor, seed: tf.Tensor, *, rate: float, compiled: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """`_kept` once more, and `_by_scores` of the gradient by what was kept."""
    by_probabilities = zeroed(tf.cast(by_kept, tf.float32), rate, seed)
    exact = tf.cast(probabilities, tf.float32) * (by_probabilities - share)
    return zeroed(probabilities, rate, seed), rounded(exact, probabilities.dtype, compiled=compiled)


def _grouped(query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """The queries that share a key under each other: [B, N, S, H], [B, K, T, H] -> [B, K, N/K * S, H]."""
    if query.shape[1] == key.shape[1]:
        return query
    shape = tf.shape(query)
    return tf.reshape(query, [shape[0], key.shape[1], query.shape[1] // key.shape[1] * shape[2], shape[3]])


def _ungrouped(grouped: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """[B, K, N/K * S, ...] -> [B, N, S, ...], as `query` is."""
    if grouped.shape[1] == query.shape[1]:
        return grouped
    return tf.reshape(grouped, tf.concat([tf.shape(query)[:3], tf.shape(grouped)[3:]], 0))


def _blocks(length: int | None) -> int:
    """How many blocks of queries a causal row is split into."""
    return next((blocks for blocks in (8, 4, 2) if length and length % blocks == 0 and length // blocks >= BLOCK), 1)


def _probabilities(query: tf.Tensor, key: tf.Tensor, penalty: tf.Tensor | None) -> tf.Tensor:
    """softmax(query key^T - penalty), grouped as `attend` has it: [B, K, N/K * S, T]."""
    scores = tf.matmul(query, key, transpose_b=True)
    if penalty is None:
        return tf.nn.softmax(scores)
    # Subtracted: a product and an addition that broadcasts would be fused into an oneDNN kernel that is 500 times slower.
    if penalty.shape[2] is not None and penalty.shape[2] in (1, scores.shape[2]):  # it broadcasts over the scores as they are
        return tf.nn.softmax(scores - tf.cast(penalty, scores.dtype))
    shape = tf.shape(scores)
    apart = tf.reshape(scores, [shape[0], -1, tf.shape(penalty)[2], shape[3]])
    return tf.reshape(tf.nn.softmax(apart - tf.cast(penalty, apart.dtype)), shape)
