"""Texts that share a partner: no copy of a right answer is a wrong one, in the loss and in the ranking."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm import features
from tfllm.finetuning.evaluation import evaluate_vectors
from tfllm.models.text_embedder import wrong_partners
from tfllm.tokenizers import ByteTokenizer
from tfllm.train.distribution.replicas import GatheredRows

CONFIG = tfllm.preset("bert-tiny", vocab_size=259, num_layers=1, hidden_size=16, num_heads=2)
# Six questions of three answers; one pair stands twice, and the last question has two answers.
FAQ = [("a?", "A"), ("b?", "B"), ("a", "A"), ("c?", "C"), ("b", "B"), ("c?", "C"), ("c", "C"), ("d", "D"), ("d", "DD")]
MEANT = [0, 1, 0, 2, 1, 2, 2, 3, 3]


class Fixed(tfllm.TextEmbedder):
    """Gives row i of `vectors`, whatever it reads."""

    def call(self, features, training=False, options=None):
        return tf.constant(self.vectors, tf.float32)


def embedder(vectors, temperature=0.05):
    model = Fixed(CONFIG)
    model.vectors = np.asarray(vectors)
    model.compile(keras.optimizers.SGD(), temperature=temperature)
    return model


def rows_of(pairs):
    return tfllm.data.text_pairs([{"text": one, "text_pair": other} for one, other in pairs], ByteTokenizer())


def loss_of(model, batch):
    found = model.loss_and_metrics(batch, training=False)
    sums = {name: float(value / weight) for name, (value, weight) in found.metrics.items()}
    assert math.isclose(found.loss / found.weight, sums["loss"], rel_tol=1e-6, abs_tol=1e-6)
    return sums


def wrong_by_hand(pairs, i, j, way):
    """Is text j of the other column an answer that text i must not choose?"""
    asked, right = pairs[i][way], pairs[i][1 - way]
    right_too = {other[1 - way] for other in pairs if other[way] == asked}
    return pairs[j][1 - way] not in right_too | {right, asked}


def test_wrong_answers_as_in_the_docstring():
    expected = [[False, False, False], [False, False, True], [False, False, False]]
    assert wrong_partners(tf.constant([[0, 1], [2, 1], [0, 3]])).numpy().tolist() == expected


def test_equal_texts_have_equal_numbers():
    rows = rows_of([("hé", "no"), ("oh", "no"), ("no", "no")])
    assert rows.row_features[features.TEXT_NUMBERS].tolist() == [0, 1, 2, 1, 1, 1]
    (batch,) = rows.batches(8, shuffle=False, repeat=False)
    assert batch[features.TEXT_NUMBERS].dtype == tf.int32 and batch[features.TEXT_NUMBERS].shape == [8]
    assert batch[features.TEXT_NUMBERS].numpy()[:6].tolist() == [0, 1, 2, 1, 1, 1]
    cut = tfllm.data.text_pairs([{"text": "abcdX", "text_pair": "abcdY"}], ByteTokenizer(), max_length=6)
    assert cut.row_features[features.TEXT_NUMBERS].tolist() == [0, 0], "what the model reads is the same"


def test_a_perfect_model_of_a_faq_has_no_loss_and_finds_every_answer():
    vectors = np.repeat(np.eye(16)[MEANT], 2, axis=0)
    rows = rows_of(FAQ)
    (batch,) = rows.batches(2 * len(FAQ), shuffle=False, repeat=False)
    model = embedder(vectors)
    assert loss_of(model, batch) == {"loss": pytest.approx(0, abs=1e-6), "accuracy": 1}
    assert evaluate_vectors(model, rows, model, 2 * len(FAQ)).scores == {"recall_at_1": 1, "mean_reciprocal_rank": 1}
    kept = model.evaluate(rows.batches(2 * len(FAQ), shuffle=False, repeat=False), verbose=0, return_dict=True)
    assert kept["loss"] == pytest.approx(0, abs=1e-6), "the numbers reach the objective through Keras' methods"
    # Batches of one's own need not say which texts are equal; then copies are wrong answers: ln 2 of two, ln 3 of three.
    own = {name: value for name, value in batch.items() if name != features.TEXT_NUMBERS}
    counts = np.bincount(MEANT)[MEANT]
    assert loss_of(model, own)["loss"] == pytest.approx(np.log(counts).mean(), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_ranks_are_those_of_loops(seed):
    """Few texts drawn often: shared partners, several partners, whole pairs twice, texts that are their own partner."""
    random = np.random.default_rng(seed)
    pairs = [tuple(f"text {number}" for number in random.integers(0, 8, 2)) for _ in range(9)] + [
        ("x", "y"),
        ("y", "x"),
        ("x", "x"),
    ]
    rows = rows_of(pairs)
    of_text = {text: random.normal(size=16) for text in sorted({*itertools.chain(*pairs)})}
    of_text = {text: vector / np.linalg.norm(vector) for text, vector in of_text.items()}
    vectors = np.array([of_text[text] for text in itertools.chain(*pairs)])
    model = embedder(vectors, temperature=0.2)
    nats, count = 0.0, len(pairs)
    for way, i in itertools.product((0, 1), range(count)):
        cosines = {j: vectors[2 * i + way] @ vectors[2 * j + 1 - way] / 0.2 for j in range(count)}
        compared = [cosines[j] for j in range(count) if j == i or wrong_by_hand(pairs, i, j, way)]
        nats += np.log(np.exp(compared).sum()) - cosines[i]
    (batch,) = rows.batches(2 * count, shuffle=False, repeat=False)
    assert loss_of(model, batch)["loss"] == pytest.approx(nats / 2 / count, rel=1e-5)
    ranks = []
    for i, (one, other) in enumerate(pairs):
        wrong = {pairs[j][1] for j in range(count) if wrong_by_hand(pairs, i, j, 0)}
        ranks.append(1 + sum(of_text[one] @ of_text[text] >= of_text[one] @ of_text[other] for text in wrong))
    found = evaluate_vectors(model, rows, model, 2 * count).scores
    assert found["recall_at_1"] == pytest.approx(np.mean(np.array(ranks) == 1))
    assert found["mean_reciprocal_rank"] == pytest.approx(np.mean(1 / np.array(ranks)))


def test_ranks_are_the_same_in_blocks(monkeypatch):
    rows, vectors = rows_of(FAQ), np.random.default_rng(1).normal(size=[2 * len(FAQ), 16])
    model = embedder(vectors)
    whole = evaluate_vectors(model, rows, model, 2 * len(FAQ)).scores
    monkeypatch.setattr("tfllm.finetuning.evaluation._BLOCK", 3)
    assert evaluate_vectors(model, rows, model, 2 * len(FAQ)).scores == whole


def test_rows_of_both_data_sets_are_counted():
    training, validation = rows_of(FAQ), rows_of([("a?", "A"), ("a?", "B"), ("d?", "A")])
    assert (validation.shared_with(training), training.shared_with(validation)) == (1, 1)
    one, other = (
        tfllm.data.text_classification(
            [{"text": text, "pair": pair, "label": "x"} for text, pair in texts], ByteTokenizer(), pair="pair"
        )
        for texts in ([("a", "b"), ("c", "d")], [("a", "d"), ("c", "d"), ("c", "d")])
    )
    assert (other.shared_with(one), one.shared_with(other)) == (2, 1)


def test_replicas_compare_the_texts_of_all(monkeypatch):
    """What two replicas say, each of its own rows, is what one says of all; equal texts are on either side."""
    vectors, rows = np.random.default_rng(2).normal(size=[16, 16]), rows_of(FAQ[:8])
    (batch,) = rows.batches(16, shuffle=False, repeat=False)
    whole = embedder(vectors).loss_and_metrics(batch, training=False)
    weighted = tf.concat([tf.math.l2_normalize(tf.constant(vectors, tf.float32), -1), tf.ones([16, 1])], -1)
    everything = {tf.float32: weighted, tf.int32: batch[features.TEXT_NUMBERS]}
    sums = []
    for first, count in ((0, 6), (6, 10)):
        monkeypatch.setattr(
            "tfllm.models.text_embedder.gather_rows",
            lambda part, first=first, count=count: GatheredRows(everything[part.dtype], tf.constant(first), tf.constant(count)),
        )
        part = {name: value[first : first + count] for name, value in batch.items()}
        found = embedder(vectors[first : first + count]).loss_and_metrics(part, training=False)
        sums.append([found.loss, found.weight])
    np.testing.assert_allclose(np.sum(sums, axis=0), [whole.loss, whole.weight], rtol=1e-6)
