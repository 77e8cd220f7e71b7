"""Every argument of Keras' `compile`, `fit`, `evaluate`, `predict`, `…_on_batch`: what it does, or how it is refused."""

import inspect
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm

CONFIG = tfllm.ModelConfig(
    **dict(vocab_size=40, max_length=8, num_layers=1, hidden_size=8, num_heads=2, ffn_size=8, initializer_range=0.3),
    **dict(causal=False, num_types=2, norm_place="post", embedding_norm=True, pooler=True),
)
RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(1, 40, (8, 6)).astype(np.int32)
CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 0], np.int32)
WEIGHTS = np.array([1, 0, 2, 0.5, 0, 1, 1, 3], np.float32)


def classifier(*, eager=True, optimizer="sgd", **settings):
    """Eager steps need no trace, and are the same steps (test_step.py)."""
    model = tfllm.TextClassifier(CONFIG, labels=["a", "b", "c"])
    model.compile(optimizer, run_eagerly=eager, **settings)
    return model


def fitted(*args, model=None, **kwargs):
    """The weights after one epoch of batches of four."""
    model = model or classifier(optimizer=keras.optimizers.SGD(0.5))
    model.fit(*args, **{"batch_size": 4, "shuffle": False, "verbose": 0} | kwargs)
    return [np.asarray(variable) for variable in model.variables]


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def differ(ours, theirs):
    return any((one != other).any() for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def by_name():
    """The weights after the batch as this package names it."""
    return fitted({"token_ids": IDS, "labels": CLASSES})


def test_labels_and_weights_are_learnt_from(by_name):
    weights = [by_name, *(fitted(IDS, (CLASSES + 1) % 3, sample_weight=given) for given in (None, np.zeros(8)))]
    assert differ(weights[0], weights[1]) and differ(weights[0], weights[2])
    assert_equal(weights[2], classifier().variables)  # nothing counts, nothing moves


@pytest.mark.parametrize(
    "data",
    [
        (IDS, CLASSES),
        (IDS.astype(np.int64), CLASSES.astype(np.int64)),
        (IDS.tolist(), CLASSES.tolist()),
        ({"input_ids": IDS.tolist()}, CLASSES[:, None]),
        ({"input_ids": IDS.astype(np.int64), "label": CLASSES.astype(np.int64)},),
        (tf.constant(IDS), tf.constant(CLASSES), np.ones(8)),
    ],
    ids=["arrays", "int64", "lists", "column", "hugging face", "weighted"],
)
def test_what_keras_users_write_is_the_same_fit(by_name, data):
    x, y, weight = (*data, None, None)[:3]
    assert_equal(fitted(x, y, sample_weight=weight), by_name)


@pytest.mark.parametrize("kind", ["tuples", "dicts", "three", "int64", "generator", "PyDataset"])
def test_datasets_are_the_same_fit(by_name, kind):
    def batches():
        for part in (slice(0, 4), slice(4, 8)):
            yield IDS[part], CLASSES[part]

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return list(batches())[index]

    whole = {
        "tuples": (IDS, CLASSES),
        "dicts": ({"token_ids": IDS}, CLASSES),
        "three": (IDS, CLASSES, np.ones(8, np.float32)),
        "int64": {"input_ids": IDS.astype(np.int64), "labels": CLASSES.astype(np.int64)},
    }
    data = {"generator": batches(), "PyDataset": Sequence()}.get(kind)
    if data is None:
        data = tf.data.Dataset.from_tensor_slices(whole[kind]).batch(4)
    model = classifier(optimizer=keras.optimizers.SGD(0.5), eager=kind not in ("tuples", "int64"))
    model.fit(data, verbose=0, shuffle=False)
    (assert_equal if model.run_eagerly else assert_close)([np.asarray(variable) for variable in model.variables], by_name)


@pytest.mark.parametrize("weights", [[-1, 1], [-1, -2]], ids=str)
@pytest.mark.parametrize("eager", [True, False])
def test_weights_that_cancel_are_refused_before_the_update(weights, eager):
    model = classifier(eager=eager)
    before = [np.asarray(variable) for variable in model.variables]
    advice = r"step 0: the weights of the batch sum to (0|-3).*\. Give weights of 0 or more"
    with pytest.raises(ValueError, match=advice):
        model.fit(IDS[:2], CLASSES[:2], sample_weight=np.array(weights, np.float32), verbose=0)
    assert_equal(before, model.variables)


def test_rows_of_weight_0_are_left_out():
    there = WEIGHTS > 0
    ours = fitted(IDS, CLASSES, sample_weight=WEIGHTS, batch_size=8)
    assert_close(ours, fitted(IDS[there], CLASSES[there], sample_weight=WEIGHTS[there], batch_size=8))
    assert_equal(ours, fitted({"token_ids": IDS, "labels": CLASSES, "row_weights": WEIGHTS}, batch_size=8))


def test_classes_are_weighted(by_name):
    given = {0: 0.5, 2: 3.0}
    by_hand = np.array([given.get(one, 1) for one in CLASSES], np.float32)
    ours = fitted(IDS, CLASSES, class_weight=given)
    assert_equal(ours, fitted(IDS, CLASSES, sample_weight=by_hand))
    assert differ(ours, by_name)
    assert_close(
        fitted(IDS, CLASSES, sample_weight=WEIGHTS, class_weight=given), fitted(IDS, CLASSES, sample_weight=WEIGHTS * by_hand)
    )


def test_class_weights_are_those_of_the_fit_that_runs():
    """They are part of the graph, which another fit makes anew. Validation does not weigh."""
    model = classifier(eager=False, optimizer=keras.optimizers.SGD(0.0))
    settings = dict(batch_size=8, shuffle=False, verbose=0, validation_data=(IDS, CLASSES))
    history = [model.fit(IDS, CLASSES, class_weight=given, **settings).history for given in (None, {0: 9.0}, None)]
    assert history[0]["loss"] == history[2]["loss"] != history[1]["loss"]
    assert history[0]["val_loss"] == history[1]["val_loss"]


def test_a_mask_hides_padding():
    mask = (np.arange(6) < 4).astype(np.int64)[None].repeat(8, 0)
    ours = fitted({"token_ids": IDS, "attention_mask": mask}, CLASSES)
    assert_equal(ours, fitted({"token_ids": IDS, "segment_ids": mask.astype(np.int32)}, CLASSES))
    other = np.where(mask, IDS, 7)
    assert_equal(ours, fitted({"token_ids": other, "attention_mask": mask.astype(bool)}, CLASSES))


@pytest.mark.parametrize("name", ["adam", "AdamW", {"class_name": "RMSprop", "config": {"learning_rate": 0.01}}], ids=str)
def test_an_optimizers_name_is_the_optimizer(name):
    made = keras.optimizers.get(name)
    assert_equal(fitted(IDS, CLASSES, model=classifier(optimizer=name)), fitted(IDS, CLASSES, model=classifier(optimizer=made)))
    assert type(classifier(optimizer=name).optimizer) is type(made)


COMPILE = {
    "loss": ("mse", "loss='mse': a TextClassifier brings its loss, and the metrics loss, accuracy: leave loss out"),
    "loss_weights": ([1.0], r"loss_weights=\[1.0\]: a TextClassifier brings its loss"),
    "metrics": (["accuracy"], r"metrics=\['accuracy'\]: a TextClassifier brings its loss, and the metrics loss, accuracy"),
    "weighted_metrics": (["accuracy"], r"weighted_metrics=\['accuracy'\]: .* leave weighted_metrics out"),
    "steps_per_execution": ("auto", "steps_per_execution='auto' is invalid: expected a whole number of at least 1"),
    "jit_compile": ("yes", "jit_compile='yes' is invalid: expected True, False or 'auto'"),
    "optimizer": ("adamm", "adamm"),
    "run_eagerly": (True, None),
    "auto_scale_loss": (False, None),
}


def test_what_compile_does_not_have_gets_advice():
    model = tfllm.TextClassifier(CONFIG, labels=["a", "b"])
    for given, advice in (
        ({"learning_rate": 0.1}, "compile(tfllm.train.adamw(learning_rate=0.1))"),
        ({"clip_norm": 0.5, "optimizer": "sgd"}, "compile(tfllm.train.adamw(learning_rate=1e-3, clip_norm=0.5))"),
    ):
        with pytest.raises(TypeError, match="is an argument of the optimizer. Give it there: " + re.escape(advice)):
            model.compile(**given)
        eval(f"model.{advice}", {"model": model, "tfllm": tfllm})
    with pytest.raises(TypeError, match=r"compile\(epochs=3\) is invalid: compile has no such argument"):
        model.compile("sgd", epochs=3)
    with pytest.raises(ValueError, match="optimizer=None: give one, such as"):
        model.compile()


@pytest.mark.parametrize("argument", COMPILE)
def test_arguments_of_compile(argument):
    value, message = COMPILE[argument]
    model = tfllm.TextClassifier(CONFIG, labels=["a", "b"])
    if message is None:
        model.compile(**{"optimizer": "sgd", argument: value})
        assert model.compiled
        return
    with pytest.raises(ValueError, match=message):
        model.compile(**{"optimizer": "sgd", argument: value})
    assert not model.compiled


def test_a_loss_given_by_place_is_refused():
    for model in (tfllm.TextClassifier(CONFIG, labels=["a", "b"]), tfllm.TextRegressor(CONFIG), tfllm.MaskedLM(CONFIG)):
        with pytest.raises(ValueError, match=r"loss='mse': a \w+ brings its loss"):
            model.compile("adam", "mse")


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.Adam(gradient_accumulation_steps=4), r"gradient_accumulation_steps=4\) .* batches 4 times as large"),
        (keras.optimizers.SGD(loss_scale_factor=8.0), "SGD wants a scaled loss"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "LossScaleOptimizer wants a scaled loss"),
    ],
)
def test_optimizers_that_would_train_otherwise_are_refused(optimizer, message):
    with pytest.raises(ValueError, match=message):
        tfllm.TextRegressor(CONFIG).compile(optimizer)


HELD_OUT = (IDS[:6], CLASSES[:6])
FIT = {
    "batch_size": (dict(batch_size=3), 3, 0),
    "epochs": (dict(epochs=3), 6, 0),
    "initial_epoch": (dict(epochs=3, initial_epoch=2), 2, 0),
    "steps_per_epoch": (dict(epochs=2, steps_per_epoch=1), 2, 0),
    "validation_split": (dict(validation_split=0.5, batch_size=2), 2, 2),
    "validation_data": (dict(validation_data=HELD_OUT), 2, 2),
    "validation_batch_size": (dict(validation_data=HELD_OUT, validation_batch_size=2), 2, 3),
    "validation_steps": (dict(validation_data=HELD_OUT, validation_batch_size=2, validation_steps=1), 2, 1),
    "validation_freq": (dict(validation_data=HELD_OUT, epochs=3, validation_freq=2), 6, 2),
}
OTHERS = {"x", "y", "sample_weight", "class_weight", "shuffle", "callbacks", "verbose", "self"}
"""Those of Keras' `fit` that other tests here are about, or nearly all."""


@pytest.mark.parametrize("argument", FIT)
def test_arguments_of_fit_that_count_steps(argument):
    settings, training, validation = FIT[argument]
    seen = {"train": 0, "test": 0}

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["train"] += 1

        def on_test_batch_end(self, batch, logs=None):
            seen["test"] += 1

    classifier().fit(IDS, CLASSES, **{"batch_size": 4, "verbose": 0, "callbacks": [Count()]} | settings)
    assert seen == {"train": training, "test": validation}


def test_every_argument_of_keras_is_looked_at():
    """A new one of another Keras is to be looked at, too."""
    assert set(inspect.signature(keras.Model.fit).parameters) == {*FIT, *OTHERS}
    assert set(inspect.signature(keras.Model.compile).parameters) == {*COMPILE, "self"}
    assert set(inspect.signature(keras.Model.evaluate).parameters) == {
        *EVALUATE,
        "x",
        "y",
        "verbose",
        "callbacks",
        "self",
        "kwargs",
    }
    assert set(inspect.signature(keras.Model.predict).parameters) == {
        "x",
        "batch_size",
        "verbose",
        "steps",
        "callbacks",
        "self",
    }
    on_batch = {"x", "y", "sample_weight", "return_dict", "self"}
    assert set(inspect.signature(keras.Model.train_on_batch).parameters) == on_batch | {"class_weight"}
    assert set(inspect.signature(keras.Model.test_on_batch).parameters) == on_batch
    assert set(inspect.signature(keras.Model.predict_on_batch).parameters) == {"x", "self"}


def test_arguments_by_place_and_unknown_ones():
    weights = np.ones(8)
    model, history = classifier(), []
    model.fit(IDS, CLASSES, 4, 2, 0, [keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: history.append(logs))])
    assert len(history) == 2
    assert model.evaluate(IDS, CLASSES, 4, 0, weights) == model.evaluate(IDS, CLASSES, batch_size=4, verbose=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        model.fit(IDS, CLASSES, epoch=2)


def test_batches_of_a_pydataset_are_shuffled_unless_told():
    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            rows = slice(index, index + 1)
            return IDS[rows], CLASSES[rows]

    in_order = fitted(Sequence(), batch_size=None)
    assert differ(in_order, fitted(Sequence(), batch_size=None, shuffle=True))
    model = classifier(optimizer=keras.optimizers.SGD(0.5))
    model.fit(Sequence(), verbose=0)  # Keras' default
    assert differ(in_order, [np.asarray(variable) for variable in model.variables])


@pytest.mark.parametrize("call", ["fit", "evaluate", "validation_data", "train_on_batch"])
def test_rows_of_several_targets_have_one_weight(call):
    def answerer():
        model = tfllm.QuestionAnswerer(CONFIG)
        model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
        return model

    def given(x, *rest):
        model = answerer()
        if call == "validation_data":
            logs = model.fit(IDS, spans, validation_data=(x, *rest), shuffle=False, verbose=0).history
            return {name: value for name, value in logs.items() if name.startswith("val_")}
        y, weight = (*rest, None, None)[:2]
        if call == "train_on_batch":
            return model.train_on_batch(x, y, weight, return_dict=True)
        if call == "fit":
            return model.fit(x, y, sample_weight=weight, shuffle=False, verbose=0).history
        return model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)

    spans = (CLASSES, CLASSES + 1)
    named = {"token_ids": IDS, "span_starts": spans[0], "span_ends": spans[1]}
    assert given(IDS, spans, WEIGHTS) == given(named | {"row_weights": WEIGHTS}) != given(IDS, spans)
    with pytest.raises(ValueError, match="row_weights is given twice"):
        given({"token_ids": IDS, "row_weights": WEIGHTS}, spans, WEIGHTS)


def test_rows_of_arrays_are_shuffled_unless_told():
    weights = [fitted(IDS, CLASSES, shuffle=shuffle) for shuffle in (False, False, True)]
    assert_equal(weights[0], weights[1])
    assert differ(weights[0], weights[2])


EVALUATE = {
    "batch_size": dict(batch_size=3),
    "steps": dict(batch_size=4, steps=1),
    "sample_weight": dict(sample_weight=WEIGHTS),
    "return_dict": {},
}


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.mark.parametrize("argument", EVALUATE)
def test_arguments_of_evaluate(model, argument):
    """Against the mean of the rows' cross-entropy; the last batch of three has two rows, and counts as two."""
    scores = model.predict(IDS, verbose=0)
    nats = np.log(np.exp(scores.astype(np.float64)).sum(1)) - scores[np.arange(8), CLASSES]
    weights = WEIGHTS if argument == "sample_weight" else np.arange(8) < (4 if argument == "steps" else 8)
    found = model.evaluate(IDS, CLASSES, verbose=0, return_dict=True, **EVALUATE[argument])
    assert found["loss"] == pytest.approx((nats * weights).sum() / weights.sum(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(((scores.argmax(1) == CLASSES) * weights).sum() / weights.sum())
    assert model.evaluate(IDS, CLASSES, verbose=0, **EVALUATE[argument]) == [found["loss"], found["accuracy"]]


def test_predict_reads_what_a_model_reads(model):
    whole = model(IDS).numpy()
    for x in (IDS, IDS.tolist(), {"input_ids": IDS.astype(np.int64)}, {"token_ids": IDS, "labels": CLASSES}):
        np.testing.assert_allclose(model.predict(x, batch_size=3, verbose=0), whole, rtol=1e-5, atol=1e-6)
    pairs = tf.data.Dataset.from_tensor_slices((IDS, CLASSES)).batch(4)
    np.testing.assert_allclose(model.predict(pairs, verbose=0), whole, rtol=1e-5, atol=1e-6)
    assert model.predict(IDS, 4, 0, 1).shape == (4, 3)
    np.testing.assert_allclose(model.predict_on_batch(IDS.tolist()), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "__call__"])
def test_a_misspelt_key_is_named_wherever_it_comes(model, call):
    batch = {"token_ids": IDS, "segment_id": np.ones_like(IDS), "labels": CLASSES}
    with pytest.raises(
        ValueError, match=r"'segment_id', which a TextClassifier does not know \(did you mean 'segment_ids'\?\)"
    ):
        getattr(model, call)(batch)


def test_a_model_is_called_by_name_as_in_transformers(model):
    mask = (np.arange(6) < 4)[None].repeat(8, 0)
    ours = model({"token_ids": IDS, "segment_ids": mask.astype(np.int32)})
    np.testing.assert_array_equal(model(**{"input_ids": IDS.tolist(), "attention_mask": mask.tolist()}), ours)
    batch = {"input_ids": IDS, "attention_mask": mask, "labels": CLASSES}  # with targets, as data sets have them
    np.testing.assert_array_equal(model(**batch), ours)
    with pytest.raises(ValueError, match="attention_mask in addition to features: give all in one dict, or all by name"):
        model(IDS, attention_mask=mask)


def test_no_data_is_named(model):
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises((ValueError, TypeError), match=f"{call.__name__} was given no x|missing a required argument: 'x'"):
            call()


def test_single_batches_are_steps_of_fit():
    """Keras' own would trace a graph for each batch."""
    ours, theirs = (classifier(eager=False, optimizer=keras.optimizers.SGD(0.5)) for _ in range(2))
    traced = []
    objective = ours.loss_and_metrics
    ours.loss_and_metrics = lambda features, **given: traced.append(1) or objective(features, **given)
    for part in (slice(0, 4), slice(4, 8)):
        said = ours.train_on_batch(IDS[part].tolist(), CLASSES[part], WEIGHTS[part], return_dict=True)
        assert ours.train_on_batch(IDS[part], CLASSES[part], np.zeros(4)) == [0, 0, 0]  # loss, accuracy, gradient_norm
    count = len(traced)
    ours.train_on_batch(IDS[:4], CLASSES[:4], np.zeros(4))
    assert len(traced) == count
    logs = theirs.fit(IDS, CLASSES, sample_weight=WEIGHTS, batch_size=4, shuffle=False, verbose=0).history
    assert_close(ours.trainable_variables, theirs.trainable_variables)
    assert math.isfinite(said["loss"]) and set(said) == set(logs)
    scores = ours.evaluate(IDS, CLASSES, verbose=0, return_dict=True)
    assert ours.test_on_batch(IDS, CLASSES, return_dict=True) == pytest.approx(scores, rel=1e-6)
    weighed = ours.train_on_batch(IDS, CLASSES, class_weight={0: 0.0, 1: 0.0, 2: 0.0})
    assert weighed == [0, 0, 0]


def test_pairs_of_arrays_stay_pairs():
    model = tfllm.TextEmbedder(CONFIG)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    rows = np.repeat(IDS[:4], 2, axis=0)  # each text is its own partner
    assert model.fit({"token_ids": rows}, batch_size=4, epochs=3, verbose=0).history["accuracy"] == [1, 1, 1]
    with pytest.raises(ValueError, match="shuffle=True would part rows 2i and 2i \\+ 1, which are partners"):
        model.fit(rows, shuffle=True)
    for settings, message in (
        (dict(x=rows, batch_size=3), "batch_size: 3 would part"),
        (dict(x=rows[:5]), "rows: 5 would part"),
        (dict(x=rows, validation_split=0.1), "rows to learn from: 7 would part"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(**settings)


def test_dropout_differs_between_replicas_of_arrays():
    """Rows of arrays carry no number of their own."""
    model = tfllm.TextClassifier(CONFIG.replace(dropout=0.5), labels=["a", "b", "c"])
    model.compile("sgd")
    seeds = model._row_seeds((tf.constant(IDS), None), tf.constant(8)).numpy()
    assert len(set(seeds.tolist())) == 8
    np.testing.assert_array_equal(seeds, model._row_seeds(({"token_ids": IDS, "row": tf.range(8)},), tf.constant(8)))


def test_values_that_would_be_taken_for_others_are_refused():
    """Each said once in the graph of `fit`, once step by step; what is right beside it is learnt."""
    several = tfllm.TextClassifier(CONFIG, labels=["a", "b", "c"], multi_label=True)
    single, tagger = (kind(CONFIG, labels=["O", "B-A", "I-A"]) for kind in (tfllm.TextClassifier, tfllm.TokenClassifier))
    answers = tfllm.QuestionAnswerer(CONFIG)
    decoder = tfllm.CausalLM(tfllm.ModelConfig(vocab_size=40, max_length=8, num_layers=1, hidden_size=8, num_heads=2))
    one, mask = {"token_ids": IDS[:2]}, np.array([[1] * 6, [1] * 4 + [0] * 2])
    masked, places = one | {"attention_mask": mask}, one | {"answer_places": np.array([[1, 0, 0, 1, 1, 0]] * 2)}
    wrong_labels, wrong_span = "labels are from 0 to 1: 1 for each that holds", "step 0: span_starts and span_ends are places"
    for model, words, wrong, right in (
        (several, wrong_labels, (one, [[1, -100, 0], [0, 0, 1]]), (one, [[1, 0.5, 0], [0, 0, 1]])),
        (several, wrong_labels, (one, [[2, 0, 0], [0, 0, 1]]), (one, [[1, 0, 0], [0, 0, 1]], [0.0, 1.0])),
        (
            several,
            "attention_mask are from 0 to 1: 1 for a token, 0 for padding",
            (one | {"attention_mask": (1 - mask) * -10000}, [[1, 0, 0]] * 2),
            (masked, [[1, 0, 0]] * 2),
        ),
        (answers, wrong_span, (one, ([4, 1], [3, 1])), (one, ([3, 1], [4, 1]))),
        (answers, wrong_span, (one, ([4, 1], [6, 1])), (one, ([4, 1], [3, 1]), [0.0, 1.0])),
        (answers, wrong_span, (masked, ([1, 3], [1, 4])), (masked, ([1, 3], [1, 3]))),
        (answers, wrong_span, (places, ([2, 0], [3, 0])), (places, ([3, 0], [4, 0]))),
        (decoder, "y is token_ids itself", (IDS, IDS), ({"token_ids": IDS, "labels": IDS},)),
        (single, "labels=3 is invalid: expected class numbers from 0 to 2", (one, [3, 0]), (one, [2, 0])),
        (tagger, "target_ids=-1 is invalid: expected class numbers from 0 to 2", (one, -mask), (one, mask * 102 - 100)),
    ):
        model.compile("sgd", run_eagerly=True)
        with pytest.raises(ValueError, match=words):
            model.fit(*wrong[:2], verbose=0)
        model.fit(*right[:2], sample_weight=np.array(right[2]) if right[2:] else None, verbose=0)
    answers.compile("sgd")
    with pytest.raises(ValueError, match=wrong_span):
        answers.fit(one, ([4, 1], [3, 1]), verbose=0)
    single.compile("sgd")
    with pytest.raises(ValueError, match="step 0: labels=7 is invalid: expected class numbers from 0 to 2"):
        single.fit(one, [0, 7], verbose=0)
    with pytest.raises(ValueError, match="attention_mask are from 0 to 1"):
        several.predict(one | {"attention_mask": (1 - mask) * -10000}, verbose=0)


def test_other_things_than_were_wanted_are_named():
    several = tfllm.TextClassifier(CONFIG, labels=["a", "b", "c"], multi_label=True)
    number = tfllm.TextRegressor(CONFIG)
    for given, advice in (
        (1e-3, r"optimizer=0.001: give one, such as keras.optimizers.Adam\(0.001\)"),
        (keras.optimizers.SGD, r"give one, such as keras.optimizers.SGD\(0.001\)"),
    ):
        with pytest.raises(ValueError, match=advice):
            several.compile(given)
    for model in (several, number):
        model.compile(keras.optimizers.SGD(0.001), run_eagerly=True)
    for model, wrong, right, words in (
        (several, [1, 0], [[1, 0, 0], [0, 0, 0]], "labels has the shape .*give 0 or 1 for each of the 3 labels of a row"),
        (
            several,
            [[1], [0, 1]],
            [[1, 0, 0], [0, 0, 0]],
            "rows of 1 to 2 numbers .*of several labels a row, give 0 or 1 for each",
        ),
        (number, ["1.0", "2"], [1.0, 2], "labels are strings: give numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(IDS[:2], wrong, verbose=0)
        model.fit(IDS[:2], right, verbose=0)
    mask = np.ones_like(IDS)
    with pytest.raises(TypeError, match=r"model\({'token_ids': ids, 'attention_mask': mask}\)"):
        number(IDS, mask)
    assert number({"token_ids": IDS, "attention_mask": mask}).shape == (8,)
    with pytest.raises(ValueError, match=r"labels=\(2,\) is invalid: expected at least two different strings"):
        tfllm.TextClassifier(CONFIG, labels=2)


def test_masked_batches_of_keras_hub():
    model = tfllm.MaskedLM(CONFIG)
    model.compile("sgd", run_eagerly=True)
    places, ids, weights = np.array([[1, 3], [2, 0]]), np.array([[7, 8], [9, 0]]), np.array([[1, 1], [1, 0.0]])
    x = {"token_ids": IDS[:2], "padding_mask": np.ones([2, 6], bool), "mask_positions": places}
    ours = {"token_ids": IDS[:2], "target_places": places, "target_ids": ids, "target_weights": weights}
    assert model.evaluate(x, ids, sample_weight=weights, verbose=0) == model.evaluate(ours, verbose=0)
