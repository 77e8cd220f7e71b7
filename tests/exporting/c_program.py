"""`serve.c`: built against the wheel's headers and libraries, and run on an export."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfllm.exporting.probe import text_op_libraries

TENSORFLOW = Path(tf.__file__).parent
TIMEOUT = 300


def build(folder: Path) -> Path:
    """The program, in `folder`; the test is skipped where there is no compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("NO GCC: the export was not run in C")
    program = folder / "serve"
    source = Path(__file__).with_name("serve.c")
    libraries = [f"-L{TENSORFLOW}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{TENSORFLOW}"]
    # A third of the default linker's time on so large a library.
    linker = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []
    command = ["gcc", "-Wall", "-Wextra", "-Werror", *linker, str(source), "-o", str(program), f"-I{TENSORFLOW / 'include'}"]
    built = subprocess.run([*command, *libraries, "-ldl"], capture_output=True, text=True, timeout=TIMEOUT)
    assert built.returncode == 0, built.stderr
    return program


def serve(program: Path, folder: Path, inputs: dict[str, list[str]], *outputs: str) -> subprocess.CompletedProcess:
    """Runs the export's `serving_default` on columns of strings."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    names = [signature.inputs[name].name for name in inputs], [signature.outputs[name].name for name in outputs]
    strings = [string for row in zip(*inputs.values(), strict=True) for string in row]
    command = [str(program), str(folder), *map(",".join, names), *text_op_libraries(), "--", *strings]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT)
