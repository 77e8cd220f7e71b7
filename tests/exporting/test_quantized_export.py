"""Exports of 8 bits: smaller, near to what the model says, and run by TensorFlow alone."""

import json

import numpy as np
import pytest
import tensorflow as tf
from c_program import serve
from encoders import strong

import tfllm
from tfllm.exporting.contract import DESCRIPTION_FILE, EXTRA_FOLDER
from tfllm.tokenizers import ByteTokenizer

TEXTS = ["def f7(self, other):\n    return self.value7 + other[7]", "naïve 中文", ""]


@pytest.fixture(scope="module")
def folder(greedy, tmp_path_factory):
    place = tmp_path_factory.mktemp("exports") / "int8"
    return tfllm.export(greedy.model, greedy.tokenizer, place, greedy.config, quantize="int8")


def test_it_says_nearly_what_the_model_says(greedy, folder, served):
    small = tf.saved_model.load(str(folder)).signatures
    exact, rough = (each["score"](text=tf.constant(TEXTS))["log_prob"].numpy() for each in (served, small))
    np.testing.assert_allclose(rough, exact, rtol=0.02)
    assert (rough != exact).all()


def test_kernels_have_a_byte_a_weight_and_no_other_copy(greedy, folder):
    path = str(folder / "variables" / "variables")
    dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    saved = [(tuple(shape), dtypes[name].name) for name, shape in tf.train.list_variables(path) if dtypes[name] != tf.string]
    matrices = [(tuple(each.shape), each.path) for each in greedy.model.weights if len(each.shape) > 1]
    table = tuple(greedy.model.stack.token_embedding.embeddings.shape)
    wanted = [shape for shape, name in matrices if name.endswith("kernel")] + [table[::-1]]
    assert sorted(shape for shape, dtype in saved if dtype == "int8") == sorted(wanted)
    assert [shape for shape, dtype in saved if dtype == "float32" and len(shape) > 1] == [table]


def test_the_contract_is_kept_and_says_so(folder):
    report = tfllm.check(folder)
    assert report.ok, str(report)
    assert json.loads((folder / EXTRA_FOLDER / DESCRIPTION_FILE).read_text())["quantize"] == "int8"


@pytest.mark.slow
def test_a_c_program_says_the_same(program, folder):
    prompts = ["def f", "return"]
    text = tf.saved_model.load(str(folder)).signatures["serving_default"](prompt=tf.constant(prompts))["text"].numpy()
    found = serve(program, folder, {"prompt": prompts}, "text")
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    assert found.stdout == b"".join(b"%d\n%s" % (len(each), each) for each in text)


@pytest.mark.slow
def test_in_bfloat16_too(sampling, served_sampling, tmp_path):
    made = tfllm.export(sampling.model, sampling.tokenizer, tmp_path / "model", sampling.config, quantize="int8")
    small = tf.saved_model.load(str(made)).signatures["score"]
    exact = served_sampling["score"](text=tf.constant(TEXTS))["log_prob"]
    np.testing.assert_allclose(small(text=tf.constant(TEXTS))["log_prob"], exact, rtol=0.05)


def test_an_encoder_answers_nearly_alike(tmp_path):
    model = strong("text_classifier", ByteTokenizer())
    ask = tf.saved_model.load(str(tfllm.export(model, ByteTokenizer(), tmp_path / "m", quantize="int8"))).signatures
    found = ask["serving_default"](text=tf.constant(TEXTS))["probabilities"].numpy()
    exact = np.array([each["probabilities"] for each in tfllm.predict(model, ByteTokenizer(), TEXTS)])
    np.testing.assert_allclose(found, exact, atol=0.1)
    assert (found != exact).any()


def test_other_sizes_are_refused(greedy, tmp_path):
    with pytest.raises(ValueError, match="quantize='int4' is invalid: expected 'int8' or None"):
        tfllm.export(greedy.model, greedy.tokenizer, tmp_path / "model", quantize="int4")
