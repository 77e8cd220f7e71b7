"""What devices multiply soonest: this processor beside NumPy's own look at it, others as their drivers describe them."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from numpy._core._multiarray_umath import __cpu_features__

from tfllm.layers import devices
from tfllm.train import muon


def test_the_processor_has_what_numpy_finds():
    # Through cpuid, not through Linux.
    assert all(__cpu_features__[f"AVX512{part}"] for part in ("F", "BW", "DQ", "VL")) == devices.HAS_AVX512


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2 fma", set()),
        ("avx2 avx_vnni", {"onednn"}),
        ("avx2 avx512f avx512bw avx512dq avx512vl", {"avx512"}),
        ("avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni", {"avx512", "onednn"}),
        ("avx2 avx512f avx512bw avx512dq avx512vl avx512_bf16", {"avx512", "bfloat16", "onednn"}),
        ("avx2 avx512f avx512bw avx512dq avx512vl amx_tile amx_bf16", {"avx512", "bfloat16", "onednn"}),
        ("asimd bf16", set()),
        (None, set()),
    ],
)
def test_processors(tmp_path, flags, expected):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\n")
    found = devices.abilities(tmp_path / "cpuinfo")
    assert {name for name, has in found._asdict().items() if has} == expected


THREADS = """
import threading, tfllm
threads = [threading.Thread(target=getattr, args=(tfllm, name)) for name in ("load", "generate", "load", "pretrain")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(callable(tfllm.load), callable(tfllm.generate), callable(tfllm.pretrain), end=" ")
"""
ASKED = """
import gc
from tensorflow.python.util import _pywrap_util_port as port
print(port.IsMklEnabled(), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


@pytest.mark.parametrize(
    ("imports", "environ", "onednn", "warned", "frozen"),
    [
        ("", {}, devices.ONEDNN_BY_DEFAULT, False, False),
        (THREADS, {}, True, False, True),
        (
            "import os, tensorflow; del os.environ['TF_ENABLE_ONEDNN_OPTS']; import tfllm; tfllm.models",
            {"TF_ENABLE_ONEDNN_OPTS": "0"},
            *(False, True, False),
        ),
        pytest.param("import tensorflow, tfllm", {"TF_ENABLE_ONEDNN_OPTS": "0"}, False, False, False, marks=pytest.mark.slow),
    ],
)
def test_what_importing_tfllm_first_does(imports, environ, onednn, warned, frozen):
    """TensorFlow runs oneDNN where it is asked in time, and what comes with it is never looked through for garbage."""
    own = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"} | environ
    done = subprocess.run([sys.executable, "-c", f"{imports}\n{ASKED}"], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3 * (imports == THREADS) + [str(onednn), "True", str(frozen)]
    assert ("import tfllm before it" in done.stderr) is warned


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(8, 0), (7, 5)], "float32"),
        ([None], "float32"),
    ],
)
def test_gpus(monkeypatch, gpus, expected):
    details = lambda gpu: {} if gpu is None else {"compute_capability": gpu}  # noqa: E731
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    monkeypatch.setattr(devices, "HAS_AVX512", False)
    assert devices.fastest_dtype() == expected
    assert devices.has_gpu() and not devices.is_slow("bfloat16")


def test_the_processor_alone(monkeypatch):
    monkeypatch.setattr(devices, "HAS_BFLOAT16", True)
    assert devices.fastest_dtype() == "mixed_bfloat16"
    assert muon(1e-3, newton_schulz_dtype="auto").newton_schulz_dtype == "bfloat16"
    monkeypatch.setattr(devices, "HAS_BFLOAT16", False)
    assert devices.fastest_dtype() == "float32"
    assert muon(1e-3, newton_schulz_dtype="auto").newton_schulz_dtype == "float32"
    monkeypatch.setattr(devices, "HAS_AVX512", True)
    assert not devices.is_slow("bfloat16")
    monkeypatch.setattr(devices, "HAS_AVX512", False)
    assert devices.is_slow("bfloat16") is devices.IS_X86 and not devices.is_slow("float32")
