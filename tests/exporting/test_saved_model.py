"""The folder an export leaves: versions, all or nothing, the files beside; and what cannot be exported."""

import dataclasses
import json
import os

import pytest
import tensorflow as tf

import tfllm
from tfllm.exporting import saved_model, warm_up
from tfllm.exporting.contract import contract_of
from tfllm.generation import GenerationConfig
from tfllm.tokenizers import ByteTokenizer

SIGNATURES, REQUESTS = contract_of("causal_lm")

# PredictionLog(predict_log=PredictLog(request=PredictRequest(model_spec=ModelSpec(signature_name="score"), inputs={"text":
# make_tensor_proto(["", "é"])}))), as written by tensorflow-serving-api 2.21.0.
WRITTEN_BY_THE_API = "32230a210a071a0573636f726512160a0474657874120e080712041202080242004202c3a9"


@pytest.fixture
def stub(monkeypatch):
    """`export` with its slow part replaced: a version folder holds one file."""

    def write(model, tokenizer, config, folder, draft_model, quantize, prepack):
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"")

    monkeypatch.setattr(saved_model, "_write", write)


@pytest.fixture(scope="module")
def model():
    return tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=ByteTokenizer.vocab_size, num_layers=1))


def test_folder_holds_what_a_server_wants(greedy):
    assert greedy.folder.name == "1"
    names = {entry.name for entry in greedy.folder.iterdir()}
    assert names == {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
    assert [entry.name for entry in greedy.folder.parent.iterdir()] == ["1"]


def test_description_says_what_it_was_made_from(greedy):
    said = json.loads((greedy.folder / "assets.extra" / "tfllm.json").read_text())
    assert said["tfllm"] == tfllm.__version__
    assert said["model"] == greedy.model.config.to_dict()
    assert said["tokenizer"]["fingerprint"] == greedy.tokenizer.fingerprint()
    assert GenerationConfig.from_dict(said["generation"]) == greedy.config


def test_warm_up_asks_every_signature(greedy):
    requests = list(warm_up.read(greedy.folder / "assets.extra" / "tf_serving_warmup_requests"))
    assert (
        [request.signature for request in requests[::2]]
        == [request.signature for request in requests[1::2]]
        == list(SIGNATURES)
    )
    assert {len(value) for request in requests[::2] for value in request.inputs.values()} == {1}
    for signature, inputs in requests[1::2]:
        assert {name: value.dtype.name for name, value in inputs.items()} == {
            name: field.dtype.replace("string", "object") for name, field in SIGNATURES[signature].inputs.items()
        }
        assert {name: len(value) for name, value in inputs.items()} == {n: len(v) for n, v in REQUESTS[signature].items()}


def test_warm_up_is_what_the_serving_api_writes(tmp_path):
    warm_up.write(tmp_path / "requests", contract_of("causal_lm")._replace(requests={"score": {"text": ["", "é"]}}))
    _, both = tf.data.TFRecordDataset(str(tmp_path / "requests")).as_numpy_iterator()
    assert both.hex() == WRITTEN_BY_THE_API


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:12] + b"\xff" + b[13:], lambda b: b"nonsense" * 9])
def test_damaged_warm_up_is_an_error(tmp_path, damage):
    path = tmp_path / "requests"
    warm_up.write(path, contract_of("causal_lm"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"is damaged .*: expected a TFRecord file of warm-up requests"):
        list(warm_up.read(path))


def test_versions_count_up_past_gaps_and_other_folders(stub, model, tmp_path):
    for name in ("2", "9", "notes", "10.old"):
        (tmp_path / name).mkdir()
    assert [tfllm.export(model, ByteTokenizer(), tmp_path).name for _ in range(2)] == ["10", "11"]


def test_a_number_taken_meanwhile_is_passed_over(stub, model, tmp_path, monkeypatch):
    """Two exports at once: the other renames to 1 between this one's look and its rename."""
    looks = iter([[], [1]])
    monkeypatch.setattr(saved_model, "versions", lambda folder: next(looks))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    assert tfllm.export(model, ByteTokenizer(), tmp_path).name == "2"


def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    monkeypatch.setattr(saved_model, "build", lambda *_: {})
    with pytest.raises(OSError, match="disk full"):
        tfllm.export(model, ByteTokenizer(), tmp_path / "name")
    assert list((tmp_path / "name").iterdir()) == []


def test_what_a_killed_export_left_is_not_in_the_way(stub, model, tmp_path):
    left = tmp_path / f".version.{os.getpid()}.partial" / "assets.extra"
    left.mkdir(parents=True)
    assert tfllm.export(model, ByteTokenizer(), tmp_path) == tmp_path / "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_refuses_what_a_row_cannot_say(model, tmp_path):
    with pytest.raises(ValueError, match="num_sequences=2 is invalid: expected 1"):
        tfllm.export(model, ByteTokenizer(), tmp_path, num_sequences=2, temperature=1.0)
    other = tfllm.CausalLM(dataclasses.replace(model.config, vocab_size=300))
    with pytest.raises(ValueError, match="the tokenizer has 259 ids, the model's vocabulary 300"):
        tfllm.export(other, ByteTokenizer(), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        tfllm.export(model, ByteTokenizer(), tmp_path / "file")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(FileExistsError, match=r"/1 is one version of an export: .* Give .*[^1]\.$"):
        tfllm.export(model, ByteTokenizer(), tmp_path / "1")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["1", "file", "saved_model.pb"]
