"""Products of few rows with large matrices, as decoding has them, in each orientation: GB of weights read a second.

    python benchmarks/few_rows.py --rounds 7

Enters: nothing. Leaves: `results/few_rows.json` and `few_rows.md`. All ways are timed in turn in one process; each goes through
as many matrices as do not fit the processor's caches.

    IO        x @ W, W [I, O]
    OI        x @ W^T, W [O, I]
    OI turned (W @ x^T)^T, W [O, I]
    OI packed x @ W^T, W [O, I], which oneDNN packs at the first call of each number of rows
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tyro
from harness import Measured
from report import RESULTS, publish, record, rows, write

from tfllm.layers.onednn import packed_matmul

SHAPES = {"attention": (768, 2304), "up": (768, 3072), "down": (3072, 768), "vocabulary": (768, 50_257)}
BYTES = 300e6
WAYS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "IO": tf.matmul,
    "OI": lambda x, matrix: tf.matmul(x, matrix, transpose_b=True),
    "OI turned": lambda x, matrix: tf.transpose(tf.matmul(matrix, x, transpose_b=True)),
    "OI packed": lambda x, matrix: packed_matmul(x, tf.convert_to_tensor(matrix), transpose_b=True),
}
TEXT = "Written by `few_rows.py`: GB of weights read a second, medians over rounds. Compare within a line."


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
    found = [each for dtype in dtypes for name in SHAPES for each in speeds(dtype, name, counts, rounds)]
    measured = Measured(ready={"tensorflow": {"versions": {"tensorflow": tf.__version__}}})
    result = record(measured, products=found)
    write(out, "few_rows", result)
    body = [[each["dtype"], each["product"], each["rows"], *(f"{each[way]:.1f}" for way in WAYS)] for each in found]
    publish(out, "few_rows", "Products of few rows", [result], text=[TEXT], table=rows(("dtype", "W", "rows", *WAYS), body))


def speeds(dtype: str, name: str, counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """GB/s of every way, a record a number of rows."""
    width, height = SHAPES[name]
    number = max(1, round(BYTES / (width * height * 4)))
    random = np.random.default_rng(0)
    plain = [tf.Variable(tf.cast(random.standard_normal((width, height)), dtype)) for _ in range(number)]
    other = [tf.Variable(tf.transpose(matrix)) for matrix in plain]
    functions = {way: through(product, plain if way == "IO" else other) for way, product in WAYS.items()}
    found = []
    for count in counts:
        x = tf.cast(random.standard_normal((count, width)), dtype)
        seconds: dict[str, list[float]] = {way: [] for way in functions}
        for turn in range(rounds + 1):
            for way, function in functions.items():
                start = time.perf_counter()
                function(x).numpy()
                if turn:  # the first traces
                    seconds[way].append(time.perf_counter() - start)
        read = number * width * height * plain[0].dtype.size / 1e9
        speed = {way: read / statistics.median(each) for way, each in seconds.items()}
        found.append({"dtype": dtype, "product": f"{name} {width} x {height}", "rows": count, **speed})
    return found


def through(product: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], matrices: Sequence[tf.Variable]) -> Any:
    """x by every matrix, one after the other: each product waits for the one before."""

    def run(x: tf.Tensor) -> tf.Tensor:
        given = x
        for matrix in matrices:
            last = product(given, matrix)
            given = x + last[:, :1] * 0
        return last

    return tf.function(run, autograph=False)


if __name__ == "__main__":
    tyro.cli(main)
