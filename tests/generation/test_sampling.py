"""Each rule against plain NumPy, one row at a time; the draws against the distribution."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.row_settings import RowSettings, row_specs
from tfllm.generation.sampling import choose, draw, log_prob, truncate

CUT = -np.inf


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()


def kept_by_numpy(logits: np.ndarray, top_k: int, top_p: float, min_p: float) -> np.ndarray:
    """Ids kept: sort, cut to k, renormalise, cut to the nucleus; and those not far below the best."""
    order = np.argsort(-logits, kind="stable")
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        order = order[: 1 + np.searchsorted(np.cumsum(softmax(logits[order])), top_p, side="left")]
    probabilities = softmax(logits)
    return np.sort(order[probabilities[order] >= min_p * probabilities.max()])


def rows_of(**settings) -> RowSettings:
    config = GenerationConfig(max_new_tokens=1, temperature=1.0, seed=0)
    values = RowSettings(**({name: [getattr(config, name)] for name in RowSettings._fields} | settings))
    rows = max(len(value) for value in values)
    return RowSettings(*(tf.constant(list(v) * (rows // len(v)), d.dtype) for v, d in zip(values, row_specs(), strict=True)))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [(dict(top_k=[3]), [1, 1, 1, 0]), (dict(top_p=[0.7]), [1, 1, 0, 0]), (dict(min_p=[0.2]), [1, 1, 1, 0]), ({}, [1] * 4)],
)
def test_truncation_rows_of_the_docstring(settings, kept):
    logits = tf.math.log([[0.5, 0.3, 0.15, 0.05]])
    row = rows_of(**settings)
    found = truncate(logits, top_k=row.top_k, top_p=row.top_p, min_p=row.min_p)
    expected = np.where(kept, logits.numpy(), CUT)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0], ids=["flat", "even", "peaked"])
def test_truncation_equals_numpy_with_a_setting_a_row(spread):
    """The flat rows have a nucleus wider than the few hundred tokens that are sorted first."""
    cases = [(0, 1.0, 0.0), (1, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.9, 0.0), (0, 0.01, 0.0), (40, 0.9, 0.0)]
    cases += [(0, 1.0, 0.3), (400, 0.8, 0.05), (2000, 1.0, 0.0), (0, 0.999, 0.0), (300, 0.5, 0.0)]
    logits = np.random.default_rng(1).normal(0, spread, [len(cases), 1500]).astype(np.float32)
    top_k, top_p, min_p = zip(*cases, strict=True)
    found = truncate(tf.constant(logits), top_k=tf.constant(top_k), top_p=tf.constant(top_p), min_p=tf.constant(min_p)).numpy()
    for i, case in enumerate(cases):
        expected = kept_by_numpy(logits[i], *case)
        different = np.setxor1d(np.flatnonzero(found[i] > CUT), expected)
        # Where the cumulative sum meets top_p to the last digit, float32 and float64 may part by one token.
        assert len(different) <= (case[1] < 1), case
        np.testing.assert_array_equal(found[i][found[i] > CUT], logits[i][found[i] > CUT])


def test_truncation_of_a_row_does_not_depend_on_its_neighbours():
    logits = np.random.default_rng(2).normal(0, 0.1, [3, 1500]).astype(np.float32)
    settings = dict(top_k=[50, 0, 0], top_p=[0.9, 0.95, 1.0], min_p=[0.0, 0.0, 0.5])
    together = truncate(tf.constant(logits), **{name: tf.constant(values) for name, values in settings.items()})
    for i in range(3):
        alone = truncate(tf.constant(logits[i : i + 1]), **{k: tf.constant(v[i : i + 1]) for k, v in settings.items()})
        np.testing.assert_array_equal(alone[0], together[i])


def test_equally_probable_tokens_are_kept_together():
    logits = tf.constant([[1.0, 3.0, 1.0, 0.0]])
    row = rows_of(top_k=[2])
    found = truncate(logits, top_k=row.top_k, top_p=row.top_p, min_p=row.min_p)
    assert found.numpy().tolist() == [[1.0, 3.0, 1.0, CUT]]


def test_draws_have_the_distribution():
    """Chi-square of 100,000 draws over six tokens; the seeds are fixed, so is the result."""
    probabilities = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    count = 100_000
    logits = tf.repeat(tf.constant(np.log(probabilities), tf.float32)[None], count, axis=0)
    found = np.bincount(draw(logits, tf.range(count)), minlength=6)
    chi_square = np.sum((found - count * probabilities) ** 2 / (count * probabilities))
    assert chi_square < 15.1, found  # 1% of fair generators exceed it with 5 degrees of freedom.


@pytest.mark.parametrize("settings", [dict(), dict(top_k=[4]), dict(top_p=[0.8]), dict(min_p=[0.2]), dict(temperature=[1.6])])
def test_choices_have_the_distribution_of_what_is_kept(settings):
    """Chi-square of 50,000 choices against the softmax of the scores, divided by the temperature, over the tokens kept."""
    logits, count = np.random.default_rng(4).normal(0, 1.2, 8).astype(np.float32), 50_000
    rows = rows_of(**settings, seed=range(count))
    found = np.bincount(choose(tf.repeat(logits[None], count, axis=0), rows, positions=tf.fill([count], 7)), minlength=8)
    scaled = logits / settings.get("temperature", [1.0])[0]
    top_k, top_p, min_p = (settings.get(name, [off])[0] for name, off in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)))
    kept = kept_by_numpy(scaled, top_k, top_p, min_p)
    expected = np.zeros(8)
    expected[kept] = count * softmax(scaled[kept])
    assert found[expected == 0].sum() == 0
    chi_square = np.sum((found[kept] - expected[kept]) ** 2 / expected[kept])
    assert chi_square < {2: 6.6, 3: 9.2, 4: 11.3, 5: 13.3, 8: 18.5}[len(kept)], found  # 1% of fair generators exceed it.


def test_equal_seeds_draw_alike_from_similar_scores():
    """As often as Gumbel noise does: sum over x of 1 / sum over y of max(p(y) / p(x), q(y) / q(x)) (Daliri et al. 2024)."""
    p, q, count = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.4, 0.2, 0.3, 0.1]), 50_000
    first, second = (
        draw(tf.repeat(tf.constant(np.log(each), tf.float32)[None], count, axis=0), tf.range(count)) for each in (p, q)
    )
    expected = sum(1 / np.maximum(p / p[x], q / q[x]).sum() for x in range(4))
    assert np.mean(first.numpy() == second.numpy()) == pytest.approx(expected, abs=0.01)


def test_draws_from_a_wide_vocabulary_have_the_distribution():
    """Chi-square of 20,000 draws over 400 tokens, in 40 bins of neighbours."""
    logits, count = np.random.default_rng(5).normal(0, 2, 400).astype(np.float32), 20_000
    found = np.bincount(draw(tf.repeat(logits[None], count, axis=0), tf.range(count)), minlength=400)
    found, expected = (each.reshape(40, 10).sum(1) for each in (found, count * softmax(logits)))
    assert np.sum((found - expected) ** 2 / expected) < 62.4  # 1% of fair generators exceed it with 39 degrees of freedom.


def test_what_was_cut_is_never_drawn():
    logits = tf.constant([[CUT, 0.0, CUT, 0.0, CUT]] * 5000)
    assert set(draw(logits, tf.range(5000)).numpy()) == {1, 3}


def test_temperature_sharpens():
    logits = tf.repeat(tf.math.log([[0.6, 0.4]]), 40_000, axis=0)
    for temperature, expected in [(1.0, 0.6), (0.5, 0.36 / 0.52), (2.0, 0.6**0.5 / (0.6**0.5 + 0.4**0.5))]:
        settings = rows_of(temperature=[temperature], seed=range(40_000))
        first = np.mean(choose(logits, settings, positions=tf.fill([40_000], 3)).numpy() == 0)
        assert first == pytest.approx(expected, abs=0.008)


def test_greedy_and_drawn_rows_share_a_batch():
    logits = tf.repeat(tf.math.log([[0.1, 0.5, 0.4]]), 1000, axis=0)
    settings = rows_of(temperature=[0.0, 1.0], seed=range(1000))
    found = choose(logits, settings, positions=tf.zeros(1000, tf.int32)).numpy()
    assert set(found[::2]) == {1} and set(found[1::2]) == {0, 1, 2}


def test_a_draw_depends_on_seed_and_position():
    logits = tf.zeros([1, 1000])
    found = {
        (seed, position): int(choose(logits, rows_of(seed=[seed]), positions=tf.constant([position]))[0])
        for seed in (0, 1)
        for position in (5, 6)
    }
    assert len(set(found.values())) == 4


def test_log_prob_is_of_the_scores_as_given():
    logits = np.random.default_rng(3).normal(size=[4, 9]).astype(np.float32)
    ids = [0, 8, 3, 3]
    expected = [np.log(softmax(row))[i] for row, i in zip(logits, ids, strict=True)]
    np.testing.assert_allclose(log_prob(tf.constant(logits), tf.constant(ids)), expected, atol=1e-6)
