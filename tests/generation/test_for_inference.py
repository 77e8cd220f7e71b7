"""`for_inference`: the same texts from copies of the weights, in floats; nearly the same in 8 bits."""

import copy
import gc
import platform
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.generation import tracing
from tfllm.layers import packed, transposed
from tfllm.layers.onednn import packs
from tfllm.models import inference
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = ["def f(", "", "naïve 中文"]


def causal(name: str, dtype: str = "float32", seed: int = 0) -> tfllm.CausalLM:
    config = tfllm.preset(name, vocab_size=TOKENIZER.vocab_size, initializer_range=0.3)
    return tfllm.CausalLM(config, dtype=dtype, seed=seed)


def log_probs(model, texts=PROMPTS, **settings) -> np.ndarray:
    found = tfllm.generate(model, TOKENIZER, texts, max_new_tokens=12, min_new_tokens=12, **settings)
    return np.array([each.log_probs for each in found])


@pytest.fixture(scope="module")
def models():
    llama = causal("llama-tiny")
    return {
        "llama-tiny": (llama, tfllm.for_inference(llama)),
        "gpt2-tiny": (gpt := causal("gpt2-tiny"), tfllm.for_inference(gpt)),
    }


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama-tiny", {}),
        pytest.param("llama-tiny", {"num_beams": 2}, marks=pytest.mark.slow),
        pytest.param("gpt2-tiny", {"temperature": 0.8, "seed": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_same_texts(name, settings, models):
    plain, fast = (tfllm.generate(each, TOKENIZER, PROMPTS, max_new_tokens=16, **settings) for each in models[name])
    for one, other in zip(plain, fast, strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)


@pytest.mark.slow
def test_the_same_texts_by_the_ways_of_other_processors(models, monkeypatch):
    monkeypatch.setattr(transposed, "ONEDNN_BY_DEFAULT", not transposed.ONEDNN_BY_DEFAULT)
    model, _ = models["gpt2-tiny"]
    fast = tfllm.for_inference(model)
    for texts in (PROMPTS[:1], PROMPTS, PROMPTS * 5):  # one row, few, many
        plain, same = (tfllm.generate(each, TOKENIZER, texts, max_new_tokens=12) for each in (model, fast))
        assert [each.text for each in same] == [each.text for each in plain]


def test_streams(models):
    plain, fast = ("".join(tfllm.stream(each, TOKENIZER, "def f(", max_new_tokens=16)) for each in models["llama-tiny"])
    assert plain == fast


@pytest.mark.slow
def test_as_draft_model(models):
    model, fast = models["llama-tiny"]
    drafter = tfllm.for_inference(causal("llama-tiny", seed=5))
    [expected] = tfllm.generate(model, TOKENIZER, "def f(", max_new_tokens=16)
    [found] = tfllm.generate(fast, TOKENIZER, "def f(", max_new_tokens=16, num_draft_tokens=3, draft_model=drafter)
    assert found.text == expected.text
    assert found.num_draft_tokens > 0


def test_each_with_its_own_ways_as_model_and_as_draft(models):
    model, _ = models["llama-tiny"]
    packed, small = tfllm.for_inference(model, prepack=True), tfllm.for_inference(causal("llama-tiny", seed=5), quantize="int8")
    for texts in (PROMPTS[:1], PROMPTS):
        expected = tfllm.generate(model, TOKENIZER, texts, max_new_tokens=12)
        found = tfllm.generate(packed, TOKENIZER, texts, max_new_tokens=12, num_draft_tokens=3, draft_model=small)
        assert [each.text for each in found] == [each.text for each in expected]
        assert all(each.num_draft_tokens > 0 for each in found)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        pytest.param({"temperature": 0.8, "seed": 3}, marks=pytest.mark.slow),
        pytest.param({"num_draft_tokens": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_prepacked_the_same_texts(settings, models):
    model, _ = models["llama-tiny"]
    fast = tfllm.for_inference(model, prepack=True)
    for texts in (PROMPTS[:1], PROMPTS, PROMPTS * 11):  # 1 row, few, many
        plain, packed = (tfllm.generate(each, TOKENIZER, texts, max_new_tokens=12, **settings) for each in (model, fast))
        assert [each.text for each in packed] == [each.text for each in plain]
        for one, other in zip(plain, packed, strict=True):
            np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)


def test_one_text_has_a_loop_of_its_own(monkeypatch):
    """It does not pack, and one for several does."""
    seen = []
    product = packed.packed_product

    def noted(x, matrix, options, **more):
        if options.in_loop:
            seen.append(options.one_row)
        return product(x, matrix, options, **more)

    monkeypatch.setattr(transposed, "packed_product", noted)
    fast = tfllm.for_inference(causal("gpt2-tiny"), prepack=True)
    tfllm.generate(fast, TOKENIZER, PROMPTS[0], max_new_tokens=3)
    products = 4 * fast.config.num_layers + 1
    assert (seen.count(True), seen.count(False)) == (products, products)


def test_functions_may_run_eagerly(models):
    """As debuggers run them: the plain products are made, and 8 bits say why not."""
    model, _ = models["llama-tiny"]
    packed, small = tfllm.for_inference(model, prepack=True), tfllm.for_inference(model, quantize="int8")
    expected = tfllm.generate(model, TOKENIZER, PROMPTS, max_new_tokens=3)
    tf.config.run_functions_eagerly(True)
    try:
        found = tfllm.generate(packed, TOKENIZER, PROMPTS, max_new_tokens=3)
        with pytest.raises(RuntimeError, match="packed products are made in graphs only"):
            tfllm.generate(small, TOKENIZER, PROMPTS, max_new_tokens=3)
    finally:
        tf.config.run_functions_eagerly(False)
    assert [each.text for each in found] == [each.text for each in expected]


if packs("bfloat16"):

    @pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])  # with a table of its own, and one for both
    def test_prepacked_in_bfloat16_as_near_as_bfloat16_is(name):
        model = causal(name, "mixed_bfloat16")
        fast = tfllm.for_inference(model, prepack=True)
        np.testing.assert_allclose(log_probs(fast)[:, 0], log_probs(model)[:, 0], atol=0.1)


def test_prepacked_in_bfloat16_wants_a_processor_that_has_it(monkeypatch):
    """TensorFlow would end the process."""
    monkeypatch.setattr(inference, "packs", lambda dtype: dtype == "float32")
    with pytest.raises(ValueError, match="prepack=True is invalid: expected False, for in bfloat16 it needs AVX-512"):
        tfllm.for_inference(causal("gpt2-tiny", "mixed_bfloat16"), prepack=True)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_in_8_bits_nearly_the_same(dtype):
    model = causal("llama-tiny", dtype)
    small = tfllm.for_inference(model, quantize="int8")
    exact, rough = log_probs(model), log_probs(small)
    assert (exact != rough).any()
    np.testing.assert_allclose(rough[:, 0], exact[:, 0], atol=0.3)
    assert sum(variable.dtype == tf.int8 for variable in small.variables) == 4 * model.config.num_layers + 1


def test_it_stays_as_it_was_when_the_model_is_trained_on():
    model = causal("gpt2-tiny")
    fast = tfllm.for_inference(model)
    before = log_probs(fast)
    for variable in model.trainable_variables:
        variable.assign(variable * 1.5)
    np.testing.assert_array_equal(log_probs(fast), before)
    assert np.abs(log_probs(model) - before).max() > 0.1
    np.testing.assert_allclose(log_probs(tfllm.for_inference(model)), log_probs(model), atol=1e-4)


def test_it_goes_with_its_graphs_and_weights():
    fast = tfllm.for_inference(causal("gpt2-tiny"))
    log_probs(fast)
    assert fast in tracing._TRACED
    kept = [weakref.ref(fast), *(weakref.ref(variable.handle) for variable in fast.variables)]
    del fast
    gc.collect()
    assert [each for each in kept if each() is not None] == []


def test_it_is_no_draft_model_for_its_own_model(models):
    model, fast = models["gpt2-tiny"]
    for target, drafter in ((model, fast), (fast, model), (fast, tfllm.for_inference(model))):
        with pytest.raises(ValueError, match="draft_model is invalid: expected another model than model"):
            tfllm.generate(target, TOKENIZER, "def f(", num_draft_tokens=3, draft_model=drafter)


def test_it_is_neither_exported_nor_copied(models, tmp_path):
    _, fast = models["gpt2-tiny"]
    for model, drafter in ((fast, None), (causal("gpt2-tiny"), fast)):
        with pytest.raises(
            ValueError, match="model=InferenceModel is invalid: expected a model that for_inference did not copy"
        ):
            tfllm.export(model, TOKENIZER, tmp_path / "model", draft_model=drafter)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="Make another"):
        copy.deepcopy(fast)


def test_what_it_has_not_is_said(models, tmp_path):
    _, fast = models["gpt2-tiny"]
    for call in (lambda: fast.fit([]), lambda: tfllm.save(fast, TOKENIZER, tmp_path / "model")):
        with pytest.raises(AttributeError, match=r"InferenceModel has no attribute '(fit|task)': .*: \.model$"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [{"quantize": "int8"}, {"prepack": True}], ids=str)
def test_what_wants_an_x86_processor(form, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(ValueError, match=r"(quantize='int8'|prepack=True) is invalid: .* arm64, as it needs x86"):
        tfllm.for_inference(causal("gpt2-tiny"), **form)


def test_what_cannot_be_made():
    encoder = tfllm.TextClassifier(tfllm.preset("bert-tiny", vocab_size=300), labels=["a", "b"])
    with pytest.raises(ValueError, match="model=TextClassifier is invalid: expected a CausalLM"):
        tfllm.for_inference(encoder)
    with pytest.raises(ValueError, match=r"model=InferenceModel is invalid: .* Give its \.model"):
        tfllm.for_inference(tfllm.for_inference(causal("gpt2-tiny")))
    with pytest.raises(ValueError, match="quantize='int4' is invalid: expected 'int8' or None"):
        tfllm.for_inference(causal("gpt2-tiny"), quantize="int4")
    with pytest.raises(ValueError, match="prepack=True is invalid: expected False, for the model has dtype='mixed_float16'"):
        tfllm.for_inference(causal("gpt2-tiny", "mixed_float16"), prepack=True)
    with pytest.raises(ValueError, match="prepack='yes' is invalid: expected True or False"):
        tfllm.for_inference(causal("gpt2-tiny"), prepack="yes")
