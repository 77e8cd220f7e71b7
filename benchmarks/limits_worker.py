"""What the machine can do at most, measured in turn with the contenders: TensorFlow's matrix products and reading memory.

The job holds `products` (rows, inner and outer size, how often: `Shape.products`), which may be empty.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from turns import Run, peak_mb, serve, versions

LARGE = (4096, 768, 3072)
DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
READ_BYTES = 1 << 29
TIMES = 3


def prepare(job: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    products = [(tuple(size), count) for *size, count in job["products"]]
    block = tf.random.uniform([READ_BYTES // 4])

    def run(told: dict[str, Any]) -> dict[str, Any]:
        found = {"read_gb_per_second": READ_BYTES / best(lambda: tf.reduce_sum(block)) / 1e9}
        for name, dtype in DTYPES.items():
            found[f"gemm_{name}"] = gflops([(LARGE, 1)], dtype)
            if products:
                found[f"step_gemm_{name}"] = gflops(products, dtype)
        return found

    run({})
    return run, {"peak_mb": peak_mb(), "versions": versions("tensorflow")}


def gflops(products: list[tuple[tuple[int, ...], int]], dtype: tf.DType) -> float:
    """Of products done one after another, each as often as it is in a step."""
    seconds = work = 0.0
    for (rows, inner, outer), count in products:
        left = tf.cast(tf.random.uniform([rows, inner]), dtype)
        right = tf.cast(tf.random.uniform([inner, outer]), dtype)
        tf.matmul(left, right)
        seconds += count * best(lambda left=left, right=right: tf.matmul(left, right))
        work += count * 2.0 * rows * inner * outer
    return work / seconds / 1e9


def best(work: Callable[[], tf.Tensor]) -> float:
    """Seconds of the quickest of a few calls: what can be done, not what was done beside the neighbours."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()  # returns when it is done: eager, on a CPU
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    serve(prepare)
