"""Products of few rows with large matrices, as decoding has them, in each orientation: GB of weights read a second.

    python benchmarks/few_rows.py --rounds 7

Enters: nothing. Leaves: `results/few_rows.json` and `few_rows.md`. All ways are timed in turn in one process; each goes through
as many matrices as do not fit the processor's caches.

    IO        x @ W, W [I, O]
    OI        x @ W^T, W [O, I]
    OI turned (W @ x^T)^T, W [O, I]
    OI packed x @ W^T, W [O, I], which oneDNN packs at the first call of each number of rows; bfloat16 only with AVX-512

Ways that were tried and left, and integers of 8 bits, stand in a table of their own, as speeds over OI's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import numpy as np
import tensorflow as tf
import tyro
from harness import Measured
from report import RESULTS, publish, record, rows, write

from tfllm.layers.onednn import packed_matmul, packs
from tfllm.layers.quantized import Quantized, quantized, quantized_product

SHAPES = {"attention": (768, 2304), "up": (768, 3072), "down": (3072, 768), "vocabulary": (768, 50_257)}
BYTES = 300e6
Kept = tuple[tf.Variable | np.ndarray, ...]
"""An array becomes a constant of the graph."""


class Way(NamedTuple):
    """What is kept of a matrix W [I, O], and x @ W from that. [M, I] -> [M, O]."""

    keep: Callable[[tf.Tensor], Sequence[tf.Tensor | np.ndarray]]
    product: Callable[[tf.Tensor, Kept], tf.Tensor]


def turned(matrix: tf.Tensor) -> Sequence[tf.Tensor]:
    return [tf.transpose(matrix)]


def in_parts(matrix: tf.Tensor, parts: int) -> list[tf.Tensor]:
    """W^T in parts of equal height, so without a few outputs of the vocabulary."""
    return tf.split(tf.transpose(matrix[:, : matrix.shape[1] // parts * parts]), parts)


def by_outputs(x: tf.Tensor, kept: Kept) -> tf.Tensor:
    return tf.concat([tf.matmul(x, part, transpose_b=True) for part in kept], 1)


def by_inputs(x: tf.Tensor, kept: Kept) -> tf.Tensor:
    shares = zip(tf.split(x, len(kept), 1), kept, strict=True)
    return tf.add_n([tf.matmul(share, part, transpose_b=True) for share, part in shares])


def batched(x: tf.Tensor, kept: Kept) -> tf.Tensor:
    parts = tf.matmul(x[None], kept[0], transpose_b=True)
    return tf.reshape(tf.transpose(parts, [1, 0, 2]), [-1, parts.shape[0] * parts.shape[2]])


def with_bias(product: tf.Tensor) -> tf.Tensor:
    """TensorFlow fuses the two."""
    return tf.nn.bias_add(product, tf.ones([product.shape[1]], product.dtype))


WAYS = {
    "IO": Way(lambda matrix: [matrix], lambda x, kept: tf.matmul(x, kept[0])),
    "OI": Way(turned, lambda x, kept: tf.matmul(x, kept[0], transpose_b=True)),
    "OI turned": Way(turned, lambda x, kept: tf.transpose(tf.matmul(kept[0], x, transpose_b=True))),
    "OI packed": Way(turned, lambda x, kept: packed_matmul(x, tf.convert_to_tensor(kept[0]), transpose_b=True)),
}
TRIED = {
    "a bias added": Way(turned, lambda x, kept: with_bias(tf.matmul(x, kept[0], transpose_b=True))),
    "outputs in halves": Way(lambda matrix: in_parts(matrix, 2), by_outputs),
    "inputs in halves": Way(lambda matrix: tf.split(tf.transpose(matrix), 2, 1), by_inputs),
    "a batch of 8": Way(lambda matrix: [tf.stack(in_parts(matrix, 8))], batched),
    "Einsum": Way(turned, lambda x, kept: tf.einsum("mi,oi->mo", x, kept[0])),
    "a constant": Way(lambda matrix: [tf.transpose(matrix).numpy()], lambda x, kept: tf.matmul(x, kept[0], transpose_b=True)),
    "8 bits": Way(
        lambda matrix: quantized(tf.cast(matrix, tf.float32)), lambda x, kept: quantized_product(x, Quantized(*kept))
    ),
}
TRIED_ROWS = (1, 8)
TEXT = """\
Written by `few_rows.py`: GB of weights read a second, medians over rounds. Compare within a line. The second table: speed over
OI's of ways that were tried and left, and of integers of 8 bits with all that goes before and after their product."""


def main(
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
    *,
    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64),
    rounds: int = 7,
    out: Path = RESULTS,
) -> None:
    """Times products.

    Args:
        dtypes: of x and the matrices.
        counts: rows of x.
        rounds: turns of each way.
        out: folder of the results.
    """
    found = [each for dtype in dtypes for name in SHAPES for each in speeds(dtype, name, ways_of(dtype), counts, rounds)]
    ways = {"OI": WAYS["OI"], **TRIED}
    tried = [each for dtype in dtypes for name in SHAPES for each in speeds(dtype, name, ways, TRIED_ROWS, rounds)]
    measured = Measured(ready={"tensorflow": {"versions": {"tensorflow": tf.__version__}}})
    result = record(measured, products=found, tried=tried)
    write(out, "few_rows", result)
    body = [
        [each["dtype"], each["product"], each["rows"], *(f"{each[way]:.1f}" if way in each else "" for way in WAYS)]
        for each in found
    ]
    table = [*rows(("dtype", "W", "rows", *WAYS), body), ""]
    body = [
        [each["dtype"], each["product"], each["rows"], *(f"{each[way] / each['OI']:.2f}" for way in TRIED)] for each in tried
    ]
    table += rows(("dtype", "W", "rows", *TRIED), body)
    publish(out, "few_rows", "Products of few rows", [result], text=TEXT.splitlines(), table=table)


def ways_of(dtype: str) -> dict[str, Way]:
    return {name: way for name, way in WAYS.items() if name != "OI packed" or packs(dtype)}


def speeds(dtype: str, name: str, ways: dict[str, Way], counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """GB/s of every way, were all weights of that dtype, a record a number of rows."""
    width, height = SHAPES[name]
    number = max(1, round(BYTES / (width * height * 4)))
    random = np.random.default_rng(0)
    matrices = [tf.cast(random.standard_normal((width, height)), dtype) for _ in range(number)]
    functions = {label: through(way, matrices) for label, way in ways.items()}
    found = []
    for count in counts:
        x = tf.cast(random.standard_normal((count, width)), dtype)
        seconds: dict[str, list[float]] = {label: [] for label in functions}
        for turn in range(rounds + 1):
            for label, function in functions.items():
                start = time.perf_counter()
                function(x).numpy()
                if turn:  # the first traces
                    seconds[label].append(time.perf_counter() - start)
        read = number * width * height * matrices[0].dtype.size / 1e9
        speed = {label: read / statistics.median(each) for label, each in seconds.items()}
        found.append({"dtype": dtype, "product": f"{name} {width} x {height}", "rows": count, **speed})
    return found


def through(way: Way, matrices: Sequence[tf.Tensor]) -> Any:
    """x by every matrix, one after the other: each product waits for the one before."""
    kept = [tuple(each if isinstance(each, np.ndarray) else tf.Variable(each) for each in way.keep(m)) for m in matrices]

    def run(x: tf.Tensor) -> tf.Tensor:
        given = x
        for each in kept:
            last = way.product(given, each)
            given = x + last[:, :1] * 0
        return last

    return tf.function(run, autograph=False)


if __name__ == "__main__":
    tyro.cli(main)
