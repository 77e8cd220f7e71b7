"""`check`: an export passes; each way of breaking the contract is named."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.exporting import checking
from tfllm.exporting.contract import contract_names, contract_of


def test_an_export_passes(greedy):
    """Given the folder of versions, the newest is taken."""
    report = tfllm.check(greedy.folder.parent)
    assert report.ok and report.problems == (), str(report)
    assert report.folder == greedy.folder
    assert {"While", "SentencepieceTokenizeOp", "TensorStridedSliceUpdate"} <= set(report.ops)
    assert "5 signatures run" in str(report)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A SavedModel with nearly every fault: names, dtypes, shapes, XLA, Python in the graph, no files beside."""

    @tf.function(jit_compile=True)
    def doubled(length):
        return length * 2

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="prompt")])
    def serving_default(prompt):
        upper = tf.numpy_function(lambda texts: np.char.upper(texts.astype(bytes)).astype(object), [prompt], tf.string)
        return {"text": upper, "length": doubled(tf.strings.length(prompt)), "raw_bytes": prompt}

    @tf.function(input_signature=[tf.TensorSpec([3], tf.string, name="text")])
    def tokenize(text):
        return {"token_ids": tf.strings.length(text)[:, None], "num_tokens": tf.ones_like(text, tf.int64)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name="token_ids"),
            tf.TensorSpec([None], tf.int32, name="num_tokens"),
        ]
    )
    def detokenize(token_ids, num_tokens):
        return {"text": tf.fill([tf.size(num_tokens)], b"\xff")}

    folder = tmp_path_factory.mktemp("broken") / "7"
    signatures = {"serving_default": serving_default, "tokenize": tokenize, "detokenize": detokenize}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder


def test_each_fault_is_named(broken):
    report = tfllm.check(broken)
    assert not report.ok and "breaks the serving contract" in str(report)
    for part in (
        "signature generate is missing",
        "signature score is missing",
        "serving_default, outputs: the names are length, raw_bytes, text; expected text",
        "raw_bytes is a string whose name ends in _bytes",
        "tokenize, inputs: text has shape (3,); expected [B], each of any size",
        "tokenize, outputs: num_tokens has dtype int64; expected int32",
        "_XlaMustCompile is set",
        "PyFunc: the graph calls Python",
        "assets.extra/tfllm.json is missing",
        "assets.extra/tf_serving_warmup_requests is missing",
        "signature serving_default fails",
        "signature detokenize returned text with bytes that are not UTF-8",
    ):
        assert part in str(report), str(report)


def test_unknown_ops_are_named():
    assert list(checking._op_problems({"Add", "MyOp"}, {"Add"})) == [
        "MyOp: neither TensorFlow nor TensorFlow Text registers these ops"
    ]


@pytest.fixture
def unrun(monkeypatch):
    """`check` without its process."""
    answer = {"ops": [], "answers": {}}
    monkeypatch.setattr(checking, "_probe", lambda *_: answer)
    monkeypatch.setattr(checking, "_op_problems", lambda *_: [])


@pytest.fixture
def copy(greedy, tmp_path):
    return shutil.copytree(greedy.folder, tmp_path / "exports" / "1")


def test_a_sampling_bfloat16_export_passes(unrun, sampling):
    """All but the run, which tests of its signatures make anyway."""
    report = tfllm.check(sampling.folder)
    assert report.ok, str(report)


def test_files_beside_are_read(unrun, copy):
    assert tfllm.check(copy).ok
    warm_up = copy / "assets.extra" / "tf_serving_warmup_requests"
    warm_up.write_bytes(warm_up.read_bytes()[:-5])
    (copy / "assets.extra" / "tfllm.json").write_text("{")
    first, second = tfllm.check(copy).problems
    assert "tfllm.json is not JSON" in first and "expected a TFRecord file of warm-up requests" in second


def test_a_warm_up_that_asks_too_little_or_wrongly(unrun, copy):
    from tfllm.exporting import warm_up

    path = copy / "assets.extra" / "tf_serving_warmup_requests"
    with_two = {"serving_default": {"prompt": ["a"]}, "generate": {"prompt": ["a"]}}
    warm_up.write(path, contract_of("causal_lm")._replace(requests=with_two))
    wrong, silent = tfllm.check(copy).problems
    assert "a request to 'generate' has the inputs ['prompt']; expected ['frequency_penalty'," in wrong
    assert "there is no request to detokenize, score, tokenize" in silent


def test_what_is_no_export_is_an_error(tmp_path, copy):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: expected a folder that tfllm\.export wrote"):
        tfllm.check(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(
        FileNotFoundError, match=r"empty holds notes.txt: expected a SavedModel, or folders of versions \(1, 2, …\)"
    ):
        tfllm.check(tmp_path / "empty")
    (copy.parent / "12").mkdir()
    with pytest.raises(FileNotFoundError, match=r"12 has no saved_model\.pb"):
        tfllm.check(copy.parent)
    (copy / "saved_model.pb").write_bytes(b"\xff" * 9)
    with pytest.raises(ValueError, match=r"saved_model.pb is damaged"):
        tfllm.check(copy)


def test_an_export_that_cannot_be_loaded(copy, tmp_path, monkeypatch):
    """The last words of the process that loads it are the problem."""
    script = tmp_path / "probe.py"
    script.write_text("import sys; print(sys.argv[1]); raise SystemExit('variables not found')")
    monkeypatch.setattr(checking.probe, "__file__", str(script))
    [problem] = tfllm.check(copy).problems
    assert problem == "TensorFlow with TensorFlow Text, without other libraries, cannot load the export: variables not found"


@pytest.mark.parametrize("name", contract_names())
def test_a_contract_has_a_request_for_every_signature(name):
    signatures, requests = contract_of(name)
    assert {name: set(fields) for name, fields in requests.items()} == {n: set(s.inputs) for n, s in signatures.items()}


def test_an_export_has_the_settings_that_there_were_when_it_was_written():
    """Its generation config names them: one that came later is no input of it, and not in the request that `check` runs."""
    generation = tfllm.GenerationConfig().to_dict()
    assert contract_of("causal_lm", generation) == contract_of("causal_lm")
    del generation["min_p"]
    signatures, requests = contract_of("causal_lm", generation)
    assert set(contract_of("causal_lm").signatures["generate"].inputs) - set(signatures["generate"].inputs) == {"min_p"}
    assert set(requests["generate"]) == set(signatures["generate"].inputs)
