"""Runs an export with TensorFlow and the ops of TensorFlow Text, without tfllm and Keras: a script that `checking.py` starts.

In: a version folder (argument), and requests as JSON (standard input). Out, as JSON on standard output: the registered ops,
and the outputs of each signature. The script blocks imports of tfllm and Keras.
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
    """TensorFlow Text's shared libraries, which TensorFlow Serving contains too. Its Python package would import Keras."""
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
        # Any error of a graph belongs in the report.
        return {"": f"{type(error).__name__}: {error}"}
    return {name: [value.dtype.name, value.shape.as_list(), _plain(value)] for name, value in outputs.items()}


def _plain(value: Any) -> Any:
    """The values as lists; strings are decoded. None if a string is not UTF-8."""
    values = value.numpy().tolist()
    if value.dtype.name != "string":
        return values
    with contextlib.suppress(UnicodeDecodeError):
        return _decoded(values)
    return None


def _decoded(value: Any) -> Any:
    return [_decoded(each) for each in value] if isinstance(value, list) else value.decode()


def main() -> None:
    gc.disable()  # it costs time, and this process ends soon
    for name in FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Libraries may print to standard output, which holds the report: send their lines to standard error.
    report, sys.stdout = sys.stdout, sys.stderr
    import tensorflow as tf

    for library in text_op_libraries():
        tf.load_op_library(library)
    ops = registered_ops()
    loaded = tf.saved_model.load(sys.argv[1])
    answers = {name: run(loaded.signatures[name], inputs) for name, inputs in json.load(sys.stdin).items()}
    json.dump({"ops": ops, "answers": answers}, report)
    report.flush()
    os._exit(0)  # the usual exit, which frees all of TensorFlow, takes longer than the requests


if __name__ == "__main__":
    main()
