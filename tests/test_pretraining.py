"""What `tfllm.pretrain` refuses, before the run has a folder. That it trains: tests/distributed, end_to_end and the recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfllm
from tfllm.tokenizers import ByteTokenizer

DECODER = tfllm.preset("llama-tiny", vocab_size=ByteTokenizer().vocab_size)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tfllm.data.Store:
    folder = tmp_path_factory.mktemp("pretraining")
    (folder / "texts.txt").write_text("\n".join(map(str, range(100))))
    return tfllm.data.prepare(folder, ByteTokenizer(), folder / "store", separator="\n", validation=0.1, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"pairs": "next"}, "pairs='next' is for encoders: the config is a decoder's"),
        ({"mask_share": 0.2}, "mask_share=0.2 is for encoders"),
        ({"mask_unit": "word"}, "mask_unit='word' is for encoders"),
    ],
)
def test_settings_are_refused(store: tfllm.data.Store, tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfllm.pretrain(store, ByteTokenizer(), config=DECODER, folder=tmp_path / "run", settings=tfllm.Pretraining(**settings))
    assert not (tmp_path / "run").exists()


def test_another_tokenizer_of_as_many_entries_is_refused(store: tfllm.data.Store, tmp_path: Path) -> None:
    other = tfllm.tokenizers.train(texts=["ab ab ab"] * 9, kind="byte_bpe", vocab_size=DECODER.vocab_size, progress=False)
    assert other.vocab_size == ByteTokenizer().vocab_size
    with pytest.raises(tfllm.data.StoreError, match="was prepared with another tokenizer: bytes with 2"):
        tfllm.pretrain(store, other, config=DECODER, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
