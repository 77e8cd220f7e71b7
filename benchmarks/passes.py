"""The parts of a gpt-mini step, each written in several ways: milliseconds of processor time.

    python benchmarks/passes.py

Enters: nothing. Leaves: `results/passes.json` and `passes.md`. All ways of a part are timed in turn in one process, in
graphs as a training step has them; where nothing else is said, forward and backward. "TensorFlow": the ordinary way
(`plain.py`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import keras
import plain
import tensorflow as tf
import tyro
from harness import Measured
from report import RESULTS, publish, record, rows, write
from shapes import BETA_1, BETA_2, DROPOUT, EPSILON, LEARNING_RATE, SHAPES, WEIGHT_DECAY

import tfllm.train
from tfllm.layers import base, dot_product_attention, dropout, feedforward, fused, masks, norms
from tfllm.layers.call_options import TRAINING
from tfllm.train import chunked_cross_entropy, losses

SHAPE = SHAPES["gpt-mini"]
B, S, D, F, N = SHAPE.batch_size, SHAPE.sequence_length, SHAPE.hidden_size, SHAPE.ffn_size, SHAPE.num_heads
M, H, V = SHAPE.tokens(), D // N, SHAPE.vocab_size
CALLS = 3
"""A turn times as many."""
TFLLM, PLAIN, OP_BY_OP = "tfllm", "TensorFlow", "op by op"
TEXT = """\
Written by `passes.py`: milliseconds of processor time of one call, medians over rounds, on gpt-mini's sizes but where sizes
stand."""
Way = Callable[..., Any]


class Part(NamedTuple):
    """What a step does `times`, in ways; `changes` names the way that a change of `plain.py` took the place of."""

    name: str
    inputs: list[tf.Tensor]
    ways: dict[str, Way]
    times: float = 0
    changes: Mapping[str, str] = MappingProxyType({})
    backward: bool = True


def main(dtypes: tuple[str, ...] = ("float32", "bfloat16"), *, rounds: int = 9, out: Path = RESULTS) -> None:
    """Times the parts.

    Args:
        dtypes: of activations; weights, losses and what the optimizer does are float32.
        rounds: turns of each way.
        out: folder of the results.
    """
    found, saved = [], []
    for dtype in dtypes:
        gains: dict[str, float] = {}
        for part in parts(tf.as_dtype(dtype)):
            each = milliseconds(part, rounds)
            found.append({"dtype": dtype, "part": part.name, "times": part.times, "milliseconds": each})
            for change, way in part.changes.items():
                gains[change] = gains.get(change, 0.0) + part.times * (each[way] - each[TFLLM])
        saved += [{"dtype": dtype, "change": change, "saved_ms": gain} for change, gain in gains.items()]
    measured = Measured(ready={"tensorflow": {"versions": {"tensorflow": tf.__version__}}})
    result = record(measured, parts=found, changes=saved)
    write(out, "passes", result)
    body = [
        [each["dtype"], each["part"], "; ".join(f"{way} {took:.2f}" for way, took in each["milliseconds"].items())]
        for each in found
    ]
    publish(
        out, "passes", "Parts of a step", [result], text=TEXT.splitlines(), table=rows(("dtype", "part", "milliseconds"), body)
    )


def milliseconds(part: Part, rounds: int) -> dict[str, float]:
    """Of processor time, one call of each way."""
    calls = {label: in_a_step(way, part, compiled=label != OP_BY_OP) for label, way in part.ways.items()}
    took: dict[str, list[float]] = {label: [] for label in calls}
    for turn in range(rounds + 1):
        for label, call in calls.items():
            start = time.process_time()
            for _ in range(CALLS):
                call()
            if turn:  # the first traces and compiles
                took[label].append((time.process_time() - start) / CALLS * 1e3)
    return {label: statistics.median(each) for label, each in took.items()}


def in_a_step(way: Way, part: Part, *, compiled: bool) -> Callable[[], Any]:
    """A way in a graph built as a training step's is, with its gradients by all floating inputs."""

    def compiling() -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if compiled else mock.patch.object(fused, "_pays", lambda x: False)

    def forward(*inputs: tf.Tensor) -> tf.Tensor:
        with compiling():
            return way(*inputs)

    def both(upstream: tf.Tensor, *inputs: tf.Tensor) -> list[tf.Tensor]:
        watched = [each for each in inputs if each.dtype.is_floating]
        with compiling(), tf.GradientTape() as tape:
            tape.watch(watched)
            return tape.gradient(way(*inputs), watched, upstream)

    if not part.backward:
        return functools.partial(tf.function(forward, autograph=False), *part.inputs)
    result = tf.function(forward, autograph=False)(*part.inputs)
    return functools.partial(tf.function(both, autograph=False), normal(result.dtype, *result.shape), *part.inputs)


def parts(dtype: tf.DType) -> Iterator[Part]:
    """Those of a step, and one of decoding."""
    draw = functools.partial(normal, dtype)
    loss = loss_of(losses.linear_cross_entropy)
    seed, targets = tf.range(B), tf.random.uniform([M], 0, V, tf.int32)
    yield Part(
        f"GELU [{M}, {F}]",
        [draw(M, F)],
        both_ways(functools.partial(feedforward.gelu_tanh, options=TRAINING), plain.gelu_tanh),
        times=6,
        changes={"activation": PLAIN, "compiled": OP_BY_OP},
    )
    yield Part(
        "the same, forward",
        [draw(M, F)],
        both_ways(functools.partial(feedforward.gelu_tanh, options=TRAINING), plain.gelu_tanh)
        | (
            {"XLA's own rounding": xla(wide(lambda x: x * feedforward._gelu_tanh_gate(x))), "from a table": from_a_table()}
            if dtype == tf.bfloat16
            else {}
        ),
        backward=False,
    )
    if dtype == tf.bfloat16:
        yield Part(
            f"sigmoid [{M}, {F}], forward",
            [draw(M, F)],
            {"in bfloat16": tf.sigmoid, "in float32": wide(tf.sigmoid)},
            backward=False,
        )
    yield Part(
        f"x + dropout(y) [{B}, {S}, {D}]",
        [draw(B, S, D), draw(B, S, D), seed],
        {way: dropped(add) for way, add in both_ways(dropout.add_dropped, plain.add_dropped).items()},
        times=12,
        changes={"dropout": PLAIN, "compiled": OP_BY_OP},
    )
    yield Part(
        f"layer norm [{M}, {D}]",
        [draw(M, D), normal(tf.float32, D), normal(tf.float32, D)],
        {
            way: functools.partial(norm, epsilon=1e-5, options=TRAINING)
            for way, norm in both_ways(norms._layer_norm, plain.layer_norm).items()
        },
        times=13,
        changes={"norms": PLAIN, "compiled": OP_BY_OP},
    )
    whole, blocks = (attended(dot_product_attention._attend, blocks) for blocks in (1, 2))
    yield Part(
        f"attention [{B}, {N}, {S}, {H}]",
        [draw(B, N, S, H), draw(B, N, S, H), draw(B, N, S, H), seed],
        {TFLLM: blocks, PLAIN: attended(plain.attend, 2), "rows whole": whole, OP_BY_OP: blocks},
        times=6,
        changes={"attention": PLAIN, "blocks": "rows whole", "compiled": OP_BY_OP},
    )
    yield Part(
        f"cross-entropy [{M}, {D}], V {V}",
        [draw(M, D), normal(tf.float32, V, D), targets],
        both_ways(loss, loss_of(plain.linear_cross_entropy)) | {f"2^{n} scores at a time": in_chunks(1 << n) for n in (23, 25)},
        times=1,
        changes={"loss": PLAIN, "compiled": OP_BY_OP},
    )
    yield Part(
        f"its gradient by scores, [2048, {V}]",
        [tf.nn.softmax(normal(tf.float32, 2048, V)), targets[:2048]],
        {
            TFLLM: lambda p, ids: chunked_cross_entropy._minus_target(p, ids, share=1.0, dtype=dtype, compiled=True),
            "scattered": lambda p, ids: tf.cast(
                tf.tensor_scatter_nd_sub(p, tf.stack([tf.range(2048), ids], 1), tf.ones(2048)), dtype
            ),
        },
        backward=False,
    )
    yield Part(
        f"sum over rows [{M}, {F}]",
        [draw(M, F)],
        {TFLLM: base.sum_rows, PLAIN: lambda x: tf.reduce_sum(x, 0), "XLA": xla(lambda x: tf.reduce_sum(x, 0))},
        times=6 * (3 * D + D + F + D) / F,
        changes={"biases": PLAIN},
        backward=False,
    )
    yield Part(
        f"gradient of a kernel [{D}, {F}]",
        [draw(M, D), draw(M, F)],
        {
            TFLLM: lambda x, y: tf.matmul(x, y, transpose_a=True),
            "turned": lambda x, y: tf.transpose(tf.matmul(y, x, transpose_a=True)),
            "transposed before": lambda x, y: tf.matmul(tf.transpose(x), y),
        },
        backward=False,
    )
    for name, way, shape in (
        (f"softmax [{B}, {N}, {S}, {S}]", tf.nn.softmax, (B, N, S, S)),
        ("heads split", lambda x: tf.transpose(tf.reshape(x, [B, S, 3 * N, H]), [0, 2, 1, 3]), (M, 3 * D)),
        ("heads joined", lambda x: tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [M, D]), (B, N, S, H)),
    ):
        yield Part(f"{name}, forward", [draw(*shape)], {TFLLM: way, "XLA": xla(way)}, backward=False)
    yield Part("AdamW", *adamw(None), times=1, changes={"compiled optimizer": OP_BY_OP, "compiled": OP_BY_OP}, backward=False)
    yield Part("AdamW, gradients clipped", *adamw(1.0), backward=False)
    yield Part("scores of one query, 12 layers of [8, 12, 160, 64]", [draw(8, 12, 1, 64)], one_query(draw), backward=False)


def both_ways(ours: Way, theirs: Way) -> dict[str, Way]:
    return {TFLLM: ours, PLAIN: theirs, OP_BY_OP: ours}


def normal(dtype: tf.DType, *shape: int) -> tf.Tensor:
    return tf.cast(tf.random.normal(shape), dtype)


def xla(way: Way) -> Way:
    return tf.function(way, jit_compile=True, autograph=False)


def wide(way: Way) -> Way:
    """In float32, whatever comes."""
    return lambda x: tf.cast(way(tf.cast(x, tf.float32)), x.dtype)


def from_a_table() -> Way:
    """GELU of all 65,536 numbers of bfloat16, looked up."""
    table = feedforward.gelu_tanh(tf.bitcast(tf.cast(tf.range(1 << 16), tf.uint16), tf.bfloat16))
    return lambda x: tf.gather(table, tf.cast(tf.bitcast(x, tf.uint16), tf.int32))


def dropped(add: Way) -> Way:
    return lambda residual, x, seed: add(residual, x, DROPOUT, seed, TRAINING)


def attended(attend: Way, blocks: int) -> Way:
    """Causal attention with dropout."""

    def way(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        settings = dict(mask=masks.causal_mask(S), is_causal=True, rate=DROPOUT, seed=seed, options=TRAINING)
        with mock.patch.multiple(dot_product_attention, _attend=attend, _blocks=lambda length: blocks):
            return dot_product_attention.dot_product_attention(query, key, value, **settings)

    return way


def loss_of(cross_entropy: Way) -> Way:
    settings = dict(weights=tf.ones([M]), compiled=True)
    return lambda hidden, kernel, targets: cross_entropy(hidden, kernel, targets=targets, **settings).loss


def in_chunks(scores: int) -> Way:
    def way(*inputs: tf.Tensor) -> tf.Tensor:
        with mock.patch.object(chunked_cross_entropy, "CHUNK_SCORES", scores):
            return loss_of(losses.linear_cross_entropy)(*inputs)

    return way


def adamw(clip_norm: float | None) -> tuple[list[tf.Tensor], dict[str, Way]]:
    """Gradients of gpt-mini's matrices, and what optimizers do with them."""
    shapes = [(V, D), *[(D, 3 * D), (D, D), (D, F), (F, D)] * SHAPE.num_layers]
    settings = dict(weight_decay=WEIGHT_DECAY, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON)
    made = {
        TFLLM: tfllm.train.adamw(LEARNING_RATE, clip_norm=clip_norm, **settings),
        "Keras": keras.optimizers.AdamW(LEARNING_RATE, global_clipnorm=clip_norm, **settings),
        OP_BY_OP: tfllm.train.adamw(LEARNING_RATE, clip_norm=clip_norm, **settings),
    }

    def way(optimizer: Any) -> Way:
        variables = [keras.Variable(normal(tf.float32, *shape), name=f"v{i}") for i, shape in enumerate(shapes)]
        optimizer.build(variables)
        optimizer.compiled = True
        return lambda *gradients: optimizer.apply(list(gradients))

    return [normal(tf.float32, *shape) for shape in shapes], {label: way(optimizer) for label, optimizer in made.items()}


def one_query(draw: Way) -> dict[str, Way]:
    """Scores of a token beside the keys of a cache, in as many layers as do not fit the processor's caches."""
    layers = [draw(8, 12, 160, 64) for _ in range(12)]
    turned = [tf.transpose(keys, [0, 1, 3, 2]) for keys in layers]

    def way(scores: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], layers: list[tf.Tensor]) -> Way:
        def run(query: tf.Tensor) -> tf.Tensor:
            given = query
            for keys in layers:
                given = query + scores(given, keys)[..., :1] * 0  # each waits for the one before
            return given

        return run

    def of_eight(query: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.pad(query, [[0, 0], [0, 0], [0, 7], [0, 0]]), keys, transpose_b=True)[:, :, :1]

    return {
        TFLLM: way(lambda query, keys: tf.matmul(query, keys, transpose_b=True), layers),
        "keys [H, T]": way(tf.matmul, turned),
        "products and sums": way(lambda query, keys: tf.reduce_sum(keys * query, -1)[:, :, None], layers),
        "of 8 queries": way(of_eight, layers),
    }


if __name__ == "__main__":
    tyro.cli(main)
