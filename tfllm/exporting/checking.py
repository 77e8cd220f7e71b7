"""`check`: verifies that the standard TensorFlow Serving can run an export.

In: the folder of an export. Out: a `Report`, which lists every problem. The graph is read as a protocol buffer. Then the
signatures are run in another process (`probe.py`), in which neither tfllm nor Keras can be imported.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from tfllm import tasks
from tfllm.exporting import probe
from tfllm.exporting.contract import (
    DESCRIPTION_FILE,
    EXTRA_FOLDER,
    WARM_UP_FILE,
    Contract,
    contract_names,
    contract_of,
    versions,
)
from tfllm.tasks.spec import Field

XLA_ATTRIBUTE = "_XlaMustCompile"
# Every TensorFlow registers these ops, but they can only run in the Python process that made them.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` found."""

    folder: Path
    """The version folder."""
    signatures: tuple[str, ...]
    """Names of the signatures in the contract."""
    problems: tuple[str, ...]
    """Empty if the export keeps the contract."""
    ops: tuple[str, ...]
    """Names of the ops in the graph and its functions, each once, sorted."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            return (
                f"{self.folder} keeps the serving contract: {len(self.signatures)} signatures run, {len(self.ops)} kinds of ops"
            )
        return "\n".join([f"{self.folder} breaks the serving contract:", *(f"  - {each}" for each in self.problems)])


def check(folder: str | Path) -> Report:
    """Checks signatures, ops, XLA, warm-up file, and runs every signature.

    >>> print(tfllm.check("saved_models/demo"))
    saved_models/demo/1 keeps the serving contract: 5 signatures run, 104 kinds of ops

    Args:
        folder: a version folder, or the folder of all versions. In the latter case the newest version is checked.

    Returns:
        A `Report`: `ok` is True if there are no problems.

    Raises:
        FileNotFoundError: the folder does not exist, or has no version, or the version is no SavedModel.
        ValueError: `saved_model.pb` is damaged.
    """
    folder = _version_folder(Path(folder))
    meta_graph = _meta_graph(folder)
    nodes = list(_nodes(meta_graph.graph_def))
    ops = tuple(sorted({node.op for node in nodes}))
    contract = _contract(folder)
    problems = [
        *_signature_problems(meta_graph, contract),
        *_xla_problems(meta_graph.graph_def, nodes),
        *_extra_problems(folder, contract),
    ]
    runnable = {name: inputs for name, inputs in contract.requests.items() if name in meta_graph.signature_def}
    try:
        found = _probe(folder, runnable)
        functions = {each.signature.name for each in meta_graph.graph_def.library.function}
        problems += _op_problems(set(ops) - functions, set(found["ops"]))
        for name, answer in found["answers"].items():
            problems += _answer_problems(name, answer, contract)
    except ChildProcessError as error:
        problems.append(str(error))
    return Report(folder, tuple(contract.signatures), tuple(problems), ops)


def _contract(folder: Path) -> Contract:
    """The contract that the export names; that of a causal model if it names none."""
    try:
        description = json.loads((folder / EXTRA_FOLDER / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        return contract_of(description["contract"], description.get("generation"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return contract_of(tasks.DEFAULT)  # `_extra_problems` reports what is wrong with the file


def _version_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist: expected a folder that tfllm.export wrote. Give the path that tfllm.export returned."
        )
    if (folder / "saved_model.pb").is_file():
        return folder
    numbers = versions(folder)
    if not numbers:
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(
            f"{folder} holds {there}: expected a SavedModel, or folders of versions (1, 2, …). Give the path that tfllm.export "
            "returned, or write an export with tfllm.export(model, tokenizer, folder)."
        )
    newest = folder / str(max(numbers))
    if not (newest / "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"{newest} has no saved_model.pb: expected a whole SavedModel. Copy the folder again, or export the model again."
        )
    return newest


def _meta_graph(folder: Path) -> Any:
    path = folder / "saved_model.pb"
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(
            f"{path} is damaged ({error}): expected a SavedModel. Copy the folder again, or export the model again."
        ) from error
    serving = [each for each in saved.meta_graphs if "serve" in each.meta_info_def.tags]
    if not serving:
        raise ValueError(
            f"{path} has no graph with the tag 'serve': expected a SavedModel for serving. Write one with "
            "tfllm.export(model, tokenizer, folder)."
        )
    return serving[0]


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _signature_problems(meta_graph: Any, contract: Contract) -> Iterator[str]:
    for name, wanted in contract.signatures.items():
        if name not in meta_graph.signature_def:
            yield f"signature {name} is missing"
            continue
        found = meta_graph.signature_def[name]
        yield from _field_problems(f"{name}, inputs", found.inputs, wanted.inputs)
        yield from _field_problems(f"{name}, outputs", found.outputs, wanted.outputs)


def _field_problems(where: str, found: Any, wanted: dict[str, Field]) -> Iterator[str]:
    if set(found) != set(wanted):
        yield f"{where}: the names are {', '.join(sorted(found)) or 'missing'}; expected {', '.join(sorted(wanted))}"
    for name in sorted(set(found) & set(wanted)):
        dtype = tf.dtypes.as_dtype(found[name].dtype).name
        shape = tf.TensorShape(found[name].tensor_shape)
        if dtype != wanted[name].dtype:
            yield f"{where}: {name} has dtype {dtype}; expected {wanted[name].dtype}"
        is_input = where.endswith("inputs")
        if shape.rank != len(wanted[name].shape) or (is_input and any(size is not None for size in shape)):
            letters = ", ".join(wanted[name].shape)
            yield f"{where}: {name} has shape {shape}; expected [{letters}]{', each of any size' if is_input else ''}"
    for name in sorted(found):
        if name.endswith("_bytes") and tf.dtypes.as_dtype(found[name].dtype) == tf.string:
            yield f"{where}: {name} is a string whose name ends in _bytes: TensorFlow Serving encodes it in base64. Rename it."


def _xla_problems(graph_def: Any, nodes: list[Any]) -> Iterator[str]:
    compiled = {each.name for each in nodes if each.attr[XLA_ATTRIBUTE].b}
    compiled |= {each.signature.name for each in graph_def.library.function if each.attr[XLA_ATTRIBUTE].b}
    if compiled:
        names = ", ".join(sorted(compiled)[:3])
        yield f"{names}: {XLA_ATTRIBUTE} is set, and TensorFlow Serving has no XLA. Remove jit_compile."


def _op_problems(ops: set[str], registered: set[str]) -> Iterator[str]:
    if python := sorted(ops & _PYTHON_OPS):
        yield f"{', '.join(python)}: the graph calls Python, which a server cannot do"
    if unknown := sorted(ops - registered):
        yield f"{', '.join(unknown)}: neither TensorFlow nor TensorFlow Text registers these ops"


def _extra_problems(folder: Path, contract: Contract) -> Iterator[str]:
    from tfllm.exporting import warm_up

    extra = folder / EXTRA_FOLDER
    try:
        name = json.loads((extra / DESCRIPTION_FILE).read_text(encoding="utf-8"))["contract"]
        if name not in contract_names():
            yield f"{EXTRA_FOLDER}/{DESCRIPTION_FILE}: contract={name!r}; expected one of {', '.join(contract_names())}"
    except FileNotFoundError:
        yield f"{EXTRA_FOLDER}/{DESCRIPTION_FILE} is missing"
    except (KeyError, TypeError):
        yield f"{EXTRA_FOLDER}/{DESCRIPTION_FILE} does not name a contract"
    except ValueError as error:
        yield f"{EXTRA_FOLDER}/{DESCRIPTION_FILE} is not JSON ({error})"
    if not (extra / WARM_UP_FILE).is_file():
        yield f"{EXTRA_FOLDER}/{WARM_UP_FILE} is missing, so the first requests are slow"
        return
    try:
        requests = list(warm_up.read(extra / WARM_UP_FILE))
    except ValueError as error:
        yield str(error)
        return
    for signature, names in dict.fromkeys((signature, tuple(sorted(inputs))) for signature, inputs in requests):
        wanted = contract.signatures[signature].inputs if signature in contract.signatures else {}
        if set(names) != set(wanted):
            where = f"{EXTRA_FOLDER}/{WARM_UP_FILE}: a request to {signature!r}"
            yield f"{where} has the inputs {[*names]}; expected {sorted(wanted)}"
    if missing := sorted(set(contract.signatures) - {each.signature for each in requests}):
        yield f"{EXTRA_FOLDER}/{WARM_UP_FILE}: there is no request to {', '.join(missing)}"


def _probe(folder: Path, requests: dict[str, Any]) -> dict[str, Any]:
    """The output of `probe.py`.

    Raises:
        ChildProcessError: it could not load the export. The message ends with the last lines of its error output.
    """
    command = [sys.executable, "-P", probe.__file__, str(folder.absolute())]
    done = subprocess.run(command, input=json.dumps(requests), capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise ChildProcessError(f"TensorFlow with TensorFlow Text, without other libraries, cannot load the export: {last}")
    return json.loads(done.stdout)


def _answer_problems(name: str, answer: dict[str, Any], contract: Contract) -> Iterator[str]:
    if "" in answer:
        yield f"signature {name} fails: {answer['']}"
        return
    rows = len(next(iter(contract.requests[name].values())))
    for key, (dtype, shape, values) in answer.items():
        wanted = contract.signatures[name].outputs.get(key)
        if wanted and (dtype != wanted.dtype or len(shape) != len(wanted.shape) or shape[0] != rows):
            yield f"signature {name} returned {key} as {dtype} {shape}; expected {wanted.dtype} with {rows} rows"
        if values is None:
            yield f"signature {name} returned {key} with bytes that are not UTF-8"
