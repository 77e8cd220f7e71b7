"""`pytorch_model.bin` without PyTorch: every tensor, and nothing that the file would rather have run."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from torch_bins import FORMS, GOLDEN

from tfllm.interop.torch_files import RefusedError, read_torch

TABLE = (np.arange(12) / 8).reshape(3, 4).astype(np.float32)
EXPECTED = {
    "float32": TABLE,
    "float16": TABLE,
    "bfloat16": TABLE,
    "float64": TABLE,
    "int64": np.arange(5),
    "bool": np.array([True, False]),
    "view": TABLE[1:, 2:],
    "transposed": TABLE.T,
    "parameter": TABLE + 1,
    "number": np.float32(3.5),
    "empty": np.zeros([0, 3], np.float32),
    "linear.weight": np.full([1, 2], 0.5, np.float32),
    "linear.bias": np.zeros(1, np.float32),
}


def zipped(path, pickled: bytes, storages: dict[str, bytes] | None = None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def legacy(path, pickled: bytes):
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, machine)]
    path.write_bytes(b"".join((*head, pickled, pickle.dumps([], 2))))
    return path


def a_view(size: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, count: int = 4) -> bytes:
    """{"a": a tensor of this size and stride over `count` float32}, as a pickle."""

    out = io.BytesIO()
    pickler = pickle._Pickler(out, 2)  # the one in Python, whose opcodes can be written by hand
    pickler.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
    pickler.save("a")
    pickler.write(pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n" + pickle.MARK)
    pickler.write(pickle.MARK)
    pickler.save("storage")
    pickler.write(pickle.GLOBAL + b"torch\nFloatStorage\n")
    pickler.save("0")
    pickler.save("cpu")
    pickler.save(count)
    pickler.write(pickle.TUPLE + pickle.BINPERSID)
    for value in (offset, size, stride, False, ()):
        pickler.save(value)
    pickler.write(pickle.TUPLE + pickle.REDUCE + pickle.SETITEM + pickle.STOP)
    return out.getvalue()


@pytest.mark.parametrize("name", FORMS)
def test_every_kind_of_tensor_is_read(name):
    found = read_torch(GOLDEN / name)
    assert found.keys() == EXPECTED.keys()
    for key, value in EXPECTED.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key, strict=True)


class Runs:
    """Pickled, it is an order to run a command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("form", [zipped, legacy])
def test_a_pickle_that_would_run_a_command_is_refused_and_nothing_runs(tmp_path, form):
    trace = tmp_path / "was run"
    pickled = pickle.dumps({"weight": Runs(f"touch '{trace}'")}, 2)
    pickle.loads(pickled)
    assert trace.exists(), "the pickle is harmless, so the test shows nothing"
    trace.unlink()
    with pytest.raises(RefusedError, match=r"asks for posix\.system.*nothing was run"):
        read_torch(form(tmp_path / "pytorch_model.bin", pickled))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["builtins eval", "builtins getattr", "torch._utils _rebuild_tensor_v3", "functools partial"])
def test_any_other_name_is_refused(tmp_path, name):
    pickled = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n."
    with pytest.raises(RefusedError, match=name.replace(" ", r"\.")):
        read_torch(zipped(tmp_path / "a.bin", pickled))


def test_what_the_unpickler_knows_cannot_be_changed_by_a_file(tmp_path):
    """BUILD sets attributes: on a function it could give another default, on a class another method."""
    state = pickle.dumps((None, {"anything": 1}), 2)[2:-1]
    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b"b."
    with pytest.raises(ValueError, match="damaged"):
        read_torch(zipped(tmp_path / "a.bin", pickled))


def test_a_view_within_its_storage_is_read(tmp_path):
    path = zipped(tmp_path / "a.bin", a_view((2, 2), (2, 1)), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    np.testing.assert_array_equal(read_torch(path)["a"], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "view",
    [
        dict(size=(5,), stride=(1,)),
        dict(size=(2, 2), stride=(3, 1)),
        dict(size=(2,), stride=(1,), offset=3),
        dict(size=(2,), stride=(-1,), offset=1),
        dict(size=(1 << 40,), stride=(0,)),
        dict(size=(2, 2), stride=(1,)),
        dict(size=(-1,), stride=(1,)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, view):
    path = zipped(tmp_path / "a.bin", a_view(**view), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    with pytest.raises(RefusedError, match="tensor of size"):
        read_torch(path)


def test_a_storage_shorter_than_it_says_is_damage(tmp_path):
    path = zipped(tmp_path / "a.bin", a_view((4,), (1,)), {"0": struct.pack("<3f", 1, 2, 3)})
    with pytest.raises(ValueError, match="12 bytes for 4 numbers"):
        read_torch(path)


@pytest.mark.parametrize("value", [[1, 2], {"state_dict": {}}, {"step": 3}, {1: 2}])
def test_what_is_no_dict_of_tensors_is_refused(tmp_path, value):
    with pytest.raises(RefusedError, match="expected a"):
        read_torch(zipped(tmp_path / "a.bin", pickle.dumps(value, 2)))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 0.99])
def test_a_file_cut_short_is_damage(tmp_path, name, share):
    whole = (GOLDEN / name).read_bytes()
    (tmp_path / "a.bin").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="damaged"):
        read_torch(tmp_path / "a.bin")
