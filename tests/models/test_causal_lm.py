"""The model as a Keras model: made from a config, named weights, saved and loaded, its objective."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, strong, tokens

import tfllm
from tfllm.layers import devices
from tfllm.models import CausalLM
from tfllm.tokenizers.bytes import ByteTokenizer


@pytest.mark.parametrize(("family", "dtype"), [*((each, "float32") for each in FAMILIES), ("llama", "mixed_bfloat16")])
def test_a_keras_file_gives_the_same_model(tmp_path, family, dtype):
    model = strong(FAMILIES[family], dtype=dtype)
    model.compile(keras.optimizers.SGD())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is CausalLM and again.config == model.config and again.dtype_policy.name == dtype
    ids = tokens(model.config, 2, 7)
    np.testing.assert_array_equal(again({"token_ids": ids}), model({"token_ids": ids}))
    assert [v.path for v in again.variables] == [v.path for v in model.variables]


def test_weights_alone_go_into_a_fresh_model(tmp_path):
    model = strong(FAMILIES["llama"])
    model.save_weights(tmp_path / "model.weights.h5")
    again = CausalLM(FAMILIES["llama"])
    again.load_weights(tmp_path / "model.weights.h5")
    ids = tokens(model.config, 1, 5)
    np.testing.assert_array_equal(again({"token_ids": ids}), model({"token_ids": ids}))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_model_folder_gives_the_same_model(tmp_path, family):
    model = strong(FAMILIES[family].replace(vocab_size=ByteTokenizer.vocab_size))
    tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "task.json",
        "model.safetensors",
        "tokenizer",
    }
    again, tokenizer = tfllm.load(tmp_path / "model")
    ids = np.array([tokenizer.encode("as it was")], np.int32)
    np.testing.assert_array_equal(again({"token_ids": ids}), model({"token_ids": ids}))
    half, _ = tfllm.load(tmp_path / "model", dtype="mixed_bfloat16")
    assert half.dtype_policy.name == "mixed_bfloat16"


def test_a_folder_in_use_is_not_overwritten(tmp_path):
    model = CausalLM(FAMILIES["gpt2"])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is not empty"):
        tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        tfllm.load(tmp_path / "other")


def test_a_tokenizer_of_another_size_is_not_saved(tmp_path):
    model = CausalLM(FAMILIES["gpt2"].replace(vocab_size=300))
    with pytest.raises(ValueError, match="the tokenizer has 259 ids, the model's vocabulary 300"):
        tfllm.save(model, ByteTokenizer(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_variables_are_named_by_their_place():
    paths = [variable.path for variable in CausalLM(FAMILIES["llama"].replace(num_layers=1, qk_norm=True)).variables]
    assert paths == [
        "causal_lm/decoder/token_embedding/embeddings",
        "causal_lm/decoder/block_0/attention/qkv/kernel",
        "causal_lm/decoder/block_0/attention/query_norm/scale",
        "causal_lm/decoder/block_0/attention/key_norm/scale",
        "causal_lm/decoder/block_0/attention/output/kernel",
        "causal_lm/decoder/block_0/attention_norm/scale",
        "causal_lm/decoder/block_0/feedforward/up/kernel",
        "causal_lm/decoder/block_0/feedforward/down/kernel",
        "causal_lm/decoder/block_0/feedforward_norm/scale",
        "causal_lm/decoder/final_norm/scale",
        "causal_lm/head/kernel",
    ]
    second = CausalLM(FAMILIES["gpt2"])
    assert second.variables[0].path.startswith("causal_lm/"), "a second model of the process has the same names"


def test_first_weights():
    """One seed, one set of weights; no two matrices alike; projections back into the stream smaller by sqrt(2 layers)."""
    config = FAMILIES["qk-norm"].replace(hidden_size=96, vocab_size=400, num_layers=8)
    model, same, other = CausalLM(config), CausalLM(config), CausalLM(config, seed=1)
    for variable, twin, stranger in zip(model.variables, same.variables, other.variables, strict=True):
        np.testing.assert_array_equal(variable, twin)
        assert variable.path.endswith("scale") or not np.array_equal(variable, stranger)
    kernels = [np.asarray(v) for v in model.variables if v.path.endswith("kernel")]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)
    for variable in model.variables:
        narrow = variable.path.endswith(("output/kernel", "down/kernel"))
        if not variable.path.endswith("scale"):
            assert np.std(variable) == pytest.approx(0.02 / (4 if narrow else 1), rel=0.1), variable.path


def test_only_a_config_makes_a_model():
    with pytest.raises(TypeError, match=r"CausalLM wants a ModelConfig \(see tfllm.preset\), got str"):
        CausalLM("gpt2")


def test_training_without_a_seed_still_drops():
    model = strong(FAMILIES["gpt2"].replace(dropout=0.3))
    features = {"token_ids": tokens(model.config, 1, 6)}
    plain, one, two = (model(features, training=training).numpy() for training in (False, True, True))
    assert not np.array_equal(one, two) and not np.array_equal(plain, one)
    assert "dropout_seed" not in features, "the caller's batch is left as it was"
    seeded = features | {"dropout_seed": tf.constant([3])}
    np.testing.assert_array_equal(model(seeded, training=True), model(seeded, training=True))


@pytest.mark.parametrize("training", [False, True])
def test_the_objective_is_the_cross_entropy_of_the_logits(training):
    model = strong(FAMILIES["llama"])
    token_bytes = np.random.default_rng(3).integers(0, 5, 41)
    model.compile(keras.optimizers.SGD(), label_smoothing=0.1, z_loss=0.01, token_bytes=token_bytes)
    ids, targets = tokens(model.config, 3, 8), tokens(model.config, 3, 8, seed=5)
    targets[0] = model({"token_ids": ids}).numpy()[0].argmax(-1)  # one row is right
    weights = np.random.default_rng(4).choice([0.0, 0.5, 1.0], (3, 8)).astype(np.float32)
    features = {"token_ids": ids, "target_ids": targets, "target_weights": weights}
    features = {name: tf.constant(value) for name, value in features.items()} | {"dropout_seed": tf.range(3)}
    logits = model(features).numpy().astype(np.float64)
    log_z = np.log(np.exp(logits).sum(-1))
    log_p = logits - log_z[..., None]
    nats = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    loss = 0.9 * nats - 0.1 * log_p.mean(-1) + 0.01 * log_z**2 if training else nats
    said = model.loss_and_metrics(features, training=training)
    assert float(said.weight) == weights.sum()
    assert float(said.loss) == pytest.approx((loss * weights).sum(), rel=1e-5)
    metrics = {name: float(total / weight) for name, (total, weight) in said.metrics.items()}
    correct = (logits.argmax(-1) == targets) * weights
    bits = (nats * weights).sum() / (token_bytes[targets] * weights).sum()
    assert metrics["loss"] == pytest.approx((loss * weights).sum() / weights.sum(), rel=1e-5)
    assert metrics["perplexity"] == pytest.approx((nats * weights).sum() / weights.sum(), rel=1e-5)
    assert 0 < correct.sum() < weights.sum()
    assert metrics["accuracy"] == pytest.approx(correct.sum() / weights.sum(), rel=1e-6)
    assert metrics["bits_per_byte"] == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(label_smoothing=1.0), r"label_smoothing=1.0 must be in \[0, 1\)"),
        (dict(label_smoothing=-0.1), r"label_smoothing=-0.1 must be in"),
        (dict(z_loss=-1e-4), r"z_loss=-0.0001 at least 0"),
        (dict(token_bytes=np.ones(40, int)), r"token_bytes has 40 entries, the model's vocabulary 41"),
        (dict(gradient_accumulation=0), r"gradient_accumulation=0 is invalid: expected a whole number of at least 1"),
        (dict(steps_per_execution=0), r"steps_per_execution=0 is invalid: expected a whole number of at least 1"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CausalLM(FAMILIES["gpt2"]).compile(keras.optimizers.SGD(), **arguments)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_that_are_not_float32_are_refused(dtype):
    with pytest.raises(ValueError, match=f"dtype='{dtype}': weights are float32; give 'auto', 'float32' or 'mixed_bfloat16'"):
        CausalLM(FAMILIES["gpt2"], dtype=dtype)


@pytest.mark.parametrize(("slow", "fastest"), [(True, "float32"), (False, "mixed_bfloat16")])
def test_the_fastest_dtype_and_a_warning_of_a_slow_one(monkeypatch, slow, fastest):
    monkeypatch.setattr(devices, "IS_X86", True)
    monkeypatch.setattr(devices, "HAS_AVX512", not slow)
    monkeypatch.setattr(devices, "HAS_BFLOAT16", not slow)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = CausalLM(FAMILIES["gpt2"], dtype="auto")
        assert not said
        CausalLM(FAMILIES["gpt2"], dtype="mixed_bfloat16")
    assert model.dtype_policy.name == model.get_config()["dtype"] == fastest
    assert any("without AVX-512" in str(each.message) for each in said) is slow


def test_padding_is_not_seen_in_float16():
    """A penalty larger than float16's largest number would be infinite, and rows with padding NaN."""
    whole, half = strong(FAMILIES["llama"]), strong(FAMILIES["llama"], dtype="mixed_float16")
    ids = tokens(whole.config, 2, 8)
    segments = np.array([[1] * 8, [1] * 5 + [0] * 3])
    expected, found = (model({"token_ids": ids, "segment_ids": segments}).numpy()[segments > 0] for model in (whole, half))
    alone = half({"token_ids": ids[1:, :5]}).numpy()[0]
    np.testing.assert_allclose(found[8:], alone, atol=0.02 * np.std(expected))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_float16_is_refused():
    with pytest.raises(ValueError, match=r"float16 is not supported, because it needs loss scaling.*mixed_bfloat16"):
        CausalLM(FAMILIES["gpt2"], dtype="mixed_float16").compile(keras.optimizers.SGD())
