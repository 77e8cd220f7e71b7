"""The store that all runs here learn from."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfllm
from tfllm.tokenizers import ByteTokenizer


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    texts = folder / "texts.txt"
    texts.write_text(
        "\n\n".join(f"The {i}th sheep went over the {i * 7 % 13}th fence. It was not the last." for i in range(400))
    )
    tfllm.data.prepare(
        [texts], ByteTokenizer(), folder / "store", separator="\n\n", validation=0.1, progress=False, processes=1
    )
    return folder / "store"
