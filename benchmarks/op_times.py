"""Where the time of a step goes: by kinds of ops, in one thread, which holds still on a busy machine.

    python benchmarks/op_times.py gpt-mini float32
    python benchmarks/op_times.py decoding --batch 8 --form prepack

Enters: a shape that is trained (`shapes.py`), or "decoding", which is that of GPT-2 small in Python. Leaves:
`results/op_times-NAME.json`, and of all such files `results/op_times.md`.
"""

from __future__ import annotations

import collections
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfllm does, which is imported later

import tensorflow as tf
import training_worker
import tyro
from decoding_models import make, prompts_of
from harness import Measured
from report import RESULTS, publish, read, record, rows, write
from shapes import SHAPES

import tfllm

KINDS = {
    "products": ("_MklMatMul", "MatMul", "_FusedMatMul", "_MklNativeFusedMatMul", "_MklQuantizedMatMulWithBiasAndDequantize"),
    "of attention": ("_MklBatchMatMulV2", "BatchMatMulV2"),
    "compiled": ("ExecuteAsyncOnStream",),
    "softmax": ("_MklSoftmax", "Softmax"),
    "casts": ("Cast", "_MklNativeCast"),
    "transposes": ("_MklTranspose", "Transpose"),
    "cache": ("TensorStridedSliceUpdate",),
}
"""Of the ops' types, as a profile has them after grappler; XLA's functions run under the name of their call."""
TIMES = 3
TEXT = """\
Written by `op_times.py`: milliseconds of a step (decoding: of a token of each row) in one thread, by kinds of ops, from
TensorFlow's profile; whole: without it. Products: with weights. Compiled: what XLA compiled. The rest is the difference."""
FORMS: dict[str, dict[str, Any]] = {"plain": {}, "prepack": {"prepack": True}, "int8": {"quantize": "int8"}}


def main(
    what: Literal["gpt-nano", "gpt-mini", "gpt2-small", "bert-mini", "bert-base", "decoding"] = "gpt-mini",
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    /,
    *,
    batch: int = 8,
    form: Literal["plain", "prepack", "int8"] = "plain",
    new: int = 64,
    out: Path = RESULTS,
) -> None:
    """Profiles a step.

    Args:
        what: is trained, or decoded.
        precision: Keras dtype policy.
        batch, form, new: of decoding: rows, what `tfllm.for_inference` is told, tokens each row gets.
        out: folder of the results.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    decoding = what == "decoding"
    step = decoded(batch, new, precision, FORMS[form]) if decoding else trained(what, precision)
    steps = new if decoding else 1
    step()
    start = time.perf_counter()
    for _ in range(TIMES):
        step()
    whole = (time.perf_counter() - start) / TIMES / steps * 1e3
    by_type = {name: each / steps for name, each in op_milliseconds(step).items()}
    kinds = {kind: sum(took for name, took in by_type.items() if name in names) for kind, names in KINDS.items()}
    measured = Measured(ready={"tensorflow": {"versions": {"tensorflow": tf.__version__}}})
    title = f"decoding, {batch} rows, {form}" if decoding else what
    name = f"decoding-{batch}-{form}" if decoding else what
    result = record(measured, what=title, precision=precision, whole_ms=whole, kinds_ms=kinds, types_ms=by_type)
    write(out, f"op_times-{name}-{precision}", result)
    results = read(out, "op_times-*")
    body = []
    for each in results:
        cells = [f"{each['kinds_ms'][kind]:.1f}" for kind in KINDS]
        rest = each["whole_ms"] - sum(each["kinds_ms"].values())
        body.append([each["what"], each["precision"], f"{each['whole_ms']:.1f}", *cells, f"{rest:.1f}"])
    table = rows(("step", "precision", "whole", *KINDS, "the rest"), body)
    publish(out, "op_times", "Where the time goes", results, text=TEXT.splitlines(), table=table)


def trained(shape: str, precision: str) -> Callable[[], Any]:
    model, features = training_worker.tfllm(SHAPES[shape], precision)
    rows_of_shape = iter(training_worker.batches(SHAPES[shape]).map(features).prefetch(2))
    model.make_train_function()
    return lambda: model.train_function(rows_of_shape)


def decoded(batch: int, new: int, precision: str, form: dict[str, Any]) -> Callable[[], Any]:
    model, tokenizer = tfllm.from_huggingface(make("gpt2-small") / "huggingface", dtype=precision)
    model = tfllm.for_inference(model, **form)
    texts = prompts_of("gpt2-small").texts[:batch]
    return lambda: tfllm.generate(model, tokenizer, texts, max_new_tokens=new)


def op_milliseconds(step: Callable[[], Any]) -> dict[str, float]:
    """Of a call, by the ops' types, those that take most first."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(TIMES):
                step()
        [file] = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    took: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for line in plane.lines if plane.name.startswith("/host:CPU") else ():
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if ":" in name and not name.startswith("$"):
                    took[name.rpartition(":")[2]] += event.duration_ps / 1e9 / TIMES
    return dict(took.most_common())


if __name__ == "__main__":
    tyro.cli(main)
