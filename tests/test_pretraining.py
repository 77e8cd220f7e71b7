"""What `tfllm.pretrain` refuses, before the run has a folder. That it trains: tests/distributed, end_to_end and the recipes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tfllm
from tfllm import pretraining
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
        ({"epochs": 0}, "epochs=0 is invalid: expected at least 1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0 is invalid: expected at least 1"),
        ({"sequence_length": 0}, "sequence_length=0 is invalid: expected at least 1"),
        (
            {"epochs": 2, "steps_per_epoch": 5, "warmup_steps": 10},
            r"is invalid: expected 0 to 9, because the run has 10 steps \(epochs=2 of steps",
        ),
        ({"pairs": "nsp"}, "pairs='nsp' is invalid: expected 'none' for a decoder, because pairs are for encoders"),
        ({"mask_rate": 0.2}, "mask_rate=0.2 is invalid: expected no mask_rate for a decoder"),
        ({"mask_unit": "word"}, "mask_unit='word' is invalid: expected no mask_unit for a decoder"),
        (
            {"optimizer": "lion", "epsilon": 1e-6},
            "epsilon=1e-06 is invalid: expected no epsilon with optimizer='lion', because it is for adamw and muon",
        ),
        ({"momentum": 0.9}, "momentum=0.9 is invalid: expected no momentum with optimizer='adamw', because it is for muon"),
        ({"beta_2": 1.0}, "beta_2"),
        ({"clip_norm": 0.0}, "clip_norm"),
        (
            {"schedule": "constant", "final_fraction": 0.1},
            "final_fraction=0.1 is invalid: a constant schedule has no decay. Leave it out",
        ),
        ({"decay_steps": 5}, "decay_steps=5 is invalid with shape='cosine': only 'wsd' has it"),
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


def test_the_optimizer_is_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting reaches it; those left out are the optimizer's own."""
    asked: list[tuple[Any, dict]] = []
    model = SimpleNamespace(causal=False, compile=lambda optimizer, **options: asked.append((optimizer, options)))
    steps = dict(epochs=1, steps_per_epoch=10)
    betas = dict(beta_1=0.8, beta_2=0.9, weight_decay=0.3, clip_norm=None)
    shape = dict(learning_rate=2.0, schedule="wsd", warmup_steps=2, decay_steps=4, final_fraction=0.5)
    for settings in (
        tfllm.Pretraining(optimizer="muon", epsilon=1e-5, momentum=0.7, **betas, **shape, **steps),
        tfllm.Pretraining(optimizer="lion", **betas, **steps),
        tfllm.Pretraining(**steps),
    ):
        pretraining._compile(model, ByteTokenizer(), settings)
    muon, lion, adamw = (optimizer.get_config() for optimizer, _ in asked)
    for name, value in (betas | dict(epsilon=1e-5, momentum=0.7)).items():
        assert muon[name] == value
    assert (lion["beta_1"], lion["beta_2"], lion["clip_norm"]) == (0.8, 0.9, None)
    own = tfllm.train.adamw(1e-3).get_config()
    for name in ("beta_1", "beta_2", "epsilon", "clip_norm", "weight_decay"):
        assert adamw[name] == own[name]
    rates = asked[0][0]._learning_rate
    assert [float(rates(step)) for step in (0, 1, 5, 6, 10)] == [1.0, 2.0, 2.0, 2.0, 1.0]  # schedules.py, by hand
