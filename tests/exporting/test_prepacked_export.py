"""Exports whose matrices the server packs for its processor: the same texts, run by TensorFlow alone."""

import json
from collections import Counter

import pytest
import tensorflow as tf
from c_program import serve
from encoders import strong
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import tfllm
from tfllm.exporting.contract import DESCRIPTION_FILE, EXTRA_FOLDER
from tfllm.tokenizers import ByteTokenizer

PROMPTS = ["def f", "return", "naïve 中文", ""]
PACKED = "_MklNativeFusedMatMul"


@pytest.fixture(scope="module")
def folder(greedy, tmp_path_factory):
    place = tmp_path_factory.mktemp("exports") / "prepacked"
    return tfllm.export(greedy.model, greedy.tokenizer, place, greedy.config, prepack=True)


def test_it_says_what_the_model_says(folder, served):
    packed = tf.saved_model.load(str(folder)).signatures
    for prompts in (PROMPTS, PROMPTS[:1], PROMPTS * 9):  # few rows, one, many
        expected, found = (each["serving_default"](prompt=tf.constant(prompts))["text"] for each in (served, packed))
        assert found.numpy().tolist() == expected.numpy().tolist()


def test_only_what_is_multiplied_again_and_again_is_packed(greedy, folder):
    graph = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    ops = Counter(node.op for function in graph.library.function for node in function.node_def)
    # Four maps a block and the vocabulary, in the one loop of both functions: not where prompts are read or scored.
    assert ops[PACKED] == 4 * greedy.model.config.num_layers + 1


def test_its_files_hold_no_weight_twice(greedy, folder):
    def size(version):
        return sum(path.stat().st_size for path in (version / "variables").iterdir())

    assert size(folder) == size(greedy.folder)


@pytest.mark.slow
def test_the_contract_is_kept_and_says_so(folder):
    report = tfllm.check(folder)
    assert report.ok, str(report)
    described = json.loads((folder / EXTRA_FOLDER / DESCRIPTION_FILE).read_text())
    assert described["prepack"] is True and described["quantize"] is None


@pytest.mark.slow
def test_a_c_program_says_the_same(program, folder, served):
    found = serve(program, folder, {"prompt": PROMPTS}, "text")
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    text = served["serving_default"](prompt=tf.constant(PROMPTS))["text"].numpy()
    assert found.stdout == b"".join(b"%d\n%s" % (len(each), each) for each in text)


def test_what_cannot_be_packed_leaves_nothing_behind(tmp_path):
    config = tfllm.preset("llama-tiny", vocab_size=ByteTokenizer.vocab_size, num_layers=1)
    half, whole = (tfllm.CausalLM(config, dtype=dtype) for dtype in ("mixed_float16", "float32"))
    for model, more in ((half, {}), (whole, {"draft_model": half, "num_draft_tokens": 2})):
        with pytest.raises(
            ValueError, match="prepack=True is invalid: expected False, for the model has dtype='mixed_float16'"
        ):
            tfllm.export(model, ByteTokenizer(), tmp_path / "m", prepack=True, **more)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_has_no_loop_to_pack_for(tmp_path):
    with pytest.raises(ValueError, match="prepack=True is invalid: expected False, for TextClassifier does not generate"):
        tfllm.export(strong("text_classifier", ByteTokenizer()), ByteTokenizer(), tmp_path / "m", prepack=True)
    assert list(tmp_path.iterdir()) == []
