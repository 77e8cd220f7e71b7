"""A small tokenizer of every kind: those that drop spaces and accents, and those that keep them."""

import pytest

from tfllm import tokenizers

CORPUS = [f"Ada Byron wrote the {i}th program in London; who was it, and where? naïve 中文 text" for i in range(50)]
MORE = [
    *CORPUS,
    *['He went to Bonn (Germany), not to "Rome"; the Bonner river is cold.', "서울에 산다. 부산에 산다.", "Eté, été, à Paris"]
    * 9,
]
SIZES = {"unigram": 390, "bpe": 370, "byte_bpe": 370}


@pytest.fixture(scope="session")
def wordpiece():
    return tokenizers.train(texts=CORPUS, kind="wordpiece", vocab_size=110, progress=False)


@pytest.fixture(params=["bytes", "wordpiece"])
def tokenizer(request):
    return tokenizers.ByteTokenizer() if request.param == "bytes" else request.getfixturevalue("wordpiece")


@pytest.fixture(scope="session")
def trained():
    """By kind, on text of several scripts."""
    found = {kind: tokenizers.train(texts=MORE, kind=kind, vocab_size=size, progress=False) for kind, size in SIZES.items()}
    wordpiece = tokenizers.train(texts=MORE, kind="wordpiece", vocab_size=160, progress=False)
    return found | {"wordpiece": wordpiece, "bytes": tokenizers.ByteTokenizer()}


@pytest.fixture(params=["bytes", "wordpiece", *SIZES])
def any_tokenizer(request, trained):
    return trained[request.param]
