"""The text the tokenizer tests read, and three small tokenizers trained on it, once a session."""

from __future__ import annotations

import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from fetch import fetch

import tfllm.tokenizers as tokenizers

DJANGO = ("Django", "5.2.7", "59a13a6515f787dec9d97a0438cd2efac78c8aca1c80025244b0fe507fe0754b")


@pytest.fixture(scope="session")
def code() -> Sequence[str]:
    """Files of the running Python's standard library, those that are UTF-8."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(root.rglob("*.py")) if not {"site-packages", "dist-packages"} & set(path.parts)]
    texts = []
    for path in files:
        try:
            texts.append(path.read_bytes().decode())
        except UnicodeDecodeError:
            continue
    return texts


@pytest.fixture(scope="session")
def languages() -> dict[str, str]:
    """Django's own messages in about a hundred languages: language -> the whole translation file."""
    texts: dict[str, str] = {}
    with zipfile.ZipFile(fetch(*DJANGO)) as wheel:
        for name in wheel.namelist():
            if name.startswith("django/conf/locale/") and name.endswith("/django.po"):
                texts[name.split("/")[3]] = wheel.read(name).decode()
    return texts


@pytest.fixture(scope="session")
def unigram(code: Sequence[str]) -> tokenizers.Tokenizer:
    return tokenizers.train(texts=code, vocab_size=3000, max_bytes=1 << 19, progress=False)


@pytest.fixture(scope="session")
def bpe(code: Sequence[str]) -> tokenizers.Tokenizer:
    return tokenizers.train(texts=code, kind="bpe", vocab_size=2048, max_bytes=1 << 19, line_break_pieces=True, progress=False)


@pytest.fixture(params=["bytes", "unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    if request.param == "bytes":
        return tokenizers.ByteTokenizer()
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def bulk_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts, too, go the way of many, and all text goes word by word."""
    monkeypatch.setattr("tfllm.tokenizers.word_cache.FEW", -1)
    monkeypatch.setattr("tfllm.tokenizers.word_cache.NEW_SHARE", 1)
