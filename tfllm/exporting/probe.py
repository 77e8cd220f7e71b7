"""Runs an export where nothing but TensorFlow and TensorFlow Text's ops can be had: a script, started by `checking.py`.

Enters: a version folder (argument) and requests as JSON (standard input). Leaves, as JSON on standard output: the registered
ops, and what each signature answered. It imports nothing of tfllm, and makes sure that nobody else does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

FORBIDDEN = ("keras", "tfllm")


def text_op_libraries() -> list[str]:
    """TensorFlow Text's shared libraries: what the stock server has linked in. Its Python package would import Keras."""
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("tensorflow_text is not installed")
    return sorted(map(str, Path(spec.submodule_search_locations[0], "python").rglob("*.so")))


def registered_ops() -> list[str]:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    found = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return sorted(op.name for op in found.op)


def run(signature: Any, inputs: dict[str, list]) -> dict[str, Any]:
    """The outputs of one signature as {name: [dtype, shape, values]}, or {"": the error}."""
    import tensorflow as tf

    specs = signature.structured_input_signature[1]
    try:
        outputs = signature(**{name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()})
    except Exception as error:
        # Whatever goes wrong in a graph is what this program is to report.
        return {"": f"{type(error).__name__}: {error}"}
    return {name: [value.dtype.name, value.shape.as_list(), _plain(value)] for name, value in outputs.items()}


def _plain(value: Any) -> Any:
    """Numbers as they are, strings as UTF-8, or null where they are none."""
    values = value.numpy().tolist()
    if value.dtype.name != "string":
        return values
    with contextlib.suppress(UnicodeDecodeError):
        return _decoded(values)
    return None


def _decoded(value: Any) -> Any:
    return [_decoded(each) for each in value] if isinstance(value, list) else value.decode()


def main() -> None:
    gc.disable()  # for so short a time it would only look through TensorFlow's objects again and again
    for name in FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Libraries print to standard output at will; the report goes to the real one.
    report, sys.stdout = sys.stdout, sys.stderr
    import tensorflow as tf

    for library in text_op_libraries():
        tf.load_op_library(library)
    ops = registered_ops()
    loaded = tf.saved_model.load(sys.argv[1])
    answers = {name: run(loaded.signatures[name], inputs) for name, inputs in json.load(sys.stdin).items()}
    json.dump({"ops": ops, "answers": answers}, report)
    report.flush()
    os._exit(0)  # taking TensorFlow apart piece by piece takes longer than many an export runs


if __name__ == "__main__":
    main()
