"""Warm-up requests: TensorFlow Serving runs them before it reports a model as ready.

In: a contract. Out: a TFRecord file of `PredictionLog` messages. Source:
tensorflow_serving/apis/{prediction_log,predict,model}.proto. The message types are defined here, with the used fields only and
`TensorProto` as bytes, so the package tensorflow-serving-api is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from tfllm.exporting.contract import Contract

_PACKAGE = "tfllm.serving"
# message -> (field, number, type or message); the numbers are those of the .proto files.
_MESSAGES = {
    "ModelSpec": [("signature_name", 3, "string")],
    "Input": [("key", 1, "string"), ("value", 2, "bytes")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Input")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}
_REPEATED = {"inputs"}


class Request(NamedTuple):
    """One request: the name of a signature, and its inputs."""

    signature: str
    inputs: dict[str, np.ndarray]


@cache
def _prediction_log() -> Any:
    """The message class `PredictionLog`."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tfllm_serving.proto", package=_PACKAGE, syntax="proto3")
    scalars = {"string": kind.TYPE_STRING, "bytes": kind.TYPE_BYTES}
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, of in fields:
            label = kind.LABEL_REPEATED if name in _REPEATED else kind.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label, type=scalars.get(of, kind.TYPE_MESSAGE))
            if of not in scalars:
                field.type_name = f".{_PACKAGE}.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


def write(path: Path, contract: Contract) -> None:
    """Writes each request, before it a request with the first row only: for one text the graph may have a branch of its own."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in contract.requests.items():
            for rows in (1, None):
                log = _prediction_log()()
                request = log.predict_log.request
                request.model_spec.signature_name = signature
                for name, values in inputs.items():
                    tensor = tf.make_tensor_proto(values[:rows], contract.signatures[signature].inputs[name].dtype)
                    request.inputs.add(key=name, value=tensor.SerializeToString(deterministic=True))
                writer.write(log.SerializeToString(deterministic=True))


def read(path: Path) -> Iterator[Request]:
    """The requests of a file that `write` wrote.

    Raises:
        ValueError: the file is damaged, or holds other records.
    """
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = _prediction_log().FromString(record).predict_log.request
            values = {each.key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(each.value)) for each in request.inputs}
            yield Request(request.model_spec.signature_name, values)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}): expected a TFRecord file of warm-up requests. Export the model again."
        ) from error
