"""oneDNN's products with a matrix that never changes: it packs such a matrix once, as the processor reads it soonest.

TensorFlow tells oneDNN so of constants only, but a model in constants is copied with every graph (two gigabytes for 124 MB of
GPT-2 small in 8 bits), and 2 GB are the most a graph's file holds. So the kernels that TensorFlow itself puts in the place of
public ops stand here by name. Their matrix is a variable, and whoever calls them promises that it keeps its value. Every place
in a graph packs the matrix for itself, when it first multiplies. In graphs only, and on x86 processors.
"""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.framework import op_def_library
from tensorflow.python.util._pywrap_util_port import IsMklEnabled  # there is no public way to ask

from tfllm.layers.devices import HAS_AVX512


def packs(dtype: str) -> bool:
    """Has this processor what `packed_matmul` of that dtype takes? Where it has not, TensorFlow ends the process."""
    return dtype == "float32" or (dtype == "bfloat16" and HAS_AVX512)


def packed_matmul(x: tf.Tensor, matrix: tf.Tensor, *, transpose_b: bool = False) -> tf.Tensor:
    """x @ matrix. float32 or bfloat16 (see `packs`) [M, I], [I, O] ([O, I] with `transpose_b`) -> [M, O].

    The form is what the first call's number of rows wants; where another number wants another form, it is packed at each call.
    So it is in float32 with less than 7 rows and more, on the processor that was tried.
    """
    bias = tf.zeros([matrix.shape[0 if transpose_b else 1]], x.dtype)
    fused = dict(fused_ops=["BiasAdd"], epsilon=0.0, leakyrelu_alpha=0.0)
    inputs = dict(a=x, b=matrix, args=[bias])
    layout = dict(transpose_a=False, transpose_b=transpose_b, is_filter_const=True)
    return _apply("_MklNativeFusedMatMul", "MklNameChangeOp", **inputs, **layout, **fused)


def packed_integer_matmul(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """x @ matrix. uint8 [M, I], int8 from -64 to 64 [I, O] -> float32 [M, O].

    Larger ones, up to 127, are multiplied exactly only where the processor has VNNI.
    """
    # With these ranges an integer stands for itself.
    ranges = dict(min_a=0.0, max_a=255.0, min_b=-127.0, max_b=127.0, min_freezed_output=0.0, max_freezed_output=1.0)
    inputs: dict[str, Any] = {name: tf.constant(value) for name, value in ranges.items()}
    inputs |= dict(a=tf.bitcast(x, tf.quint8), b=tf.bitcast(matrix, tf.qint8), bias=tf.zeros(matrix.shape[1:]))
    layout = dict(transpose_a=False, transpose_b=False, is_weight_const=True, is_bias_const=True)
    result = dict(Toutput=tf.float32, input_quant_mode="SCALED")
    return _apply("_MklQuantizedMatMulWithBiasAndDequantize", "QuantizedMklOp", **inputs, **layout, **result)


def _apply(op: str, kernel: str, **given: Any) -> tf.Tensor:
    if tf.executing_eagerly():
        given_up = "leave prepack and quantize out, or run no functions eagerly"
        raise RuntimeError(f"packed products are made in graphs only: {given_up}")
    with tf.compat.v1.get_default_graph()._attr_scope({"_kernel": AttrValue(s=kernel.encode())}):
        return op_def_library.apply_op(op, name="product", **given)


@functools.cache
def hide_integer_notice() -> None:
    """Has TensorFlow say, where nobody hears it, that oneDNN takes no integers.

    It says so once a process, as an error, on whatever processor ("oneDNN supports DT_INT32 only on platforms with AVX-512"),
    when it optimises the first graph with an integer transposition: else between the words of a text that is printed as it
    comes.
    All else that is written to standard error meanwhile is passed on. Nothing is wrong: such an op has another kernel.
    """
    if not IsMklEnabled():
        return
    try:
        heard = os.dup(2)
    except OSError:  # it is closed: nobody hears anything
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            tf.function(tf.transpose, autograph=False)(tf.zeros([2, 3], tf.int32))
        finally:
            os.dup2(heard, 2)
            os.close(heard)
            said.seek(0)
            os.write(2, b"".join(line for line in said if b"oneDNN supports DT_" not in line))
