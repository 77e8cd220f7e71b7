"""tfllm without one of its changes: that part as TensorFlow or Keras has it.

For `ablation.py`, which trains and decodes so, and for `passes.py`, which times the parts themselves. `leave_out` is called
before a model is made, in a process that has no other use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.generation import decode, decoding_state, sampling
from tfllm.layers import (
    attention,
    base,
    block,
    dot_product_attention,
    dropout,
    embeddings,
    feedforward,
    fused,
    heads,
    norms,
    transposed,
)
from tfllm.layers.call_options import DECODING, CallOptions
from tfllm.layers.masks import HIDDEN
from tfllm.models import causal_lm, masked_lm, transformer
from tfllm.train import chunked_cross_entropy, losses, optimizers


def leave_out(changes: Sequence[str]) -> None:
    """Replaces what they brought, for the rest of the process."""
    for change in changes:
        CHANGES[change]()


def gelu_tanh(x: tf.Tensor, options: Any = None) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=True)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float, options: Any = None) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(exact, -1, keepdims=True)
    return tf.cast(tf.nn.batch_normalization(exact, mean, variance, bias, scale, epsilon), x.dtype)


def add_dropped(residual: tf.Tensor, x: tf.Tensor, rate: float, seed: tf.Tensor | None, options: Any = None) -> tf.Tensor:
    if seed is None:
        return residual + x
    return residual + tf.nn.experimental.stateless_dropout(x, rate, tf.stack([seed[0], seed[-1]]), rng_alg="philox")


def attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask: tf.Tensor | None,
    bias: tf.Tensor | None,
    *,
    rate: float,
    seed: tf.Tensor | None,
    options: CallOptions = CallOptions(),
) -> tf.Tensor:
    """For as many key heads as query heads; softmax in float32, as Keras has it, and tfllm's own dropout."""
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
    if mask is not None:
        scores -= tf.where(mask, 0.0, HIDDEN)
    if bias is not None:
        scores += tf.cast(bias, tf.float32)
    return tf.matmul(dropout.dropout(tf.cast(tf.nn.softmax(scores), value.dtype), rate, seed, options), value)


def linear_cross_entropy(
    hidden: tf.Tensor,
    kernel: tf.Tensor,
    *,
    targets: tf.Tensor,
    weights: tf.Tensor,
    bias: tf.Tensor | None = None,
    **_: Any,
) -> losses.TokenSums:
    """Scores of all rows at once, without smoothing."""
    scores = tf.cast(tf.matmul(hidden, tf.cast(kernel, hidden.dtype), transpose_b=True), tf.float32)
    scores = scores if bias is None else scores + bias
    nats = tf.reduce_sum(weights * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores))
    right = tf.cast(tf.argmax(scores, 1, output_type=tf.int32) == targets, tf.float32)
    return losses.TokenSums(nats, tf.stop_gradient(nats), tf.reduce_sum(weights * right), tf.reduce_sum(weights))


def log_prob(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)


def _activation() -> None:
    feedforward.ACTIVATIONS["gelu_tanh"] = gelu_tanh


def _norms() -> None:
    norms._layer_norm = layer_norm


def _dropout() -> None:
    block.add_dropped = add_dropped


def _attention() -> None:
    dot_product_attention._attend = attend


def _biases() -> None:
    base.sum_rows = norms.sum_rows = lambda x: tf.reduce_sum(x, 0)


def _loss() -> None:
    causal_lm.linear_cross_entropy = masked_lm.linear_cross_entropy = linear_cross_entropy


def _one_chunk() -> None:
    chunked_cross_entropy.WHOLE_ROWS = 0


def _blocks() -> None:
    dot_product_attention._blocks = lambda length: 1


def _places() -> None:
    call = transformer.Transformer.call

    def all_tokens(self: Any, *given: Any, places: tf.Tensor | None = None, **more: Any) -> Any:
        hidden = call(self, *given, **more)
        return hidden if places is None else tf.gather(hidden, places, batch_dims=1)

    transformer.Transformer.call = all_tokens


def _compiled() -> None:
    fused._pays = lambda x: False


def _compiled_optimizer() -> None:
    optimizers._adam = optimizers._adam.__wrapped__


def _table() -> None:
    def call(self: Any, ids: tf.Tensor, options: Any = None) -> tf.Tensor:
        return tf.cast(tf.gather(self.embeddings.value, ids), self.compute_dtype)

    embeddings.Embedding.call = call


def _sizes() -> None:
    def read(x: tf.Tensor) -> list[int | tf.Tensor]:
        return [tf.shape(x)[i] if size is None else size for i, size in enumerate(x.shape)]

    for module in (attention, base, heads, norms, transposed):
        module.sizes_of = read


def _branch() -> None:
    decode.by_rows = lambda model, rows, compute: compute(DECODING)


def _growing_cache() -> None:
    decode.initial_slots = lambda model, prompts, room: room


def _log_prob() -> None:
    decoding_state.log_prob = sampling.log_prob = log_prob


CHANGES: dict[str, Callable[[], None]] = {
    "activation": _activation,
    "norms": _norms,
    "dropout": _dropout,
    "attention": _attention,
    "biases": _biases,
    "loss": _loss,
    "one chunk": _one_chunk,
    "blocks": _blocks,
    "places": _places,
    "compiled": _compiled,
    "compiled optimizer": _compiled_optimizer,
    "table": _table,
    "sizes": _sizes,
    "one branch": _branch,
    "growing cache": _growing_cache,
    "log_prob": _log_prob,
}
