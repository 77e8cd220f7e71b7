"""Encoders and the tasks on them: what they read, what they minimise, and how they start from one another."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.config import ModelConfig
from tfllm.tokenizers import ByteTokenizer

CONFIG = ModelConfig(
    **dict(vocab_size=ByteTokenizer.vocab_size, max_length=16, num_layers=2, hidden_size=24, num_heads=4, ffn_size=40),
    **dict(causal=False, num_types=2, norm_place="post", embedding_norm=True, activation="gelu", pooler=True),
)
LABELS = ["red", "green", "blue"]
MAKERS = {
    "masked_lm": lambda config, **more: tfllm.MaskedLM(config, next_sentence=True, **more),
    "text_classifier": lambda config, **more: tfllm.TextClassifier(config, labels=LABELS, **more),
    "several_labels": lambda config, **more: tfllm.TextClassifier(config, labels=LABELS, multi_label=True, **more),
    "token_classifier": lambda config, **more: tfllm.TokenClassifier(config, labels=LABELS, **more),
    "question_answerer": lambda config, **more: tfllm.QuestionAnswerer(config, **more),
    "text_embedder": lambda config, **more: tfllm.TextEmbedder(config, **more),
    "text_regressor": lambda config, **more: tfllm.TextRegressor(config, pooling="first", **more),
}
RANDOM = np.random.default_rng(3)


def strong(task: str, config: ModelConfig = CONFIG, **more):
    """A model whose weights are large enough that no part of it can be left out unseen."""
    model, random = MAKERS[task](config, **more), np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(1.0 if variable.path.endswith("scale") else 0.0, 0.25, variable.shape))
    return model


def batch(rows: int = 4, length: int = 12) -> dict[str, np.ndarray]:
    """Rows of two texts, the last of them short."""
    random = np.random.default_rng(1)
    lengths = np.array([length] * (rows - 1) + [length - 5])
    there = (np.arange(length) < lengths[:, None]).astype(np.int32)
    return {
        "token_ids": random.integers(3, 259, (rows, length)).astype(np.int32) * there,
        "segment_ids": there,
        "type_ids": (np.arange(length) > 4).astype(np.int32) * there,
        "row_weights": np.array([1.0] * (rows - 1) + [0.5], np.float32),
    }


def with_labels(task: str) -> dict[str, np.ndarray]:
    features = batch()
    rows, length = features["token_ids"].shape
    more = {
        "masked_lm": {
            "target_places": RANDOM.integers(0, 7, (rows, 3)).astype(np.int32),
            "target_ids": RANDOM.integers(3, 259, (rows, 3)).astype(np.int32),
            "target_weights": np.array([[1, 1, 0.5]] * 3 + [[1, 0, 0]], np.float32),
            "pair_labels": np.array([1, 0, 1, 1], np.int32),
        },
        "text_classifier": {"labels": np.array([0, 2, 1, 1], np.int32)},
        "several_labels": {"labels": RANDOM.integers(0, 2, (rows, 3)).astype(np.float32)},
        "token_classifier": {
            "target_ids": RANDOM.integers(0, 3, (rows, length)).astype(np.int32),
            "target_weights": RANDOM.uniform(0, 1, (rows, length)).astype(np.float32),
        },
        "question_answerer": {
            "span_starts": np.array([5, 0, 6, 5], np.int32),
            "span_ends": np.array([7, 0, 6, 6], np.int32),
            "answer_places": features["type_ids"] | (np.arange(length) == 0),
        },
        "text_embedder": {"row_weights": np.array([1, 1, 0.5, 0.5], np.float32)},
        "text_regressor": {"labels": np.array([0.5, -1, 2, 0], np.float32)},
    }
    return {name: tf.constant(value) for name, value in (features | more[task]).items()}


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def expected_loss(task: str, model, features: dict) -> tuple[float, float]:
    """Sum and weight, in NumPy, from the model's scores."""
    given = {name: value.numpy() for name, value in features.items()}
    rows = given["row_weights"].astype(np.float64)
    scores = model(features).numpy().astype(np.float64)
    if task == "masked_lm":
        chosen = np.take_along_axis(softmax(scores), given["target_ids"][..., None], -1)[..., 0]
        tokens = -(given["target_weights"] * np.log(chosen)).sum()
        pairs = softmax(model.pair_scores(features).numpy().astype(np.float64))[np.arange(4), given["pair_labels"]]
        return tokens - 3 * (rows * np.log(pairs)).sum(), given["target_weights"].sum()
    if task == "text_classifier":
        return -(rows * np.log(softmax(scores)[np.arange(4), given["labels"]])).sum(), rows.sum()
    if task == "several_labels":
        holds = 1 / (1 + np.exp(-scores))
        nats = -np.where(given["labels"] == 1, np.log(holds), np.log(1 - holds))
        return (rows * nats.mean(1)).sum(), rows.sum()
    if task == "token_classifier":
        chosen = np.take_along_axis(softmax(scores), given["target_ids"][..., None], -1)[..., 0]
        return -(given["target_weights"] * np.log(chosen)).sum(), given["target_weights"].sum()
    if task == "question_answerer":
        starts, ends = (softmax(scores[:, i])[np.arange(4), given[name]] for i, name in enumerate(["span_starts", "span_ends"]))
        return -(rows * (np.log(starts) + np.log(ends))).sum() / 2, rows.sum()
    if task == "text_embedder":
        cosines = scores[0::2] @ scores[1::2].T / 0.1
        nats = -np.log(np.diag(softmax(cosines))) - np.log(np.diag(softmax(cosines.T)))
        return (rows[0::2] * nats).sum(), 2 * rows[0::2].sum()
    return (rows * (scores - given["labels"]) ** 2).sum(), rows.sum()


@pytest.mark.parametrize("task", MAKERS)
def test_the_objective_is_the_definition(task):
    model, features = strong(task), with_labels(task)
    model.compile(keras.optimizers.SGD(), **{"temperature": 0.1} if task == "text_embedder" else {})
    found = model.loss_and_metrics(features, training=False)
    np.testing.assert_allclose([found.loss, found.weight], expected_loss(task, model, features), rtol=2e-5)
    assert set(found.metrics) == {metric.name for metric in model.build_metrics()}


@pytest.mark.parametrize(
    ("task", "dtype"),
    [
        ("masked_lm", "mixed_bfloat16"),
        ("text_classifier", "float32"),
        *(pytest.param(task, "float32", marks=pytest.mark.slow) for task in MAKERS if task != "text_classifier"),
    ],
)
def test_every_task_learns_a_batch_by_heart(task, dtype):
    config = CONFIG.replace(dropout=0.1, attention_dropout=0.1)
    model = MAKERS[task](config, dtype=dtype)
    model.compile(tfllm.train.adamw(5e-3, weight_decay=0.0), seed=2)
    rows = tf.data.Dataset.from_tensors(with_labels(task)).repeat()
    before = model.evaluate(rows.take(1), verbose=0, return_dict=True)["loss"]
    model.fit(rows, steps_per_epoch=40, epochs=1, verbose=0)
    after = model.evaluate(rows.take(1), verbose=0, return_dict=True)["loss"]
    assert after < 0.5 * before, (before, after)
    assert all(np.isfinite(variable).all() for variable in model.variables)


@pytest.mark.parametrize("task", MAKERS)
def test_files_give_the_same_model(task, tmp_path):
    model, features = strong(task), with_labels(task)
    model.save(tmp_path / "model.keras")
    tfllm.save(model, ByteTokenizer(), tmp_path / "folder")
    for again in (keras.saving.load_model(tmp_path / "model.keras"), tfllm.load(tmp_path / "folder")[0]):
        assert type(again) is type(model) and again.config == CONFIG and again.settings() == model.settings()
        np.testing.assert_array_equal(again(features), model(features))


def test_a_folder_without_its_task_or_with_another(tmp_path):
    tfllm.save(strong("text_regressor"), ByteTokenizer(), tmp_path / "folder")
    path = tmp_path / "folder" / "task.json"
    path.write_text('{"task": "translator"}')
    with pytest.raises(ValueError, match=r"task='translator' is invalid: expected one of causal_lm, masked_lm, "):
        tfllm.load(tmp_path / "folder")
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"task.json is damaged"):
        tfllm.load(tmp_path / "folder")
    tfllm.save(tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=259)), ByteTokenizer(), tmp_path / "old")
    (tmp_path / "old" / "task.json").unlink()
    assert isinstance(tfllm.load(tmp_path / "old")[0], tfllm.CausalLM)


@pytest.mark.parametrize("name", ["type_ids", "segment_ids", "token_ids"])
def test_everything_read_counts(name):
    model, features = strong("text_classifier"), batch()
    changed = features | {name: np.roll(features[name], 3, axis=1)}
    assert np.abs(model(features) - model(changed)).max() > 1e-3


def test_padding_is_not_seen():
    model, features = strong("token_classifier"), batch()
    alone = {name: value[3:, :7] for name, value in features.items() if name in ("token_ids", "type_ids")}
    np.testing.assert_allclose(model(features)[3, :7], model(alone)[0], rtol=1e-4, atol=1e-5)
    mean, short = strong("text_embedder"), {name: value[3:] for name, value in features.items()}
    np.testing.assert_allclose(mean(short), mean(alone), rtol=1e-4, atol=1e-5)


def test_an_encoder_sees_both_ways_and_a_window_of_it():
    ids = np.arange(3, 15, dtype=np.int32)[None]
    changed = ids.copy()
    changed[0, -1] = 99
    for window, seen in ((0, 12), (3, 5)):
        model = strong("token_classifier", CONFIG.replace(num_layers=2, sliding_window=window))
        moved = np.abs(model({"token_ids": ids}) - model({"token_ids": changed}))[0].max(-1) > 1e-6
        assert moved.sum() == seen and moved[-1]


def test_positions_begin_behind_their_offset():
    plain, shifted = strong("text_embedder"), strong("text_embedder", CONFIG.replace(position_offset=2))
    for variable in shifted.stack.variables:
        if "position_embedding" not in variable.path:
            variable.assign(next(each for each in plain.stack.variables if each.path == variable.path))
    table = plain.stack.position_embedding.embeddings
    shifted.stack.position_embedding.embeddings.assign(np.concatenate([np.full((2, 24), 99.0), table]))
    np.testing.assert_array_equal(shifted(batch()), plain(batch()))


def test_a_task_starts_from_another_models_stack():
    pretrained = strong("masked_lm")
    model = tfllm.TextClassifier.from_pretrained(pretrained, labels=LABELS, config=CONFIG.replace(dropout=0.2), seed=5)
    assert model.config.dropout == 0.2 and model.labels == tuple(LABELS)
    ids = {"token_ids": tf.constant([[5, 6, 7]])}
    np.testing.assert_array_equal(model.stack(ids)[0], pretrained.stack(ids)[0])
    with pytest.raises(
        ValueError, match=r"not the pretrained MaskedLM's: num_layers was 2, is 3; activation was gelu, is relu"
    ):
        tfllm.TextRegressor.from_pretrained(pretrained, config=CONFIG.replace(num_layers=3, activation="relu"))
    without = strong("token_classifier", CONFIG.replace(pooler=False))
    with pytest.raises(ValueError, match=r"has no such weights: encoder/pooler/dense/bias, encoder/pooler/dense/kernel"):
        tfllm.TextRegressor.from_pretrained(without, config=CONFIG)
    with pytest.raises(
        FileNotFoundError, match=r"runs/bert is not a folder, and nothing is downloaded: give the path of a model"
    ):
        tfllm.TextRegressor.from_pretrained("runs/bert")
    with pytest.raises(TypeError, match=r"model=ModelConfig\(.* is invalid: expected a model .* got ModelConfig"):
        tfllm.TextRegressor.from_pretrained(CONFIG)
    embedder = strong("text_embedder")
    assert tfllm.TextRegressor.from_pretrained(embedder).pooling == "mean", "as the checkpoint was pooled"
    assert tfllm.TextRegressor.from_pretrained(pretrained).pooling == "pooler"


def test_what_is_frozen_stays():
    model = strong("text_classifier")
    model.freeze(1)
    model.compile(tfllm.train.adamw(1e-2))
    before = {variable.path: variable.numpy() for variable in model.variables}
    model.fit(tf.data.Dataset.from_tensors(with_labels("text_classifier")).repeat(), steps_per_epoch=3, verbose=0)
    moved = {
        path for path, value in before.items() if not np.array_equal(value, next(v for v in model.variables if v.path == path))
    }
    assert moved == {path for path in before if "block_1/" in path or "/head/" in path or "/pooler/" in path}
    with pytest.raises(ValueError, match="blocks=3 is invalid: expected 0 to 2"):
        model.freeze(3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="MaskedLM wants an encoder's config, got causal=True"):
        tfllm.MaskedLM(tfllm.preset("gpt2-tiny"))
    with pytest.raises(ValueError, match="CausalLM wants a decoder's config, got causal=False"):
        tfllm.CausalLM(CONFIG)
    with pytest.raises(ValueError, match="give a config with pooler=True"):
        tfllm.MaskedLM(CONFIG.replace(pooler=False), next_sentence=True)
    with pytest.raises(ValueError, match="expected at least two different strings"):
        tfllm.TextClassifier(CONFIG, labels=["a", "a"])
    with pytest.raises(ValueError, match=r"labels=\('spam',\) is invalid: expected at least two"):
        tfllm.TextClassifier(CONFIG, labels="spam")
    with pytest.raises(ValueError, match="transform_activation='tanh' is unknown; it is one of gelu, "):
        tfllm.MaskedLM(CONFIG, transform_activation="tanh")
    with pytest.raises(ValueError, match="pooling='max' is invalid: expected one of pooler, first, mean"):
        tfllm.TextEmbedder(CONFIG, pooling="max")
    with pytest.raises(ValueError, match="max_length=17 is invalid: expected 4 to 16, the positions of this model"):
        tfllm.TextEmbedder(CONFIG, max_length=17)
    with pytest.raises(ValueError, match="no head for pairs"):
        tfllm.MaskedLM(CONFIG).pair_scores(batch())
