"""A small WordPiece tokenizer beside the bytes: one that drops spaces, one that keeps them."""

import pytest

from tfllm import tokenizers

CORPUS = [f"Ada Byron wrote the {i}th program in London; who was it, and where? naïve 中文 text" for i in range(50)]


@pytest.fixture(scope="session")
def wordpiece():
    return tokenizers.train(texts=CORPUS, kind="wordpiece", vocab_size=110, progress=False)


@pytest.fixture(params=["bytes", "wordpiece"])
def tokenizer(request):
    return tokenizers.ByteTokenizer() if request.param == "bytes" else request.getfixturevalue("wordpiece")
