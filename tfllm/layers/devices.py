"""What the devices of this process compute soonest.

Measured on processors (docs/performance.md); of GPUs and TPUs their makers say so.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

_AMPERE = (8, 0)
"""The compute capability from which NVIDIA's GPUs multiply bfloat16."""
_ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
"""TensorFlow runs oneDNN by itself where the processor has one of them (`DefaultOneDnnPolicy`)."""


class Abilities(NamedTuple):
    """What a processor can do, as far as TensorFlow's products need it."""

    avx512: bool
    """Without it oneDNN has no kernels for bfloat16, and a training step takes longer than in float32."""
    bfloat16: bool
    """Without it oneDNN multiplies bfloat16 in float32."""
    onednn: bool
    """Without it TensorFlow runs oneDNN only where `TF_ENABLE_ONEDNN_OPTS=1` tells it so."""


def abilities(cpu_info: Path = Path("/proc/cpuinfo")) -> Abilities:
    """In Linux's words; nothing where there is no such file."""
    words = set(cpu_info.read_text().split()) if cpu_info.exists() else set()
    avx512 = words >= {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    bfloat16 = avx512 and not words.isdisjoint({"avx512_bf16", "amx_bf16"})
    return Abilities(avx512, bfloat16, onednn=not words.isdisjoint(_ONEDNN))


HAS_AVX512, HAS_BFLOAT16, ONEDNN_BY_DEFAULT = abilities()
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def fastest_dtype() -> str:
    """A model's: "mixed_bfloat16" where all devices in use multiply bfloat16 themselves, else "float32"."""
    if _is_tpu():
        return "mixed_bfloat16"
    if gpus := tf.config.get_visible_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        has_bfloat16 = all(each.get("compute_capability", (0, 0)) >= _AMPERE for each in details)
    else:
        has_bfloat16 = HAS_BFLOAT16
    return "mixed_bfloat16" if has_bfloat16 else "float32"


def is_slow(dtype: str) -> bool:
    """Is that compute dtype slower than float32?"""
    return dtype == "bfloat16" and IS_X86 and not (HAS_AVX512 or has_gpu() or _is_tpu())


def has_gpu() -> bool:
    return bool(tf.config.get_visible_devices("GPU"))


def _is_tpu() -> bool:
    return isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
