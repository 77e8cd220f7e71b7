"""Keras' own files and tables: `.keras` and `ModelCheckpoint` go on where training was, and `model.summary()` says shapes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm

SIZES = dict(vocab_size=40, max_length=8, num_layers=2, hidden_size=8, num_heads=2, ffn_size=8)
DECODER = tfllm.ModelConfig(**SIZES, dropout=0.2)
ENCODER = tfllm.ModelConfig(**SIZES, causal=False, num_types=2, norm_place="post", embedding_norm=True, pooler=True)
IDS = np.random.default_rng(0).integers(0, 40, (16, 6)).astype(np.int32)
OPTIMIZERS = {
    "adam": lambda: "adam",
    "adamw": lambda: tfllm.train.adamw(tfllm.train.schedule("cosine", peak=1e-2, steps=16, warmup_steps=2), ema=0.9),
    "muon": lambda: tfllm.train.muon(1e-2),
    "lion": lambda: tfllm.train.lion(1e-3, clip_norm=None),
}


def decoder(optimizer="adam", **settings):
    model = tfllm.CausalLM(DECODER)
    model.compile(optimizer, seed=3, run_eagerly=True, **settings)
    return model


def fit(model, epochs, initial_epoch=0, callbacks=()):
    data = tf.data.Dataset.from_tensor_slices((IDS[:, :-1], IDS[:, 1:])).batch(8)
    model.fit(data, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=list(callbacks))


def assert_same_state(one, other):
    for ours, theirs in zip(one.variables + one.optimizer.variables, other.variables + other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["adamw", "adam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("muon", "lion"))])
def test_model_checkpoint_goes_on_where_training_was(name, tmp_path):
    """Two epochs at once, or one, a `.keras` file, and one more: the same weights and slots, and dropout goes on, too."""
    whole, first = decoder(OPTIMIZERS[name]()), decoder(OPTIMIZERS[name]())
    fit(whole, 2)
    fit(first, 1, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")])
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert int(again.optimizer.iterations.numpy()) == 2
    fit(again, 2, initial_epoch=1)
    assert_same_state(again, whole)


def test_weights_alone_keep_the_optimizer_of_a_compiled_model(tmp_path):
    first, again = decoder(), decoder()
    fit(first, 1, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "all.weights.h5", save_weights_only=True)])
    again.load_weights(tmp_path / "all.weights.h5")
    assert_same_state(again, first)


def test_what_compile_was_told_is_kept(tmp_path):
    settings = dict(label_smoothing=0.1, z_loss=1e-4, gradient_accumulation=2, steps_per_execution=3)
    model = decoder(token_bytes=np.arange(40), **settings)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.training_settings == model.training_settings
    assert (again.steps_per_execution, again.run_eagerly) == (3, True)
    assert [metric.name for metric in again.metrics] == [metric.name for metric in model.metrics]
    assert not keras.saving.load_model(tmp_path / "model.keras", compile=False).compiled
    embedder = tfllm.TextEmbedder(ENCODER)
    embedder.compile("sgd", temperature=0.2)
    embedder.save(tmp_path / "embedder.keras")
    assert keras.saving.load_model(tmp_path / "embedder.keras").training_settings["temperature"] == 0.2


def test_what_is_frozen_stays_frozen(tmp_path):
    """The optimizer's slots are of the weights that learn: with others they would be given to the wrong ones."""
    model = tfllm.TextRegressor(ENCODER)
    model.freeze(1)
    model.compile("adam", run_eagerly=True)
    model.fit(IDS, np.arange(16), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [each.path for each in again.trainable_variables] == [each.path for each in model.trainable_variables]
    assert len(again.trainable_variables) < len(again.variables)
    assert_same_state(again, model)


def test_a_model_that_was_not_compiled_comes_back_so(tmp_path):
    tfllm.CausalLM(DECODER).save(tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").compiled


def summary_of(model, **options):
    """Name, shape and number of parameters of each row."""
    printed = []
    model.summary(print_fn=printed.append, line_length=76, **options)
    rows = {}
    for row in printed[0].split("┡")[1].split("└──")[0].split("├")[0:]:  # a long name takes two lines
        cells = [line.strip("│").split("│") for line in row.splitlines() if "│" in line]
        if cells:
            name, shape, count = (" ".join(part.strip() for part in column).strip() for column in zip(*cells, strict=True))
            rows[name.split(" (")[0].strip("└ ")] = (shape, int(count.replace(",", "")))
    return rows


def test_a_summary_says_shapes():
    """Against the shapes that a batch of [2, 5] comes out in."""
    model = tfllm.MaskedLM(ENCODER, next_sentence=True)
    rows = summary_of(model)
    assert list(rows) == ["encoder", "transform", "head", "pair_head"]
    assert {name: shape for name, (shape, _) in rows.items()} == {
        "encoder": "(None, None, 8)",
        "transform": "(None, None, 8)",
        "head": "(None, None, 40)",
        "pair_head": "(None, 2)",
    }
    assert sum(count for _, count in rows.values()) == model.count_params(), "a tied table counts once"
    ids = {"token_ids": IDS[:2, :5]}
    assert (
        model.stack(ids).last_hidden_state.shape == (2, 5, 8)
        and model(ids).shape == (2, 5, 40)
        and model.pair_scores(ids).shape == (2, 2)
    )
    for task, shape in (
        (tfllm.TextClassifier(ENCODER, labels=["a", "b", "c"]), "(None, 3)"),
        (tfllm.TextRegressor(ENCODER), "(None, 1)"),
        (tfllm.TokenClassifier(ENCODER, labels=["a", "b", "c"]), "(None, None, 3)"),
        (tfllm.QuestionAnswerer(ENCODER), "(None, None, 2)"),
    ):
        assert summary_of(task)["head"][0] == shape


def test_a_summary_shows_the_parts_of_blocks():
    rows = summary_of(tfllm.CausalLM(DECODER), expand_nested=True)
    assert {"block_0", "block_1", "attention", "qkv", "feedforward", "up", "final_norm"} <= rows.keys()
    assert rows["qkv"] == ("(None, None, 24)", 8 * 24 + 24)
    assert not any(shape == "?" for shape, _ in rows.values())
