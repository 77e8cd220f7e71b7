"""Fine-tuning from end to end, on real labels: scores, the best epoch, patience, restarts, and what is refused."""

import dataclasses
import json
import math
import re
import shutil

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
from events import points
from fetch import skipping
from sklearn.metrics import classification_report, confusion_matrix, f1_score

import tfllm
from tfllm import data, finetuning
from tfllm.data.labelled.conll_files import Sentence
from tfllm.finetuning.run import _compile
from tfllm.tasks import finetuning_of, task_of
from tfllm.tokenizers import ByteTokenizer
from tfllm.train.callbacks.scalars import DESCRIPTIONS, name_and_description
from tfllm.train.runs.checkpoints import latest_checkpoint

CONFIG = tfllm.preset("bert-tiny", vocab_size=259, max_length=96, num_layers=1, hidden_size=32, num_heads=2, dropout=0.1)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Sentences of film reviews: 168 to learn from, 43 to choose by."""
    with skipping():
        folder = datasets.polarity_sentences(tmp_path_factory.mktemp("data"))
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()][::15]
    training = data.text_classification([line for i, line in enumerate(lines) if i % 5], ByteTokenizer(), max_length=96)
    return training, data.text_classification(lines[::5], ByteTokenizer(), labels=training.labels, max_length=96)


def classifier(training, **settings):
    return tfllm.TextClassifier(CONFIG, labels=training.labels, **settings)


SETTINGS = tfllm.Finetuning(epochs=3, batch_size=32, learning_rate=3e-3, seed=4)


@pytest.fixture(scope="module")
def finished(reviews, tmp_path_factory):
    return tfllm.finetune(
        classifier(reviews[0]), *reviews, folder=tmp_path_factory.mktemp("runs") / "run", settings=SETTINGS, verbose=0
    )


def test_scores_are_measured_each_epoch_and_the_best_is_kept(reviews, finished):
    assert [record["step"] for record in finished.history] == [6, 12, 18]
    assert finished.history[-1]["loss"] < finished.history[0]["loss"]
    best, tokenizer = tfllm.load(finished.folder / "best")
    record = max(finished.history, key=lambda record: record["val_accuracy"])
    assert finished.best_record == record
    found = finetuning.evaluator(best, reviews[1])()
    scores, names = found.scores, ("accuracy", "macro_f1", "micro_f1", "matthews", "macro_precision", "macro_recall")
    assert scores == {name: record[f"val_{name}"] for name in names}
    texts, truth = [each.text for each in reviews[1].records], [each.labels[0] for each in reviews[1].records]
    labels = [answer["label"] for answer in tfllm.predict(best, tokenizer, texts)]
    assert math.isclose(f1_score(truth, labels, average="macro"), scores["macro_f1"], rel_tol=1e-6)
    stored = json.loads((latest_checkpoint(finished.folder) / "state.json").read_text())["history"][
        finished.history.index(record)
    ]
    report = classification_report(truth, labels, output_dict=True, zero_division=0)
    for name in ("precision", "recall", "f1"):
        by_label = {label: report[label]["f1-score" if name == "f1" else name] for label in best.labels}
        assert stored[f"val_{name}_by_label"] == pytest.approx(by_label)
        assert record[f"val_macro_{name}"] == pytest.approx(report["macro avg"]["f1-score" if name == "f1" else name])
    assert stored["val_confusion"] == confusion_matrix(truth, labels, labels=best.labels).tolist()
    assert found.tables["confusion"] == stored["val_confusion"]


def test_a_large_confusion_is_no_part_of_the_history():
    labels = [f"label {i}" for i in range(61)]
    rows = data.text_classification([{"text": name, "label": name} for name in labels], ByteTokenizer(), max_length=16)
    model = tfllm.TextClassifier(CONFIG, labels=rows.labels)
    tables = finetuning.evaluator(model, rows)().tables
    assert tables.keys() == {"precision_by_label", "recall_by_label", "f1_by_label"}
    assert list(tables["f1_by_label"]) == list(rows.labels)


def test_pictures_and_scores_are_on_tensorboard(finished):
    shown = points(finished.folder / "logs")
    for name in ("accuracy", "macro_f1", "macro_precision", "matthews", "loss"):
        assert list(shown[f"validation/{name}"]) == [6, 12, 18], name
    assert list(shown["validation/confusion"]) == [18], "of the last epoch, for the run has less than 500 steps"


def test_every_score_has_a_description():
    pairs = dict(next_sentence=True)
    config = CONFIG.replace(pooler=True)
    models = [tfllm.MaskedLM(config, **pairs), tfllm.TextRegressor(config), tfllm.TextEmbedder(config)]
    for model in models:
        model.compile(tfllm.train.adamw(1e-3))
    names = {metric.name for model in models for metric in model.metrics} | {"bits_per_byte", "learning_rate"}
    judged = [tfllm.TokenClassifier(config, labels=labels) for labels in (["O", "B-PER"], ["NOUN", "VERB"])]
    judged += [tfllm.TextClassifier(config, labels=["a", "b"], multi_label=several) for several in (False, True)]
    judged += [tfllm.QuestionAnswerer(config), *models[1:]]
    assert {model.task for model in judged} == {spec.name for spec in tfllm.tasks.BUILT_IN if spec.finetuning}
    names |= {score for model in judged for score in finetuning_of(task_of(model)).metrics_of(model).names} - {"f1_PER"}
    assert names <= DESCRIPTIONS.keys()
    assert name_and_description("f1_PER") == ("F1 of PER", "F1 of the entities of this label.")


@pytest.mark.parametrize("killed_at", [12, pytest.param(18, marks=pytest.mark.slow)])
def test_a_run_that_was_left_ends_the_same(reviews, finished, tmp_path, killed_at):
    """Some epochs by one process, killed before a validation, the rest by a model made anew: the same weights, bit for bit."""
    _first_epochs(reviews, tmp_path / "run", killed_at)
    run = tfllm.finetune(classifier(reviews[0]), *reviews, folder=tmp_path / "run", settings=SETTINGS, verbose=0)
    for ours, theirs in zip(run.model.variables, finished.model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [record["val_loss"] for record in run.history] == [record["val_loss"] for record in finished.history]
    assert points(run.folder / "logs") == points(finished.folder / "logs")
    assert tfllm.load(run.folder / "best")[0].labels == run.model.labels
    again = tfllm.finetune(classifier(reviews[0]), *reviews, folder=tmp_path / "run", settings=SETTINGS, verbose=0)
    assert again.step == 18 and len(again.history) == 3


def test_settings_as_arguments_get_advice():
    for call, name in ((tfllm.finetune, "Finetuning"), (tfllm.pretrain, "Pretraining")):
        message = rf"is invalid: expected as a part of settings. Give settings=tfllm.{name}\(epochs=3, batch_size=8\)"
        with pytest.raises(TypeError, match=message):
            call(epochs=3, batch_size=8)


def _first_epochs(reviews, folder, killed_at):
    """The same call, killed after the last step of an epoch, before its validation."""

    class Killed(Exception):
        pass

    real = tfllm.train.Run.save

    def save(self):
        path = real(self)
        if self.step == killed_at:
            raise Killed
        return path

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(tfllm.train.Run, "save", save)
        tfllm.finetune(classifier(reviews[0]), *reviews, folder=folder, settings=SETTINGS, verbose=0)


def test_patience_ends_a_run(reviews, tmp_path):
    still = tfllm.Finetuning(epochs=9, batch_size=80, learning_rate=1e-12, patience=2)
    model, counted = classifier(reviews[0]), []
    note = keras.callbacks.LambdaCallback(on_test_begin=lambda logs: counted.append(model.metrics[0].sums()[1]))
    run = tfllm.finetune(model, *reviews, folder=tmp_path / "run", settings=still, callbacks=[note], verbose=0)
    assert len(run.history) == 3 and run.exhausted
    assert counted == [168] * 3, "each row once an epoch, in batches of 80, 80 and 8"
    again = tfllm.finetune(classifier(reviews[0]), *reviews, folder=tmp_path / "run", settings=still, verbose=0)
    assert len(again.history) == 3
    with pytest.raises(ValueError, match="the run has ended by its patience: load best/, or give more patience"):
        again.model.fit(reviews[0].batches(80), steps_per_epoch=3, initial_epoch=3, epochs=4, callbacks=again.callbacks())


@pytest.mark.parametrize("freeze", [0, 1])
def test_what_is_frozen_stays_and_the_rest_learns(reviews, tmp_path, freeze):
    model = tfllm.TextClassifier(CONFIG.replace(num_layers=2), labels=reviews[0].labels)
    before = {variable.path: variable.numpy() for variable in model.variables}
    settings = tfllm.Finetuning(epochs=1, freeze=freeze, batch_size=80, learning_rate=1e-3)
    tfllm.finetune(model, *reviews, folder=tmp_path / "run", settings=settings, verbose=0)
    stays = {path for path, value in before.items() if np.array_equal(value, _of(model, path))}
    embeddings = {path for path in before if "embedding" in path}
    block = {path for path in before if "/block_0/" in path}
    assert len(embeddings) >= 3 and len(block) >= 8
    assert stays == embeddings | (block if freeze else set())


def _of(model, path):
    return next(variable.numpy() for variable in model.variables if variable.path == path)


def test_every_setting_reaches_the_optimizer_and_the_step():
    model = tfllm.TextClassifier(CONFIG, labels=["a", "b"])
    settings = tfllm.Finetuning(
        learning_rate=0.5,
        warmup=0.5,
        weight_decay=0.25,
        layer_decay=0.75,
        batch_size=4,
        gradient_accumulation=2,
        label_smoothing=0.125,
        seed=9,
    )
    _compile(model, settings, 10, ["label_smoothing"])
    optimizer, config = model.optimizer.get_config(), model.get_compile_config()
    assert {name: optimizer[name] for name in ("weight_decay", "layer_decay")} == {"weight_decay": 0.25, "layer_decay": 0.75}
    rates = optimizer["learning_rate"]["config"]
    assert (rates["shape"], rates["peak"], rates["steps"], rates["warmup_steps"]) == ("linear", 0.5, 10, 5)
    assert rates["final_fraction"] == 0
    assert (config["gradient_accumulation"], config["label_smoothing"], config["seed"]) == (2, 0.125, 9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"freeze": 0}, "frozen 0"),
        ({"class_weights": True}, "weighted True"),
        ({"batch_size": 16}, "batches of 16"),
        ({"seed": 5}, "seed 5"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_only(reviews, finished, change, said):
    with pytest.raises(ValueError, match=f"was trained with another data .* now .*{said}.* Give it what it was started with"):
        tfllm.finetune(
            classifier(reviews[0]),
            *reviews,
            folder=finished.folder,
            settings=dataclasses.replace(SETTINGS, **change),
            verbose=0,
        )


def test_classes_are_weighted(tmp_path):
    """The loss of weights that hardly move is the weighted mean, by hand, of -log p: three of four rows are of one class."""
    lines = [{"text": f"{'good' if i % 4 else 'bad'} {i}", "label": "yes" if i % 4 else "no"} for i in range(16)]
    rows = data.text_classification(lines, ByteTokenizer(), max_length=16)
    model = tfllm.TextClassifier(CONFIG.replace(dropout=0.0, attention_dropout=0.0, initializer_range=0.5), labels=rows.labels)
    truth = np.array([rows.labels.index(line["label"]) for line in lines])
    batch = ByteTokenizer()([line["text"] for line in lines], padding=True)
    nats = -tf.nn.log_softmax(model(batch)).numpy()[np.arange(16), truth]
    settings = tfllm.Finetuning(epochs=1, class_weights=True, batch_size=16, learning_rate=1e-9)
    run = tfllm.finetune(model, rows, rows, folder=tmp_path / "run", settings=settings, verbose=0)
    weights = np.where(truth == rows.labels.index("no"), 1.5, 0.5)  # 1/4 and 1/12, of mean 1
    np.testing.assert_allclose(run.history[0]["loss"], np.average(nats, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(run.history[0]["val_loss"], nats.mean(), rtol=1e-5)
    assert abs(np.average(nats, weights=weights) - nats.mean()) > 0.01


WORDS = [
    Sentence(("Ada", "went", "to", "London"), ("B-PER", "O", "O", "B-LOC"), (True, True, True, False), f"line {i}")
    for i in range(24)
]
QUESTIONS = [
    {
        "id": str(i),
        "question": f"Who was number {i}?",
        "context": f"Number {i} was Ada." if i % 3 else "Nothing is known.",
        "answers": ["Ada"] if i % 3 else [],
        "answer_start": [len(f"Number {i} was ")] if i % 3 else [],
    }
    for i in range(24)
]
PAIRS = [{"text": f"the number {i}", "text_pair": f"{i}, a number"} for i in range(24)]
RATED = [{"text": "good " * (i % 5 + 1), "label": float(i % 5)} for i in range(24)]
MANY = [
    {"text": f"{'red ' * (i % 2)}{'blue' * (i % 3 == 0)} x", "label": ["red"] * (i % 2) + ["blue"] * (i % 3 == 0)}
    for i in range(24)
]
TASKS = {
    "token_classifier": (WORDS, {"precision", "recall", "f1", "f1_on_text", "accuracy", "f1_PER", "f1_LOC"}, "val_f1"),
    "question_answerer": (
        QUESTIONS,
        {"exact_match", "f1", "exact_match_answerable", "f1_answerable", "right_unanswerable", "oracle_exact_match"},
        "val_f1",
    ),
    "text_embedder": (PAIRS, {"recall_at_1", "mean_reciprocal_rank"}, "val_recall_at_1"),
    "text_regressor": (RATED, {"pearson", "spearman", "mean_squared_error"}, "val_loss"),
    "text_classifier": (
        MANY,
        {"accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "precision_by_label", "recall_by_label"},
        "val_micro_f1",
    ),
}


@pytest.mark.parametrize(
    "task",
    [
        task if task in ("token_classifier", "question_answerer") else pytest.param(task, marks=pytest.mark.slow)
        for task in TASKS
    ],
)
def test_every_task_learns_and_is_scored(task, tmp_path):
    """By heart: what is learnt is what is asked."""
    source, measures, best = TASKS[task]
    options = {"multi_label": True} if task == "text_classifier" else {}
    rows = finetuning.read(task, source, ByteTokenizer(), max_length=48, **options)
    pretrained = tfllm.MaskedLM(CONFIG.replace(num_layers=2, hidden_size=64))
    model = finetuning.build_model(task, pretrained, rows, seed=1)
    settings = tfllm.Finetuning(epochs=8, batch_size=6, learning_rate=5e-3)
    run = tfllm.finetune(model, rows, rows, folder=tmp_path / "run", settings=settings, verbose=0)
    assert run.best == best
    assert {f"val_{name}" for name in measures} <= set(run.history[-1])
    scores = finetuning.evaluator(model, rows)().scores
    wanted = {
        "token_classifier": "f1",
        "question_answerer": "f1",
        "text_embedder": "recall_at_1",
        "text_regressor": "pearson",
        "text_classifier": "macro_f1",
    }
    assert scores[wanted[task]] > 0.8, scores


def test_what_does_not_fit_is_refused(reviews, tmp_path):
    training, validation = reviews
    with pytest.raises(
        ValueError, match=r"A TokenClassifier is trained on rows of a token_classifier, got rows of a text_classifier"
    ):
        tfllm.finetune(tfllm.TokenClassifier(CONFIG, labels=["O", "B-X"]), training, validation, folder=tmp_path / "run")
    with pytest.raises(ValueError, match=r"was made with {'labels': \('a', 'b'\)}, the rows with {'labels': \('neg', 'pos'\)}"):
        tfllm.finetune(tfllm.TextClassifier(CONFIG, labels=["a", "b"]), training, validation, folder=tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"was made with {'pairs': True}, the rows with {'pairs': False}. Give the model another"
    ):
        tfllm.finetune(classifier(training, pairs=True), training, validation, folder=tmp_path / "run")
    with pytest.raises(
        ValueError,
        match=r"rows\.max_length=96 is invalid: expected at most 64, .* Read the rows with max_length=64",
    ):
        tfllm.finetune(
            tfllm.TextClassifier(CONFIG.replace(max_length=64), labels=training.labels),
            training,
            validation,
            folder=tmp_path / "run",
        )
    with pytest.raises(ValueError, match="A MaskedLM cannot be fine-tuned: expected one of TextClassifier"):
        tfllm.finetune(tfllm.MaskedLM(CONFIG), training, validation, folder=tmp_path / "run")
    with pytest.raises(ValueError, match="epochs=0 is invalid: expected 1 or more"):
        tfllm.finetune(classifier(training), training, validation, folder=tmp_path / "run", settings=tfllm.Finetuning(epochs=0))
    with pytest.raises(
        ValueError, match=r"best='val_rouge' is invalid: expected a metric of TextClassifier: val_loss, val_accuracy, val_macro"
    ):
        typo = tfllm.Finetuning(epochs=1, best="val_rouge")
        tfllm.finetune(classifier(training), training, validation, folder=tmp_path / "run", settings=typo)
    with pytest.raises(
        ValueError, match=r"task='clasification' is invalid: expected one of causal_lm, masked_lm, text_classifier"
    ):
        finetuning.read("clasification", "train.csv", ByteTokenizer())
    assert not (tmp_path / "run").exists()


def test_advice_on_labels_that_differ_is_followed():
    """A Hugging Face classifier of LABEL_0 and LABEL_1, and tables of 1 and 0, of pairs, of several labels."""
    published = tfllm.TextClassifier(CONFIG, labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    table = [{"text": "a", "pair": "b", "label": "1"}, {"text": "b", "pair": "c", "label": "0"}]
    several = {"multi_label": True, "labels": ["0", "1"]}
    for options in ({}, {"pair": "pair"}, several, {"pair": "pair"} | several):
        rows = data.text_classification(table, ByteTokenizer(), max_length=48, **options)
        with pytest.raises(ValueError, match=r"the rows with {'labels': \('0', '1'\)") as error:
            finetuning.check_data(published, rows)
        call = re.search(r"as tfllm finetune does: (tfllm\..*\))$", str(error.value))[1]
        finetuning.check_data(eval(call, {"tfllm": tfllm, "model": published, "rows": rows}), rows)
    known = [row | {"label": "LABEL_2"} for row in table]
    with pytest.raises(ValueError, match=r"; or read the file with labels=model\.labels$"):
        finetuning.check_data(published, data.text_classification(known, ByteTokenizer(), max_length=48))
    rows = data.text_classification(known, ByteTokenizer(), labels=published.labels, max_length=48)
    finetuning.check_data(published, rows)


@pytest.mark.parametrize("task", ["text_classifier", "text_regressor", "text_embedder"])
def test_rows_of_an_empty_text_are_passed_over_where_that_is_asked(task):
    other = {"text_pair": "b"} if task == "text_embedder" else {"label": 1}
    table = [{"text": "a", **other}, {"text": " ", **other}]
    with pytest.raises(ValueError, match=r"record 2: the column 'text' is empty\. Fill it, or pass skip_empty=True"):
        finetuning.read(task, table, ByteTokenizer())
    assert len(finetuning.read(task, table, ByteTokenizer(), skip_empty=True).records) == 1


def test_labels_to_choose_by_are_those_to_learn(tmp_path):
    def read(*labels, **settings):
        table = [{"text": f"text {place}", "label": label} for place, label in enumerate(labels)]
        return data.text_classification(table, ByteTokenizer(), max_length=48, **settings)

    training = read("x", "y")
    model = tfllm.TextClassifier(CONFIG, labels=training.labels)
    with pytest.raises(ValueError, match=r"=\('x', 'z'\) is invalid: .* \('x', 'y'\)\. .* labels=training\.labels\.$"):
        finetuning.finetune(model, training, read("x", "z"), folder=tmp_path / "run")
    with pytest.raises(ValueError, match=r"record 2: the label is 'z': expected one of these 2"):  # as advised
        read("x", "z", labels=training.labels)


def test_a_model_predicts_as_much_of_a_text_as_it_learnt_from(finished, reviews):
    best, tokenizer = tfllm.load(finished.folder / "best")
    assert best.max_length == reviews[0].max_length
    short = tfllm.TextClassifier.from_pretrained(best, labels=best.labels, max_length=20)
    first, second = tfllm.predict(short, tokenizer, ["the same beginning, and an end", "the same beginning, and another"])
    assert first == second, "what is behind 20 tokens is not read"
    first, second = tfllm.predict(best, tokenizer, ["the same beginning, and an end", "the same beginning, and another"])
    assert first != second


def test_vectors_that_are_all_alike_find_nobody():
    rows = data.text_pairs(PAIRS, ByteTokenizer(), max_length=48)
    model = tfllm.TextEmbedder(CONFIG, normalize=False)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    assert finetuning.evaluator(model, rows)().scores["recall_at_1"] == 0
    for variable in model.variables:
        variable.assign(np.full(variable.shape, np.nan))
    assert finetuning.evaluator(model, rows)().scores["recall_at_1"] == 0


def test_another_tasks_folder_is_refused(reviews, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run of another model: pooling was pooler, is mean"):
        tfllm.finetune(classifier(reviews[0], pooling="mean"), *reviews, folder=tmp_path / "run", settings=SETTINGS)


def test_other_first_weights_are_another_run(reviews, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(ValueError, match="was trained with another data"):
        tfllm.finetune(classifier(reviews[0], seed=9), *reviews, folder=tmp_path / "run", settings=SETTINGS, verbose=0)


def test_settings_are_refused_before_the_run_has_a_folder(reviews, tmp_path):
    for wrong, message in (
        ({"best": "val_f1_PER"}, "best='val_f1_PER' is invalid: expected a metric"),
        ({"warmup": 1.0}, r"warmup=1.0 is invalid: expected a fraction of all steps, from 0 to below 1"),
        (
            {"batch_size": 8, "gradient_accumulation": 3},
            "batch_size=8 is invalid: expected a multiple of gradient_accumulation=3",
        ),
        ({"gradient_accumulation": 0}, "gradient_accumulation=0 is invalid: expected 1 or more"),
        ({"temperature": 0.5}, "temperature=0.5 is invalid: expected no temperature for a TextClassifier"),
    ):
        with pytest.raises(ValueError, match=message):
            tfllm.finetune(classifier(reviews[0]), *reviews, folder=tmp_path / "run", settings=tfllm.Finetuning(**wrong))
    assert not (tmp_path / "run").exists()


def test_a_kind_of_entity_that_is_nowhere_has_its_score_in_every_epoch():
    rows = finetuning.read(
        "token_classifier", WORDS, ByteTokenizer(), labels=["O", "B-PER", "B-LOC", "B-MISC", "I-MISC"], max_length=48
    )
    model = tfllm.TokenClassifier(CONFIG, labels=rows.labels)
    model.head.bias.assign([1e3, 0, 0, 0, 0])  # says "O" always
    scores = finetuning.evaluator(model, rows)().scores
    assert {name: scores[name] for name in scores if "f1_" in name} == dict.fromkeys(
        ("f1_on_text", "f1_PER", "f1_LOC", "f1_MISC"), 0
    )


def test_a_class_that_is_none_is_named():
    model = tfllm.TextClassifier(CONFIG, labels=["a", "b", "c"])
    model.compile(tfllm.train.adamw(1e-3))
    batch = {"token_ids": np.ones([2, 5], np.int32), "labels": np.array([0, 3], np.int32)}
    with pytest.raises(ValueError, match=r"labels=3 is invalid: expected class numbers from 0 to 2\. Make the model"):
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)


def test_a_regressors_last_layer_is_not_rounded():
    model = tfllm.TextRegressor(CONFIG, dtype="mixed_bfloat16")
    model.head.bias.assign([1001.25])
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    assert model({"token_ids": np.ones([1, 5], np.int32)}).numpy().item() == 1001.25


def test_a_classifier_does_not_continue_texts(finished):
    model, tokenizer = tfllm.load(finished.folder / "best")
    with pytest.raises(ValueError, match=r"expected a CausalLM, got a TextClassifier\. Use tfllm\.predict for it"):
        tfllm.generate(model, tokenizer, "once")
    with pytest.raises(ValueError, match="expected a CausalLM, got a TextClassifier"):
        next(tfllm.stream(model, tokenizer, "once"))
