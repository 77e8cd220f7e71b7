"""Cross-entropy over a vocabulary without holding the scores of many rows.

Enters: hidden states, the output matrix, targets and weights. Leaves: sums over tokens, never means: the caller divides by
the sum of weights once it is summed over micro-batches and replicas, so the mean over tokens is exact.

The product with the output matrix, the loss and both gradients are computed for one chunk of rows at a time, one chunk
after the other; what is kept is the gradient, [M, D] and [V, D], not the scores, [M, V].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import on_mesh

CHUNK_SCORES = 1 << 24
"""Scores held at a time: rows of a chunk times V."""
WHOLE_ROWS = 1.5
"""Rows in multiples of D that are never split where gradients are asked for: their scores, [M, V], take no more memory than the
gradients [V, D] of several chunks and their sum, and there is nothing to sum."""


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


class _Options(NamedTuple):
    """Of a loss that is trained."""

    label_smoothing: float
    z_loss: float
    compiled: bool


class _Found(NamedTuple):
    """The three sums, and the gradients of the summed loss; all but the sums are empty where none were asked for."""

    sums: tf.Tensor
    by_hidden: tf.Tensor
    """[M, D], not yet weighted: weights are applied to rows of D numbers, never to rows of V."""
    by_kernel: tf.Tensor
    """[V, D]."""
    by_bias: tf.Tensor
    """float32 [V], or [0] where there is no bias."""


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
    bias: tf.Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    training: bool = True,
    compiled: bool = False,
) -> TokenSums:
    """Cross-entropy of `hidden @ kernel^T + bias` against `targets`.

    Args:
        hidden: [M, D] floating, M tokens.
        kernel: [V, D], the same dtype, or float32: then its gradient is, too, of products in hidden's dtype.
        targets: int32 [M].
        weights: float32 [M]; no gradient flows into them.
        bias: float32 [V], or None.
        label_smoothing: share of the target's probability spread over all V (Szegedy et al. 2016).
        z_loss: factor of log(Z)^2, which keeps scores from drifting (Chowdhery et al. 2022).
        training: also compute gradients; without, `loss` is `nats` and has no gradient.
        compiled: XLA may compile the element-wise passes (`CallOptions.compiled`).

    Returns:
        `TokenSums`; only `loss` carries a gradient, to `hidden`, `kernel` and `bias`.
    """
    weights = tf.cast(weights, tf.float32)
    weight = tf.reduce_sum(weights)
    bias = tf.zeros([0]) if bias is None else bias
    if not training:
        sums = _chunked(hidden, tf.cast(kernel, hidden.dtype), bias, targets, weights, None).sums
        return TokenSums(sums[1], sums[1], sums[2], weight)

    @tf.custom_gradient
    def sums_with_gradient(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):  # type: ignore[no-untyped-def]
        options = _Options(label_smoothing, z_loss, compiled)
        found = _chunked(hidden, tf.cast(kernel, hidden.dtype), bias, targets, weights, options)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            rows = tf.cast(found.by_hidden, tf.float32) * (weights * upstream[0])[:, None]
            by_kernel = _scaled(found.by_kernel, upstream[0], kernel.dtype, compiled)
            return tf.cast(rows, hidden.dtype), by_kernel, found.by_bias * upstream[0]

        return found.sums, gradient

    sums = sums_with_gradient(hidden, kernel, bias)
    return TokenSums(sums[0], tf.stop_gradient(sums[1]), tf.stop_gradient(sums[2]), weight)


def token_log_probs(
    hidden: tf.Tensor, head: Callable[[tf.Tensor], tf.Tensor], *, targets: tf.Tensor, vocab_size: int
) -> tf.Tensor:
    """log p(target) of every token, in nats. [M, D], head: [n, D] -> float32 [n, V], int32 [M] -> float32 [M]."""
    rows = _rows_of_a_chunk(hidden, vocab_size)
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
    """Cross-entropy over few classes. float32 [M, C], int32 [M], float32 [M] -> `TokenSums`; `loss` carries a gradient."""
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores)
    losses = nats
    if label_smoothing:
        at_target = tf.gather(scores, targets, batch_dims=1)
        losses = nats + label_smoothing * (at_target - tf.reduce_mean(scores, 1))
    correct = tf.cast(tf.argmax(scores, 1, output_type=tf.int32) == targets, tf.float32)
    loss, nats, correct = (tf.reduce_sum(weights * each) for each in (losses, nats, correct))
    return TokenSums(loss, tf.stop_gradient(nats), correct, tf.reduce_sum(weights))


def _rows_of_a_chunk(hidden: tf.Tensor, vocab_size: int) -> int | tf.Tensor:
    """As few chunks as `CHUNK_SCORES` allows, all of (nearly) the same size."""
    most = max(1, CHUNK_SCORES // vocab_size)
    count = hidden.shape[0]
    if count is None:
        return tf.minimum(tf.maximum(tf.shape(hidden)[0], 1), most)
    chunks = max(1, -(-count // most))
    return max(1, -(-count // chunks))


def _chunked(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    options: _Options | None,
) -> _Found:
    """Sums and gradients; `bias` is float32 [V], or [0] for none; `options` None asks for no gradients."""
    if on_mesh():
        return _chunked_on_mesh(hidden, kernel, bias, targets, weights, options)
    count, size = hidden.shape
    whole = options is not None and count is not None and count <= WHOLE_ROWS * size
    rows = count if whole else _rows_of_a_chunk(hidden, kernel.shape[0])
    if isinstance(rows, int) and rows == count:
        chunk = _one_chunk(hidden, kernel, bias, targets, weights, options)
        if options is None:
            return _Found(chunk.sums, hidden[:0], kernel[:0], bias[:0])
        by_kernel = tf.matmul(chunk.gradient, _weighted(hidden, weights), transpose_a=True)
        return _Found(chunk.sums, tf.matmul(chunk.gradient, kernel), by_kernel, _by_bias(chunk, weights, bias))

    # Padded to whole chunks (weight 0), for XLA wants slices of one size.
    parts = [_in_chunks(each, rows) for each in (hidden, targets, weights)]
    chunks = parts[0].shape[0] or tf.shape(parts[0])[0]

    def body(i, sums, by_hidden, by_kernel, by_bias):  # type: ignore[no-untyped-def]
        inputs, labels, shares = (each[i] for each in parts)
        chunk = _one_chunk(inputs, kernel, bias, labels, shares, options)
        if options is not None:
            by_hidden = by_hidden.write(i, tf.matmul(chunk.gradient, kernel))
            by_kernel += tf.cast(tf.matmul(chunk.gradient, _weighted(inputs, shares), transpose_a=True), tf.float32)
            by_bias += _by_bias(chunk, shares, bias)
        return i + 1, sums + chunk.sums, by_hidden, by_kernel, by_bias

    by_hidden = tf.TensorArray(hidden.dtype, size=chunks, element_shape=parts[0].shape[1:])
    by_kernel = tf.zeros(kernel.shape if options is not None else [0], tf.float32)
    _, sums, by_hidden, by_kernel, by_bias = tf.while_loop(
        lambda i, *_: i < chunks,
        body,
        [tf.constant(0), tf.zeros([3]), by_hidden, by_kernel, tf.zeros_like(bias)],
        parallel_iterations=1,
    )
    if options is None:
        return _Found(sums, hidden[:0], kernel[:0], bias[:0])
    together = tf.reshape(by_hidden.stack(), [-1, hidden.shape[1]])[: tf.shape(hidden)[0]]
    return _Found(sums, tf.ensure_shape(together, hidden.shape), by_kernel, by_bias)


def _chunked_on_mesh(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    options: _Options | None,
) -> _Found:
    """`_chunked` without what DTensor cannot split (lists of tensors, padded rows): each device's own rows in equal chunks.

    Gradients by the kernel stay apart for the parts of the data axis until the last chunk, and are then added once.
    """
    (count, size), mesh = hidden.shape, tf.distribute.get_strategy().extended.mesh
    parts = mesh.shape()[0] if count % mesh.shape()[0] == 0 else 1
    own, most = count // parts, max(1, CHUNK_SCORES * mesh.shape()[1] // kernel.shape[0])
    chunks = next(n for n in range(-(-own // most), own + 1) if own % n == 0)
    split = [tf.reshape(each, [parts, chunks, own // chunks, *each.shape[1:]]) for each in (hidden, targets, weights)]

    def body(i, sums, by_hidden, by_kernel, by_bias):  # type: ignore[no-untyped-def]
        inputs, labels, shares = (tf.gather(each, i, axis=1) for each in split)
        flat = tf.reshape(inputs, [-1, size])
        chunk = _one_chunk(flat, kernel, bias, tf.reshape(labels, [-1]), tf.reshape(shares, [-1]), options)
        if options is not None:
            here = tf.reshape(tf.range(chunks) == i, [1, chunks, 1, 1])
            found = tf.reshape(tf.matmul(chunk.gradient, kernel), [parts, 1, own // chunks, size])
            by_hidden = tf.where(here, found, by_hidden)
            gradient = tf.reshape(chunk.gradient, [parts, own // chunks, -1])
            by_kernel += tf.cast(tf.matmul(gradient, _weighted(inputs, shares), transpose_a=True), tf.float32)
            by_bias += _by_bias(chunk, tf.reshape(shares, [-1]), bias)
        return i + 1, sums + chunk.sums, by_hidden, by_kernel, by_bias

    start = [tf.constant(0), tf.zeros([3]), tf.zeros_like(split[0])]
    start += [tf.zeros([parts, *kernel.shape]) if options is not None else tf.zeros([0]), tf.zeros_like(bias)]
    if chunks == 1:
        _, sums, by_hidden, by_kernel, by_bias = body(*start)
    else:
        _, sums, by_hidden, by_kernel, by_bias = tf.while_loop(lambda i, *_: i < chunks, body, start, parallel_iterations=1)
    if options is None:
        return _Found(sums, hidden[:0], kernel[:0], bias[:0])
    return _Found(sums, tf.reshape(by_hidden, [count, size]), tf.reduce_sum(by_kernel, 0), by_bias)


def _by_bias(chunk: _Chunk, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """float32, of the bias's shape."""
    if not bias.shape[0]:
        return bias
    return tf.cast(tf.matmul(tf.cast(tf.expand_dims(weights, 0), chunk.gradient.dtype), chunk.gradient)[0], tf.float32)


def _weighted(hidden: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[..., D] times [...], in float32."""
    return tf.cast(tf.cast(hidden, tf.float32) * weights[..., None], hidden.dtype)


def _in_chunks(value: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
    """[M, ...] -> [chunks, rows, ...], the last chunk filled up with zeros; of no rows at all, one chunk of zeros."""
    count = value.shape[0]
    if count is None:
        count = tf.shape(value)[0]
        missing = tf.where(count == 0, rows, -count % rows)
    else:
        missing = -count % rows
    padding = [[0, missing], *[[0, 0]] * (len(value.shape) - 1)]
    return tf.reshape(tf.pad(value, padding), [-1, rows, *value.shape[1:]])


def _one_chunk(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    options: _Options | None,
) -> _Chunk:
    scores = tf.cast(tf.matmul(hidden, kernel, transpose_b=True), tf.float32)
    if bias.shape[0]:
        scores = tf.nn.bias_add(scores, bias)
    # Softmax is one pass of oneDNN's, and its largest entry is 1 / sum(exp(scores - highest)).
    probabilities = tf.nn.softmax(scores)
    highest, largest = tf.reduce_max(scores, 1), tf.reduce_max(probabilities, 1)
    if on_mesh():  # where the vocabulary is split, and a gather is not local
        at_target = tf.reduce_sum(scores * tf.cast(tf.range(kernel.shape[0])[None, :] == targets[:, None], tf.float32), 1)
    else:
        at_target = tf.gather(scores, targets, batch_dims=1)
    log_z = highest - tf.math.log(largest)
    nats = log_z - at_target
    correct = tf.cast(at_target >= highest, tf.float32)
    smoothing, z_loss = (0.0, 0.0) if options is None else options[:2]
    losses = nats
    if smoothing or z_loss:
        losses = nats + smoothing * (at_target - tf.reduce_mean(scores, 1)) + z_loss * tf.square(log_z)
    sums = tf.stack([tf.reduce_sum(weights * each) for each in (losses, nats, correct)])
    if options is None:
        return _Chunk(sums, scores)
    if smoothing or z_loss:
        probabilities = probabilities * (1 + 2 * z_loss * log_z)[:, None] - smoothing / kernel.shape[0]
    settings: Any = dict(share=1.0 - smoothing, dtype=hidden.dtype, compiled=options.compiled)
    return _Chunk(sums, _without_target(probabilities, targets, **settings))


def _scaled(gradient: tf.Tensor, factor: tf.Tensor, dtype: tf.DType, compiled: bool) -> tf.Tensor:
    """A gradient times a float32 number, rounded once."""
    if gradient.dtype == dtype == tf.float32:
        return gradient * factor  # in place, as no compiled function is
    return _scaled_and_rounded(gradient, factor, dtype=dtype, compiled=compiled)


@fused
def _scaled_and_rounded(gradient: tf.Tensor, factor: tf.Tensor, *, dtype: tf.DType, compiled: bool) -> tf.Tensor:
    return rounded(tf.cast(gradient, tf.float32) * factor, dtype, compiled=compiled)


@fused
def _without_target(
    probabilities: tf.Tensor, targets: tf.Tensor, *, share: float, dtype: tf.DType, compiled: bool
) -> tf.Tensor:
    """Each row's probabilities less `share` at its target. float32 [M, V], int32 [M] -> [M, V]."""
    hot = tf.range(probabilities.shape[1])[None, :] == targets[:, None]
    return rounded(probabilities - tf.cast(hot, tf.float32) * share, dtype, compiled=compiled)
