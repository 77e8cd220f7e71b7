"""Writes `tests/golden/torch-*.bin`: the same tensors as PyTorch saves them, in the zip form and the one before it.

python tests/interop/torch_bins.py
"""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"
FORMS = {"torch-zip.bin": True, "torch-legacy.bin": False}


def record(folder: Path) -> None:
    """Every kind of tensor a checkpoint may hold; values are counted, so a test knows them."""
    import torch

    table = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8
    tensors = {
        "float32": table,
        "float16": table.half(),
        "bfloat16": table.bfloat16(),
        "float64": table.double(),
        "int64": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "view": table[1:, 2:],
        "transposed": table.T,
        "parameter": torch.nn.Parameter(table + 1),
        "number": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
    }
    linear = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(linear.weight, 0.5)
    torch.nn.init.zeros_(linear.bias)
    state = linear.state_dict(prefix="linear.")  # an OrderedDict with attributes
    state.update(tensors)
    for name, zipped in FORMS.items():
        torch.save(state, folder / name, _use_new_zipfile_serialization=zipped)


if __name__ == "__main__":
    record(GOLDEN)
