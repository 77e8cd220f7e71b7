"""Cross-entropy over a vocabulary without ever holding all its scores.

Enters: hidden states, the output matrix, targets and weights. Leaves: sums over tokens, never means: the caller divides by
the sum of weights once it is summed over micro-batches and replicas, so the mean over tokens is exact.

The product with the output matrix, the loss and both gradients are computed for one chunk of rows at a time, one chunk
after the other; what is kept is the gradient, [M, D] and [V, D], not the scores, [M, V].
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

CHUNK_SCORES = 1 << 24
"""Scores held at a time: rows of a chunk times V."""


class TokenSums(NamedTuple):
    """What one forward pass says of its targets, float32 [] each."""

    loss: tf.Tensor
    """What is minimised: weighted sum, in nats, smoothing and z-loss included."""
    nats: tf.Tensor
    """Weighted sum of -log p(target)."""
    correct: tf.Tensor
    """Weighted number of targets that had the highest score."""
    weight: tf.Tensor
    """Sum of weights."""


class _Chunk(NamedTuple):
    """One chunk's share: the three sums, and the gradient by the scores of each row's own loss, unweighted: [rows, V]."""

    sums: tf.Tensor
    gradient: tf.Tensor


def linear_cross_entropy(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    *,
    targets: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    training: bool = True,
) -> TokenSums:
    """Cross-entropy of `hidden @ kernel^T` against `targets`.

    Args:
        hidden: [M, D] floating, M tokens.
        kernel: [V, D], the same dtype.
        targets: int32 [M].
        weights: float32 [M]; no gradient flows into them.
        label_smoothing: share of the target's probability spread over all V (Szegedy et al. 2016).
        z_loss: factor of log(Z)^2, which keeps scores from drifting (Chowdhery et al. 2022).
        training: also compute gradients; without, `loss` is `nats` and has no gradient.

    Returns:
        `TokenSums`; only `loss` carries a gradient, to `hidden` and `kernel`.
    """
    weights = tf.cast(weights, tf.float32)
    weight = tf.reduce_sum(weights)
    if not training:
        sums, _, _ = _chunked(hidden, kernel, targets, weights, None)
        return TokenSums(sums[1], sums[1], sums[2], weight)

    @tf.custom_gradient
    def sums_with_gradient(hidden: tf.Tensor, kernel: tf.Tensor):  # type: ignore[no-untyped-def]
        sums, by_hidden, by_kernel = _chunked(hidden, kernel, targets, weights, (label_smoothing, z_loss))

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.cast(by_hidden, tf.float32) * (weights * upstream[0])[:, None]
            return tf.cast(rows, hidden.dtype), tf.cast(tf.cast(by_kernel, tf.float32) * upstream[0], kernel.dtype)

        return sums, gradient

    sums = sums_with_gradient(hidden, kernel)
    return TokenSums(sums[0], tf.stop_gradient(sums[1]), tf.stop_gradient(sums[2]), weight)


def token_log_probs(hidden: tf.Tensor, kernel: tf.Tensor, *, targets: tf.Tensor) -> tf.Tensor:
    """log p(target) of every token, in nats. [M, D], [V, D], int32 [M] -> float32 [M]."""
    rows = _rows_of_a_chunk(hidden, kernel)
    count = tf.shape(hidden)[0]

    def body(start: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        part = slice(start, start + rows)
        scores = tf.cast(tf.matmul(hidden[part], kernel, transpose_b=True), tf.float32)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[part], scores)
        return start + rows, done.write(start // rows, -nats)

    chunks = tf.TensorArray(tf.float32, size=-(-count // rows), infer_shape=False, element_shape=[None])
    _, chunks = tf.while_loop(lambda start, _: start < count, body, [tf.constant(0), chunks], parallel_iterations=1)
    return tf.ensure_shape(chunks.concat(), targets.shape)


def _rows_of_a_chunk(hidden: tf.Tensor, kernel: tf.Tensor) -> int | tf.Tensor:
    """As few chunks as `CHUNK_SCORES` allows, all of (nearly) the same size."""
    most = max(1, CHUNK_SCORES // kernel.shape[0])
    count = hidden.shape[0]
    if count is None:
        return tf.minimum(tf.maximum(tf.shape(hidden)[0], 1), most)
    chunks = max(1, -(-count // most))
    return max(1, -(-count // chunks))


def _chunked(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    options: tuple[float, float] | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sums [3], gradient by hidden [M, D], not yet weighted, and by kernel [V, D] (empty where `options` is None).

    Weights are applied to rows of D numbers, never to rows of V.
    """
    rows = _rows_of_a_chunk(hidden, kernel)
    if isinstance(rows, int) and rows == hidden.shape[0]:
        chunk = _one_chunk(hidden, kernel, targets, weights, options)
        if options is None:
            return chunk.sums, hidden[:0], kernel[:0]
        by_kernel = tf.matmul(chunk.gradient, _weighted(hidden, weights), transpose_a=True)
        return chunk.sums, tf.matmul(chunk.gradient, kernel), by_kernel

    # Padded to whole chunks (weight 0), for XLA wants slices of one size.
    parts = [_in_chunks(each, rows) for each in (hidden, targets, weights)]
    chunks = parts[0].shape[0] or tf.shape(parts[0])[0]

    def body(i, sums, by_hidden, by_kernel):  # type: ignore[no-untyped-def]
        inputs, labels, shares = (each[i] for each in parts)
        chunk = _one_chunk(inputs, kernel, labels, shares, options)
        if options is not None:
            by_hidden = by_hidden.write(i, tf.matmul(chunk.gradient, kernel))
            by_kernel += tf.cast(tf.matmul(chunk.gradient, _weighted(inputs, shares), transpose_a=True), tf.float32)
        return i + 1, sums + chunk.sums, by_hidden, by_kernel

    by_hidden = tf.TensorArray(hidden.dtype, size=chunks, element_shape=parts[0].shape[1:])
    by_kernel = tf.zeros(kernel.shape if options is not None else [0], tf.float32)
    _, sums, by_hidden, by_kernel = tf.while_loop(
        lambda i, *_: i < chunks,
        body,
        [tf.constant(0), tf.zeros([3]), by_hidden, by_kernel],
        parallel_iterations=1,
    )
    if options is None:
        return sums, hidden[:0], kernel[:0]
    together = tf.reshape(by_hidden.stack(), [-1, hidden.shape[1]])[: tf.shape(hidden)[0]]
    return sums, tf.ensure_shape(together, hidden.shape), by_kernel


def _weighted(hidden: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[M, D] times [M], in float32."""
    return tf.cast(tf.cast(hidden, tf.float32) * weights[:, None], hidden.dtype)


def _in_chunks(value: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
    """[M, ...] -> [chunks, rows, ...], the last chunk filled up with zeros."""
    count = value.shape[0] if value.shape[0] is not None else tf.shape(value)[0]
    padding = [[0, -count % rows], *[[0, 0]] * (len(value.shape) - 1)]
    return tf.reshape(tf.pad(value, padding), [-1, rows, *value.shape[1:]])


def _one_chunk(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    options: tuple[float, float] | None,
) -> _Chunk:
    scores = tf.cast(tf.matmul(hidden, kernel, transpose_b=True), tf.float32)
    # Softmax is one pass of oneDNN's, and its largest entry is 1 / sum(exp(scores - highest)).
    probabilities = tf.nn.softmax(scores)
    highest, largest = tf.reduce_max(scores, 1), tf.reduce_max(probabilities, 1)
    at_target = tf.gather(scores, targets, batch_dims=1)
    log_z = highest - tf.math.log(largest)
    nats = log_z - at_target
    correct = tf.cast(at_target >= highest, tf.float32)
    smoothing, z_loss = options or (0.0, 0.0)
    losses = nats
    if smoothing or z_loss:
        losses = nats + smoothing * (at_target - tf.reduce_mean(scores, 1)) + z_loss * tf.square(log_z)
    sums = tf.stack([tf.reduce_sum(weights * each) for each in (losses, nats, correct)])
    if options is None:
        return _Chunk(sums, scores)
    if smoothing or z_loss:
        probabilities = probabilities * (1 + 2 * z_loss * log_z)[:, None] - smoothing / kernel.shape[0]
    places = tf.stack([tf.range(tf.shape(targets)[0]), targets], 1)
    # In place, once nobody else reads the probabilities.
    with tf.control_dependencies([largest]):
        gradient = tf.tensor_scatter_nd_add(probabilities, places, tf.fill(tf.shape(targets), smoothing - 1.0))
    return _Chunk(sums, tf.cast(gradient, hidden.dtype))
