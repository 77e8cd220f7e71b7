"""Losses of training: cross-entropy over a vocabulary and over classes.

Input: hidden states and the output matrix, or scores, with targets and weights. Output: sums over tokens or rows, never
    means: the
caller divides by the summed weight of all micro-batches and replicas, so the mean over tokens is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfllm.train import chunked_cross_entropy
from tfllm.train.chunked_cross_entropy import LossOptions, rows_per_chunk


class TokenSums(NamedTuple):
    """Sums over the targets of a batch, float32 [] each."""

    loss: tf.Tensor
    """What is minimised: weighted sum, in nats, with label smoothing and z-loss."""
    nats: tf.Tensor
    """Weighted sum of -log p(target)."""
    correct: tf.Tensor
    """Weighted number of targets that had the highest score."""
    weight: tf.Tensor
    """Sum of weights."""


def linear_cross_entropy(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    *,
    targets: tf.Tensor,
    weights: tf.Tensor,
    bias: tf.Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    training: bool = True,
    compiled: bool = False,
) -> TokenSums:
    """Cross-entropy of `hidden @ kernel^T + bias` against `targets`, without holding the scores of many rows.

    Args:
        hidden: [M, D] floating, M tokens.
        kernel: [V, D], in hidden's dtype or float32. With float32 its gradient is float32, of products in hidden's dtype.
        targets: int32 [M].
        weights: float32 [M]; they get no gradient.
        bias: float32 [V], or None.
        label_smoothing: share of the target's probability spread over all V (Szegedy et al. 2016).
        z_loss: factor of log(Z)^2, which keeps scores from drifting (Chowdhery et al. 2022).
        training: also compute gradients. Without, `loss` is `nats` and has no gradient.
        compiled: XLA may compile the element-wise passes (`CallOptions.compiled`).

    Returns:
        `TokenSums`; only `loss` has a gradient, to `hidden`, `kernel` and `bias`.
    """
    weights = tf.cast(weights, tf.float32)
    weight = tf.reduce_sum(weights)
    bias = tf.zeros([0]) if bias is None else bias
    if not training:
        nats, correct = tf.unstack(
            chunked_cross_entropy.sums(hidden, tf.cast(kernel, hidden.dtype), bias, targets=targets, weights=weights)
        )
        return TokenSums(nats, nats, correct, weight)
    options = LossOptions(label_smoothing, z_loss, compiled)

    @tf.custom_gradient
    def sums_with_gradient(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):  # type: ignore[no-untyped-def]
        found = chunked_cross_entropy.sums_and_gradients(
            hidden, tf.cast(kernel, hidden.dtype), bias, targets=targets, weights=weights, options=options
        )

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            by_hidden = tf.cast(found.by_hidden, tf.float32) * (weights * upstream[0])[:, None]
            by_kernel = chunked_cross_entropy.scale_gradient(found.by_kernel, upstream[0], kernel.dtype, compiled)
            return tf.cast(by_hidden, hidden.dtype), by_kernel, found.by_bias * upstream[0]

        return found.sums, gradient

    sums = sums_with_gradient(hidden, kernel, bias)
    return TokenSums(sums[0], tf.stop_gradient(sums[1]), tf.stop_gradient(sums[2]), weight)


def token_log_probs(
    hidden: tf.Tensor, head: Callable[[tf.Tensor], tf.Tensor], *, targets: tf.Tensor, vocab_size: int
) -> tf.Tensor:
    """log p(target) of every token, in nats. [M, D], head: [n, D] -> float32 [n, V], int32 [M] -> float32 [M]."""
    rows = rows_per_chunk(hidden, vocab_size)
    count = tf.shape(hidden)[0]

    def body(start: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        part = slice(start, start + rows)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[part], head(hidden[part]))
        return start + rows, done.write(start // rows, -nats)

    chunks = tf.TensorArray(tf.float32, size=-(-count // rows), infer_shape=False, element_shape=[None])
    _, chunks = tf.while_loop(lambda start, _: start < count, body, [tf.constant(0), chunks], parallel_iterations=1)
    return tf.ensure_shape(chunks.concat(), targets.shape)


def class_cross_entropy(
    scores: tf.Tensor, targets: tf.Tensor, *, weights: tf.Tensor, label_smoothing: float = 0.0
) -> TokenSums:
    """Cross-entropy over few classes. float32 [M, C], int32 [M], float32 [M] -> `TokenSums`; `loss` has a gradient."""
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores)
    losses = nats
    if label_smoothing:
        target_scores = tf.gather(scores, targets, batch_dims=1)
        losses = nats + label_smoothing * (target_scores - tf.reduce_mean(scores, 1))
    correct = tf.cast(tf.argmax(scores, 1, output_type=tf.int32) == targets, tf.float32)
    loss, nats, correct = (tf.reduce_sum(weights * each) for each in (losses, nats, correct))
    return TokenSums(loss, tf.stop_gradient(nats), correct, tf.reduce_sum(weights))
