"""Scaled dot-product attention (Vaswani et al. 2017) with grouped key and value heads (Ainslie et al. 2023).

Inputs: queries, keys and values by head, a boolean mask, a bias that is added to the scores. Outputs: the mixed values, and on
request the attention probabilities. The gradient is written by hand. Softmax's gradient needs, for each query, the sum over
keys of probability times its gradient. This sum is also the product of the output and its gradient (Dao et al. 2022): H
numbers a query in place of T.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.call_options import CallOptions
from tfllm.layers.custom_gradient import custom_gradient
from tfllm.layers.dropout import dropout, kept_share, zeroed
from tfllm.layers.fused import fused, rounded
from tfllm.layers.masks import HIDDEN
from tfllm.layers.stateless_random import fold_in

BLOCK = 128
"""The fewest queries a causal row is split into: shorter products are slower than what they save."""


def dot_product_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    bias: tf.Tensor | None = None,
    is_causal: bool = False,
    rate: float = 0.0,
    seed: tf.Tensor | None = None,
    options: CallOptions = CallOptions(),
) -> tf.Tensor:
    """softmax(query key^T + bias) value, with dropout on the softmax.

    Args:
        query: [B, N, S, H], scaled.
        key, value: [B, K, T, H]; N/K queries share a key.
        mask: bool [B or 1, 1 or N, S or 1, T], True where a query sees a key; None where every query sees all keys.
        bias: floating [B or 1, N or 1, S or 1, T or 1], or None. It has a gradient.
        is_causal: `mask` hides from each query all keys behind it in the row, and S = T. Long rows then skip those keys.
        rate, seed: of the dropout; seed is int32 [B], or None for no dropout.
        options: of the call.

    Returns:
        [B, N, S, H].
    """
    blocks = _blocks(query.shape[2]) if is_causal and mask is not None else 1
    if blocks == 1:
        return _attend(query, key, value, mask, bias, rate=rate, seed=seed, options=options)
    # A block of queries takes the keys up to its own end: of all the work (blocks + 1) / (2 blocks) is left.
    queries, keys, values = (tf.split(each, blocks, axis=2) for each in (query, key, value))
    size, mixed = query.shape[2] // blocks, []
    for i, part in enumerate(queries):
        end = size * (i + 1)
        key, value = (tf.concat(parts[: i + 1], 2) for parts in (keys, values))
        own_mask, own_bias = (_window(each, slice(end - size, end), slice(0, end)) for each in (mask, bias))
        own_seed = None if seed is None else fold_in(seed, i)
        mixed.append(_attend(part, key, value, own_mask, own_bias, rate=rate, seed=own_seed, options=options))
    return tf.concat(mixed, 2)


def attention_with_probabilities(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    bias: tf.Tensor | None = None,
    rate: float = 0.0,
    seed: tf.Tensor | None = None,
    options: CallOptions = CallOptions(),
) -> tuple[tf.Tensor, tf.Tensor]:
    """The same op by op, and the probabilities [B, N, S, T] that mixed the values. Both have gradients."""
    grouped = _grouped(query, key)
    probabilities = _ungrouped(_probabilities(grouped, key, _offset(mask, bias, query.dtype), query.shape[1]), query)
    probabilities = dropout(probabilities, rate, seed, options)
    return _ungrouped(tf.matmul(_grouped(probabilities, key), value), query), probabilities


def _attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask: tf.Tensor | None,
    bias: tf.Tensor | None,
    *,
    rate: float,
    seed: tf.Tensor | None,
    options: CallOptions,
) -> tf.Tensor:
    """All queries at once; arguments and result are `dot_product_attention`'s."""
    heads, drops = query.shape[1], seed is not None and kept_share(rate) < 1
    if drops:
        value = value * tf.constant(1 / kept_share(rate), value.dtype)

    settings: Any = dict(rate=rate, compiled=options.compiled)

    @custom_gradient
    def mix(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *bias: tf.Tensor, options: CallOptions):  # type: ignore[no-untyped-def]
        probabilities = _probabilities(query, key, _offset(mask, bias[0] if bias else None, query.dtype), heads)
        mixed = tf.matmul(_kept(probabilities, seed, **settings) if drops else probabilities, value)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            by_kept = tf.matmul(upstream, value, transpose_b=True)
            exact = tf.cast(upstream, tf.float32) * tf.cast(mixed, tf.float32)
            share = tf.reduce_sum(exact, -1, keepdims=True)
            if drops:
                kept, by_scores = _kept_and_by_scores(probabilities, by_kept, share, seed, **settings)
            else:
                kept, by_scores = probabilities, _by_scores(probabilities, by_kept, share, compiled=options.compiled)
            by_key = tf.matmul(by_scores, query, transpose_a=True)
            by_bias = [_by_bias(by_scores, each, heads) for each in bias]
            return tf.matmul(by_scores, key), by_key, tf.matmul(kept, upstream, transpose_a=True), *by_bias

        return mixed, gradient

    biases = () if bias is None else (bias,)
    return _ungrouped(mix(_grouped(query, key), key, value, *biases, options=options), query)


def _probabilities(query: tf.Tensor, key: tf.Tensor, offset: tf.Tensor | None, heads: int) -> tf.Tensor:
    """softmax(query key^T - offset), of queries grouped by key: [B, K, N/K * S, H], [B, K, T, H] -> [B, K, N/K * S, T]."""
    scores = tf.matmul(query, key, transpose_b=True)
    if offset is None:
        return tf.nn.softmax(scores)
    # Subtracted: a product and an addition that broadcasts would be fused into a oneDNN kernel that is 500 times slower.
    if query.shape[1] == heads or (offset.shape[1] == 1 and offset.shape[2] == 1):  # it broadcasts over the scores as they are
        return tf.nn.softmax(scores - offset)
    shape = tf.shape(scores)
    by_head = tf.reshape(scores, [shape[0], heads, -1, shape[3]])
    return tf.reshape(tf.nn.softmax(by_head - offset), shape)


def _offset(mask: tf.Tensor | None, bias: tf.Tensor | None, dtype: tf.DType) -> tf.Tensor | None:
    """What is subtracted from the scores: [B or 1, N or 1, S or 1, T]."""
    hidden = None if mask is None else tf.where(mask, tf.constant(0, dtype), tf.constant(HIDDEN, dtype))
    if bias is None:
        return hidden
    bias = tf.cast(bias, dtype)
    # Not `-bias`: TensorFlow would turn the subtraction of a negation into the addition that is fused.
    return bias * tf.constant(-1, dtype) if hidden is None else hidden - bias


def _by_bias(by_scores: tf.Tensor, bias: tf.Tensor, heads: int) -> tf.Tensor:
    """The gradient by scores [B, K, N/K * S, T], summed over the axes that the bias is broadcast over."""
    shape = tf.shape(by_scores)
    by_head = by_scores if by_scores.shape[1] == heads else tf.reshape(by_scores, [shape[0], heads, -1, shape[3]])
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(bias), s1=tf.shape(by_head))
    summed = tf.reduce_sum(tf.cast(by_head, tf.float32), axes)
    return tf.cast(tf.reshape(summed, tf.shape(bias)), bias.dtype)


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
    """The queries that share a key under each other: [B, N, S, ...], [B, K, T, H] -> [B, K, N/K * S, ...]."""
    if query.shape[1] == key.shape[1]:
        return query
    shape = tf.shape(query)
    return tf.reshape(query, [shape[0], key.shape[1], query.shape[1] // key.shape[1] * shape[2], shape[3]])


def _ungrouped(grouped: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """[B, K, N/K * S, ...] -> [B, N, S, ...], as `query` is."""
    if grouped.shape[1] == query.shape[1]:
        return grouped
    return tf.reshape(grouped, tf.concat([tf.shape(query)[:3], tf.shape(grouped)[3:]], 0))


def _window(x: Any, queries: slice, keys: slice) -> Any:
    """x[:, :, queries, keys] of a mask or bias; an axis of size 1 stands for all and stays."""
    if x is None:
        return None
    return x[:, :, slice(None) if x.shape[2] == 1 else queries, slice(None) if x.shape[3] == 1 else keys]


def _blocks(length: int | None) -> int:
    """How many blocks of queries a causal row is split into."""
    return next((blocks for blocks in (8, 4, 2) if length and length % blocks == 0 and length // blocks >= BLOCK), 1)
