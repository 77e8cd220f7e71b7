"""Cross-entropy over a vocabulary, computed chunk by chunk: sums alone (`sums`), or sums and gradients (`sums_and_gradients`).

Input: hidden states [M, D], output matrix [V, D], bias, targets and weights. Output: sums over tokens; gradients [M, D] and
    [V, D].

The product with the output matrix, the loss and both gradients are computed for one chunk of rows after the other. So the
scores [M, V] are never held; where rows are few (`WHOLE_ROWS`), they take no more memory than the gradients, and there is one
chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.layers.fused import fused, rounded
from tfllm.layers.mesh import on_mesh

CHUNK_SCORES = 1 << 24
"""Scores held at a time: rows of a chunk times V."""
WHOLE_ROWS = 1.5
"""With gradients, up to this number of rows (in multiples of D) is one chunk: its scores [M, V] take no more memory than the
gradients [V, D] of several chunks and their sum."""


class LossOptions(NamedTuple):
    """Options of a loss with gradients; see `losses.linear_cross_entropy`."""

    label_smoothing: float
    z_loss: float
    compiled: bool


class SumsAndGradients(NamedTuple):
    """Sums, and the gradients of the summed loss."""

    sums: tf.Tensor
    """float32 [3]: weighted loss, nats and number of correct targets."""
    by_hidden: tf.Tensor
    """[M, D], of the unweighted losses: weights are multiplied in later, to rows of D numbers and not of V."""
    by_kernel: tf.Tensor
    """[V, D]."""
    by_bias: tf.Tensor
    """float32 [V], or [0] without a bias."""


class _Chunks(NamedTuple):
    """Hidden states, targets and weights in chunks."""

    number: int | tf.Tensor
    rows: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
    """Number of a chunk -> its hidden states, targets and weights."""


class _Scored(NamedTuple):
    """The scores of a chunk, and what follows from them."""

    scores: tf.Tensor
    """float32 [rows, V]."""
    probabilities: tf.Tensor
    """float32 [rows, V]."""
    target_scores: tf.Tensor
    """float32 [rows]."""
    log_z: tf.Tensor
    """float32 [rows]: log of the sum of exp(scores)."""
    correct: tf.Tensor
    """float32 [rows]: 1 where the target has the highest score."""


def sums(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Weighted sums of nats and of correct targets, float32 [2]; `bias` is float32 [V], or [0] for none."""
    vocab_size = kernel.shape[0]
    values = (hidden, targets, weights)
    chunks = _mesh_chunks(values, vocab_size).chunks if on_mesh() else _chunks(values, rows_per_chunk(hidden, vocab_size))

    def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, labels, shares = chunks.rows(i)
        scored = _score(inputs, kernel, bias, labels)
        nats = scored.log_z - scored.target_scores
        return i + 1, total + tf.stack([tf.reduce_sum(shares * each) for each in (nats, scored.correct)])

    return _loop(chunks.number, body, [tf.zeros([2])])[0]


def sums_and_gradients(
    hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, targets: tf.Tensor, weights: tf.Tensor, options: LossOptions
) -> SumsAndGradients:
    """Sums and gradients; `bias` is float32 [V], or [0] for none."""
    if on_mesh():
        return _sums_and_gradients_on_mesh(hidden, kernel, bias, targets=targets, weights=weights, options=options)
    count, size = hidden.shape
    is_whole = count is not None and count <= WHOLE_ROWS * size
    rows = count if is_whole else rows_per_chunk(hidden, kernel.shape[0])
    if isinstance(rows, int) and rows == count:
        total, gradient = _loss_and_gradient(hidden, kernel, bias, targets, weights, options)
        by_kernel = tf.matmul(gradient, _weighted(hidden, weights), transpose_a=True)
        return SumsAndGradients(total, tf.matmul(gradient, kernel), by_kernel, _bias_gradient(gradient, weights, bias))
    chunks = _chunks((hidden, targets, weights), rows)

    def body(i, total, by_hidden, by_kernel, by_bias):  # type: ignore[no-untyped-def]
        inputs, labels, shares = chunks.rows(i)
        found, gradient = _loss_and_gradient(inputs, kernel, bias, labels, shares, options)
        by_hidden = by_hidden.write(i, tf.matmul(gradient, kernel))
        by_kernel += tf.cast(tf.matmul(gradient, _weighted(inputs, shares), transpose_a=True), tf.float32)
        return i + 1, total + found, by_hidden, by_kernel, by_bias + _bias_gradient(gradient, shares, bias)

    by_hidden = tf.TensorArray(hidden.dtype, size=chunks.number, element_shape=[rows if isinstance(rows, int) else None, size])
    start = [tf.zeros([3]), by_hidden, tf.zeros(kernel.shape, tf.float32), tf.zeros_like(bias)]
    total, by_hidden, by_kernel, by_bias = tf.while_loop(
        lambda i, *_: i < chunks.number, body, [tf.constant(0), *start], parallel_iterations=1
    )[1:]
    joined = tf.reshape(by_hidden.stack(), [-1, size])[: tf.shape(hidden)[0]]
    return SumsAndGradients(total, tf.ensure_shape(joined, hidden.shape), by_kernel, by_bias)


def _sums_and_gradients_on_mesh(
    hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, targets: tf.Tensor, weights: tf.Tensor, options: LossOptions
) -> SumsAndGradients:
    """`sums_and_gradients` without the operations that DTensor cannot split: lists of tensors, and padding.

    Gradients by the kernel stay separate for the parts of the data axis; they are added once, after the last chunk.
    """
    count, size = hidden.shape
    chunks, parts, rows = _mesh_chunks((hidden, targets, weights), kernel.shape[0])

    def body(i, total, by_hidden, by_kernel, by_bias):  # type: ignore[no-untyped-def]
        inputs, labels, shares = chunks.rows(i)
        found, gradient = _loss_and_gradient(inputs, kernel, bias, labels, shares, options)
        is_this_chunk = tf.reshape(tf.range(chunks.number) == i, [1, chunks.number, 1, 1])
        by_hidden = tf.where(is_this_chunk, tf.reshape(tf.matmul(gradient, kernel), [parts, 1, rows, size]), by_hidden)
        by_part, weighted = (tf.reshape(each, [parts, rows, -1]) for each in (gradient, _weighted(inputs, shares)))
        by_kernel += tf.cast(tf.matmul(by_part, weighted, transpose_a=True), tf.float32)
        return i + 1, total + found, by_hidden, by_kernel, by_bias + _bias_gradient(gradient, shares, bias)

    by_hidden = tf.zeros_like(tf.reshape(hidden, [parts, chunks.number, rows, size]))
    start = [tf.zeros([3]), by_hidden, tf.zeros([parts, *kernel.shape]), tf.zeros_like(bias)]
    total, by_hidden, by_kernel, by_bias = _loop(chunks.number, body, start)
    return SumsAndGradients(total, tf.reshape(by_hidden, [count, size]), tf.reduce_sum(by_kernel, 0), by_bias)


def rows_per_chunk(hidden: tf.Tensor, vocab_size: int) -> int | tf.Tensor:
    """Rows of a chunk: as few chunks as `CHUNK_SCORES` allows, of (nearly) the same size."""
    limit = max(1, CHUNK_SCORES // vocab_size)
    count = hidden.shape[0]
    if count is None:
        return tf.minimum(tf.maximum(tf.shape(hidden)[0], 1), limit)
    chunks = max(1, -(-count // limit))
    return max(1, -(-count // chunks))


def scale_gradient(gradient: tf.Tensor, factor: tf.Tensor, dtype: tf.DType, compiled: bool) -> tf.Tensor:
    """A gradient times a float32 number, rounded to `dtype` once."""
    if gradient.dtype == dtype == tf.float32:
        return gradient * factor  # in place, which a compiled function is not
    return _scaled_and_rounded(gradient, factor, dtype=dtype, compiled=compiled)


def _chunks(values: Sequence[tf.Tensor], rows: int | tf.Tensor) -> _Chunks:
    """Rows in chunks of one size, which XLA requires; the last is padded with rows of weight 0."""
    parts = [_padded(each, rows) for each in values]
    return _Chunks(parts[0].shape[0] or tf.shape(parts[0])[0], lambda i: tuple(each[i] for each in parts))


class _MeshChunks(NamedTuple):
    chunks: _Chunks
    parts: int
    """Parts of the data axis."""
    rows: int
    """Rows of a part in a chunk."""


def _mesh_chunks(values: Sequence[tf.Tensor], vocab_size: int) -> _MeshChunks:
    """Rows in equal chunks, each with rows of every part of the mesh's data axis."""
    data, model = tf.distribute.get_strategy().extended.mesh.shape()
    count = values[0].shape[0]
    parts = data if count % data == 0 else 1
    own, limit = count // parts, max(1, CHUNK_SCORES * model // vocab_size)
    chunks = next(n for n in range(-(-own // limit), own + 1) if own % n == 0)
    split = [tf.reshape(each, [parts, chunks, own // chunks, *each.shape[1:]]) for each in values]

    def rows(i: tf.Tensor) -> Any:
        return tuple(tf.reshape(tf.gather(each, i, axis=1), [-1, *each.shape[3:]]) for each in split)

    return _MeshChunks(_Chunks(chunks, rows), parts, own // chunks)


def _loop(count: int | tf.Tensor, body: Callable[..., Any], start: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Calls `body` for every chunk; for a single one without a loop."""
    if isinstance(count, int) and count == 1:
        return body(tf.constant(0), *start)[1:]
    return tf.while_loop(lambda i, *_: i < count, body, [tf.constant(0), *start], parallel_iterations=1)[1:]


def _score(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor) -> _Scored:
    scores = tf.cast(tf.matmul(hidden, kernel, transpose_b=True), tf.float32)
    if bias.shape[0]:
        scores = tf.nn.bias_add(scores, bias)
    # Softmax is one pass of oneDNN's, and its largest entry is 1 / sum(exp(scores - highest)).
    probabilities = tf.nn.softmax(scores)
    highest, largest = tf.reduce_max(scores, 1), tf.reduce_max(probabilities, 1)
    if on_mesh():  # where the vocabulary is split, and a gather is not local
        is_target = tf.cast(tf.range(kernel.shape[0])[None, :] == targets[:, None], tf.float32)
        target_scores = tf.reduce_sum(scores * is_target, 1)
    else:
        target_scores = tf.gather(scores, targets, batch_dims=1)
    correct = tf.cast(target_scores >= highest, tf.float32)
    return _Scored(scores, probabilities, target_scores, highest - tf.math.log(largest), correct)


def _loss_and_gradient(
    hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, options: LossOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """The weighted sums of a chunk, float32 [3], and the gradient of each row's unweighted loss by its scores, [rows, V]."""
    scores, probabilities, target_scores, log_z, correct = _score(hidden, kernel, bias, targets)
    smoothing, z_loss = options.label_smoothing, options.z_loss
    nats = log_z - target_scores
    losses = nats
    if smoothing or z_loss:
        losses = nats + smoothing * (target_scores - tf.reduce_mean(scores, 1)) + z_loss * tf.square(log_z)
        probabilities = probabilities * (1 + 2 * z_loss * log_z)[:, None] - smoothing / kernel.shape[0]
    total = tf.stack([tf.reduce_sum(weights * each) for each in (losses, nats, correct)])
    keywords: dict[str, Any] = dict(share=1.0 - smoothing, dtype=hidden.dtype, compiled=options.compiled)
    return total, _minus_target(probabilities, targets, **keywords)


def _bias_gradient(gradient: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """float32, of the bias's shape."""
    if not bias.shape[0]:
        return bias
    return tf.cast(tf.matmul(tf.cast(tf.expand_dims(weights, 0), gradient.dtype), gradient)[0], tf.float32)


def _weighted(hidden: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[..., D] times [...], in float32."""
    return tf.cast(tf.cast(hidden, tf.float32) * weights[..., None], hidden.dtype)


def _padded(value: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
    """[M, ...] -> [chunks, rows, ...], the last chunk padded with zeros; of no rows at all, one chunk of zeros."""
    count = value.shape[0]
    if count is None:
        count = tf.shape(value)[0]
        missing = tf.where(count == 0, rows, -count % rows)
    else:
        missing = -count % rows
    if isinstance(missing, int) and not missing:
        return tf.reshape(value, [-1, rows, *value.shape[1:]])
    padding = [[0, missing], *[[0, 0]] * (len(value.shape) - 1)]
    return tf.reshape(tf.pad(value, padding), [-1, rows, *value.shape[1:]])


@fused
def _scaled_and_rounded(gradient: tf.Tensor, factor: tf.Tensor, *, dtype: tf.DType, compiled: bool) -> tf.Tensor:
    return rounded(tf.cast(gradient, tf.float32) * factor, dtype, compiled=compiled)


@fused
def _minus_target(probabilities: tf.Tensor, targets: tf.Tensor, *, share: float, dtype: tf.DType, compiled: bool) -> tf.Tensor:
    """Each row's probabilities minus `share` at its target. float32 [M, V], int32 [M] -> [M, V]."""
    hot = tf.range(probabilities.shape[1])[None, :] == targets[:, None]
    return rounded(probabilities - tf.cast(hot, tf.float32) * share, dtype, compiled=compiled)
