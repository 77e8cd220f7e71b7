"""What must be settled before TensorFlow and Keras are imported: oneDNN, and Keras' backend."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path


def ask_for_onednn() -> None:
    """oneDNN multiplies sooner on all x86 processors. Without VNNI TensorFlow runs it if it was told so before its import."""
    if os.uname().machine == "x86_64" and os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1") == "1":
        port = sys.modules.get("tensorflow.python.util._pywrap_util_port")
        if port is not None and not port.IsMklEnabled():
            warnings.warn(
                "TensorFlow was imported without oneDNN, which makes training and decoding faster on this processor: "
                "import tfllm before it, or set TF_ENABLE_ONEDNN_OPTS=1 (0 leaves it off, without this warning)",
                stacklevel=3,
            )


def refuse_other_backends() -> None:
    """Keras takes its backend from KERAS_BACKEND, else from its keras.json, once and for all when it is imported.

    Raises:
        ImportError: it is, or will be, another than TensorFlow.
    """
    variable = os.environ.get("KERAS_BACKEND")
    home = os.path.expanduser("~")  # noqa: PTH111 - as Keras does: Path.home() fails where a container's user has none
    usual = Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"
    file = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or usual)) / "keras.json"  # noqa: PTH111
    remedy = "set the environment variable KERAS_BACKEND=tensorflow before Python starts"
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "config"):
        backend, source = keras.config.backend(), "keras was imported before tfllm, and"
    elif variable:
        backend, source = variable, f"KERAS_BACKEND={variable}:"
        remedy += ", or unset it"
    else:
        try:
            backend = json.loads(file.read_text()).get("backend", "tensorflow")
        except (OSError, ValueError, AttributeError):  # as Keras goes on without it
            return
        source = f"{file}:"
        remedy += f', or write "backend": "tensorflow" in {file}'
    if backend != "tensorflow":
        raise ImportError(f"{source} Keras runs on {backend}, and tfllm's models are TensorFlow's: {remedy}")
