"""The chunked cross-entropy against the plain one: values, gradients, and what it never holds."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.train import chunked_cross_entropy
from tfllm.train.losses import TokenSums, class_cross_entropy, linear_cross_entropy, token_log_probs

COUNT, SIZE, VOCAB = 23, 6, 17
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.2},
    "z-loss": {"z_loss": 0.05},
    "both": {"label_smoothing": 0.1, "z_loss": 0.01},
}
CHUNKS = {"one chunk": 1 << 24, "chunks of 8, 8 and 7": 8 * VOCAB, "row by row": 1}


def problem(dtype: type = np.float32) -> dict[str, np.ndarray]:
    """Hidden states, a matrix, targets of which every third has the highest score, and weights of which some are zero."""
    random = np.random.default_rng(0)
    weights = random.uniform(0.1, 2, COUNT) * (random.uniform(size=COUNT) < 0.7)
    hidden, kernel = random.normal(size=(COUNT, SIZE)), random.normal(size=(VOCAB, SIZE))
    targets = random.integers(0, VOCAB, COUNT)
    bias = random.normal(size=VOCAB)
    targets[::3] = (hidden @ kernel.T + bias).argmax(1)[::3]
    return {
        "hidden": hidden.astype(dtype),
        "kernel": kernel.astype(dtype),
        "bias": bias.astype(dtype),
        "targets": targets.astype(np.int32),
        "weights": weights.astype(dtype),
    }


def plain(hidden, kernel, *, targets, weights, bias, label_smoothing=0.0, z_loss=0.0) -> TokenSums:
    """The definition, with all scores at once, in the precision of what is given."""
    scores = tf.matmul(hidden, kernel, transpose_b=True) + bias
    log_z = tf.reduce_logsumexp(scores, 1)
    nats = log_z - tf.gather(scores, targets, batch_dims=1)
    wanted = label_smoothing / VOCAB + (1 - label_smoothing) * tf.one_hot(targets, VOCAB, dtype=scores.dtype)
    loss = -tf.reduce_sum(wanted * (scores - log_z[:, None]), 1) + z_loss * log_z**2
    correct = tf.cast(tf.argmax(scores, 1, output_type=tf.int32) == targets, scores.dtype)
    return TokenSums(*(tf.reduce_sum(weights * each) for each in (loss, nats, correct)), tf.reduce_sum(weights))


def with_gradients(function, given, options) -> tuple[TokenSums, list[np.ndarray]]:
    """The sums, and the gradients of three times the loss."""
    tensors = {name: tf.constant(value) for name, value in given.items()}
    with tf.GradientTape() as tape:
        watched = [tensors[name] for name in ("hidden", "kernel", "bias")]
        tape.watch(watched)
        sums = function(**tensors, **options)
        loss = 3 * sums.loss
    gradients = tape.gradient(loss, watched)
    return TokenSums(*(each.numpy() for each in sums)), [each.numpy() for each in gradients]


@pytest.mark.parametrize("chunk_scores", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_values_and_gradients_are_those_of_the_definition(monkeypatch, options, chunk_scores):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", chunk_scores)
    sums, gradients = with_gradients(linear_cross_entropy, problem(), options)
    expected, exact = with_gradients(plain, problem(np.float64), options)
    np.testing.assert_allclose(sums, expected, rtol=2e-6)
    assert 0.1 < sums.correct / sums.weight < 0.9
    for ours, theirs in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * np.abs(theirs).max())
    assert not gradients[0][problem()["weights"] == 0].any()


def test_no_bias_is_a_bias_of_zeros():
    given = problem() | {"bias": np.zeros(VOCAB, np.float32)}
    with_zeros, (by_hidden, by_kernel, _) = with_gradients(linear_cross_entropy, given, {})
    hidden, kernel = tf.constant(given.pop("hidden")), tf.constant(given.pop("kernel"))
    with tf.GradientTape() as tape:
        tape.watch([hidden, kernel])
        without = linear_cross_entropy(hidden, kernel, **given | {"bias": None})
        loss = 3 * without.loss
    np.testing.assert_array_equal(without, with_zeros)
    for ours, theirs in zip(tape.gradient(loss, [hidden, kernel]), (by_hidden, by_kernel), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradients_are_slopes(monkeypatch, options):
    """Against differences of the definition in numpy's float64, a step to either side, in twenty places."""
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", 8 * VOCAB)
    _, gradients = with_gradients(linear_cross_entropy, problem(), options)
    random, given = np.random.default_rng(1), problem(np.float64)
    for name, gradient in zip(("hidden", "kernel", "bias"), gradients, strict=True):
        for _ in range(10):
            at = tuple(random.integers(0, gradient.shape))
            sides = []
            for step in (1e-5, -1e-5):
                moved = given | {name: given[name].copy()}
                moved[name][at] += step
                sides.append(3 * float(plain(**moved, **options).loss))
            assert gradient[at] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("chunk_scores", CHUNKS.values(), ids=CHUNKS)
def test_evaluation_is_of_the_bare_loss(monkeypatch, chunk_scores):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", chunk_scores)
    sums = linear_cross_entropy(**problem(), label_smoothing=0.3, z_loss=1.0, training=False)
    expected = plain(**problem(np.float64))
    np.testing.assert_allclose([each.numpy() for each in sums], [each.numpy() for each in expected], rtol=2e-6)


def test_nothing_counted_is_no_loss_and_no_gradient():
    given = problem() | {"weights": np.zeros(COUNT, np.float32)}
    sums, gradients = with_gradients(linear_cross_entropy, given, {"label_smoothing": 0.1, "z_loss": 0.1})
    assert tuple(sums) == (0, 0, 0, 0) and not any(each.any() for each in gradients)


def test_only_the_loss_has_a_gradient():
    hidden = tf.constant(problem()["hidden"])
    for name in ("nats", "correct", "weight"):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            said = getattr(linear_cross_entropy(**problem() | {"hidden": hidden}), name)
        assert tape.gradient(said, hidden) is None


def test_bfloat16_sums_in_float32(monkeypatch):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", 8 * VOCAB)
    given = {name: tf.cast(value, tf.bfloat16) if value.ndim == 2 else value for name, value in problem().items()}
    sums, gradients = with_gradients(linear_cross_entropy, given, {})
    expected, exact = with_gradients(plain, problem(np.float64), {})
    np.testing.assert_allclose(sums, expected, rtol=0.02)
    for ours, theirs in zip(gradients, exact, strict=True):
        assert np.abs(ours.astype(np.float64) - theirs).max() < 0.02 * np.abs(theirs).max()


@pytest.mark.parametrize("length", [None, COUNT], ids=["unknown length", "known length"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "XLA"])
def test_in_a_graph(monkeypatch, length, jit_compile):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", 8 * VOCAB)
    signature = [
        tf.TensorSpec([length, SIZE]),
        tf.TensorSpec([VOCAB, SIZE]),
        tf.TensorSpec([VOCAB]),
        tf.TensorSpec([length], tf.int32),
        tf.TensorSpec([length]),
    ]

    def step(hidden, kernel, bias, targets, weights):
        with tf.GradientTape() as tape:
            tape.watch([hidden, kernel, bias])
            sums = linear_cross_entropy(hidden, kernel, bias=bias, targets=targets, weights=weights, label_smoothing=0.1)
        return sums, tape.gradient(sums.loss, [hidden, kernel, bias])

    given = [tf.constant(value) for value in problem().values()]
    sums, gradients = tf.function(step, input_signature=signature, jit_compile=jit_compile)(*given)
    expected, exact = with_gradients(plain, problem(np.float64), {"label_smoothing": 0.1})
    np.testing.assert_allclose([each.numpy() for each in sums], expected, rtol=2e-6)
    for ours, theirs in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(3 * ours, theirs, rtol=1e-5, atol=2e-6 * np.abs(theirs).max())


def shapes_in(graph: tf.Graph) -> set[tuple[int | None, ...]]:
    """Shapes of all that is computed in a graph and in the functions it calls, bodies of loops among them."""
    found = {tuple(out.shape) for op in graph.get_operations() for out in op.outputs if out.shape.rank is not None}
    for function in graph._functions.values():
        found |= shapes_in(function.graph)
    return found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("chunk_scores", "whole_rows", "held"),
    [(1 << 24, 0, True), (8 * VOCAB, 0, False), (8 * VOCAB, COUNT / SIZE, True), (8 * VOCAB, (COUNT - 1) / SIZE, False)],
    ids=["one chunk", "chunks", "few rows", "one row too many"],
)
def test_all_scores_are_held_only_where_they_are_few(monkeypatch, training, chunk_scores, whole_rows, held):
    """Without gradients, there is no sum of them to save: few rows are no reason."""
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", chunk_scores)
    monkeypatch.setattr(chunked_cross_entropy, "WHOLE_ROWS", whole_rows)
    held = held and (training or not whole_rows)

    @tf.function
    def step(hidden, kernel):
        with tf.GradientTape() as tape:
            tape.watch([hidden, kernel])
            given = problem() | {"hidden": hidden, "kernel": kernel}
            sums = linear_cross_entropy(**given, label_smoothing=0.1, z_loss=0.1, training=training)
        return sums, tape.gradient(sums.loss, [hidden, kernel]) if training else ()

    shapes = shapes_in(step.get_concrete_function(tf.TensorSpec([COUNT, SIZE]), tf.TensorSpec([VOCAB, SIZE])).graph)
    sizes = {int(np.prod(shape)) for shape in shapes if None not in shape and VOCAB in shape and SIZE not in shape}
    assert ((COUNT, VOCAB) in shapes) == held
    assert (8, VOCAB) in shapes or held, "the search must see into the loop"
    assert held or max(sizes) == 8 * VOCAB


@pytest.mark.parametrize("chunk_scores", CHUNKS.values(), ids=CHUNKS)
def test_log_probabilities_of_tokens(monkeypatch, chunk_scores):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", chunk_scores)
    given = problem(np.float64)
    scores = given["hidden"] @ given["kernel"].T
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    ours = problem()

    def head(hidden):
        return tf.matmul(hidden, ours["kernel"], transpose_b=True)

    targets = tf.constant(ours["targets"])
    said = token_log_probs(ours["hidden"], head, targets=targets, vocab_size=ours["kernel"].shape[0])
    np.testing.assert_allclose(said, np.take_along_axis(expected, given["targets"][:, None], 1)[:, 0], rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_no_rows_of_an_unknown_count(jit_compile):
    @tf.function(input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32)], jit_compile=jit_compile)
    def of(hidden, targets):
        kernel = tf.ones([4, 3])
        with tf.GradientTape() as tape:
            tape.watch([hidden, kernel])
            sums = linear_cross_entropy(hidden, kernel, targets=targets, weights=tf.ones_like(targets, tf.float32))
        return sums.loss, sums.weight, tape.gradient(sums.loss, [hidden, kernel])

    loss, weight, (by_hidden, by_kernel) = of(tf.zeros([0, 3]), tf.zeros([0], tf.int32))
    assert (loss, weight, by_hidden.shape) == (0, 0, (0, 3))
    np.testing.assert_array_equal(by_kernel, np.zeros([4, 3]))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_few_classes_as_keras_has_them(smoothing):
    scores = tf.constant([[2.0, -1.0, 0.5], [0.0, 3.0, 3.0], [1.0, 0.0, -2.0]])
    targets, weights = tf.constant([0, 2, 1]), tf.constant([1.0, 0.5, 0.0])
    found = class_cross_entropy(scores, targets, weights=weights, label_smoothing=smoothing)
    hot = tf.one_hot(targets, 3)
    for name, smoothed in (("loss", smoothing), ("nats", 0.0)):
        each = tf.keras.losses.categorical_crossentropy(hot, scores, from_logits=True, label_smoothing=smoothed)
        np.testing.assert_allclose(getattr(found, name), tf.reduce_sum(weights * each), rtol=1e-5)
    assert (float(found.correct), float(found.weight)) == (1.0, 1.5)  # of equal scores the first is the answer
