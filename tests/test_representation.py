"""What a notebook prints of configs, data, stores and runs: one short line each."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfllm
from tfllm.config import ModelConfig, RopeScaling
from tfllm.representation import names_line
from tfllm.tokenizers import ByteTokenizer


def test_configs_say_what_is_set() -> None:
    config = tfllm.preset("llama-mini", vocab_size=259)
    line = (
        "ModelConfig(vocab_size=259, max_length=256, num_layers=4, hidden_size=256, num_heads=4, ffn_size=768, norm='rms', "
        "positions='rotary', activation='silu', gated_ffn=True, qkv_bias=False, attention_output_bias=False, ffn_bias=False, "
        "qk_norm=True)"
    )
    assert repr(config) == str(config) == line
    assert repr(tfllm.Pretraining(epochs=20, batch_size=16, seed=3)) == "Pretraining(epochs=20, seed=3)"
    assert repr(tfllm.Finetuning(best="f1")) == "Finetuning(best='f1')"
    assert repr(tfllm.GenerationConfig()) == "GenerationConfig()"
    said = repr(tfllm.GenerationConfig(max_new_tokens=5, choices=(" yes", " no")))
    assert said == "GenerationConfig(max_new_tokens=5, choices=(' yes', ' no'))"


@pytest.mark.parametrize("name", tfllm.preset_names())
def test_a_line_makes_its_config_again(name: str) -> None:
    config = tfllm.preset(name)
    assert eval(repr(config), {"ModelConfig": ModelConfig, "RopeScaling": RopeScaling}) == config


def test_labelled_data(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("text,label\n" + "".join(f"text {place},{'abcdefg'[place % 7]}\n" for place in range(9)))
    rows = tfllm.data.text_classification(tmp_path / "some.csv", ByteTokenizer(), max_length=32)
    line = "Labelled(text_classifier, 9 rows of 9 records, max_length=32, 7 labels: a, b, c, d, e, …)"
    assert repr(rows) == line
    (tmp_path / "some.conll").write_text("Ada B-PER\nwon O\n\nBonn B-LOC\n")
    tagged = tfllm.data.tagging(tmp_path / "some.conll", ByteTokenizer(), max_length=32)
    assert repr(tagged) == f"Tagged(token_classifier, 2 rows of 2 records, max_length=32, {names_of(tagged.labels)})"
    asked = {"question": "Who?", "context": "It was Ada. " * 5, "answers": {"text": ["Ada"], "answer_start": [7]}, "id": "1"}
    questions = tfllm.data.question_answering([asked], ByteTokenizer(), max_length=32, stride=4)
    assert repr(questions) == f"Questions(question_answerer, {len(questions)} rows of 1 records, max_length=32)"


def names_of(labels: tuple[str, ...]) -> str:
    return f"{len(labels)} labels: {', '.join(labels)}"


def test_names() -> None:
    assert names_line("abc") == "a, b, c" and names_line("abcde") == "a, b, c, d, e"
    assert names_line("abcdef") == "a, b, c, d, e, …"


def test_stores_and_runs(tmp_path: Path) -> None:
    shards = [{"length": 10}, {"length": 7}]
    manifest = {
        "splits": {"train": {"documents": 3, "shards": shards}, "validation": {"documents": 1, "shards": [{"length": 4}]}}
    }
    assert (
        repr(tfllm.data.Store(Path("runs/s"), manifest)) == "Store('runs/s', train 3 documents, validation 1 documents, 21 ids)"
    )
    tiny = {"hidden_size": 8, "num_heads": 1, "num_layers": 1, "num_kv_heads": 1, "ffn_size": 8}
    model = tfllm.CausalLM(tfllm.preset("llama-mini", vocab_size=259, **tiny))
    model.compile(tfllm.train.adamw(1e-3))
    run = tfllm.train.Run(tmp_path / "r", model, tokenizer=ByteTokenizer(), steps_per_epoch=2, best="val_loss")
    assert repr(run) == f"Run('{tmp_path}/r', CausalLM, epoch 0, step 0, best='val_loss')"
