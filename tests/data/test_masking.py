"""What is hidden: literal rows, whole words, shares within sampling error, nothing that is special."""

import byte_like
import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.batching import masking, shuffle_order
from tfllm.tokenizers import ByteTokenizer

FRAMED = masking.Vocabulary.of(byte_like.Framed())
ROW = [259, 70, 100, 101, 72, 102, 103, 104, 75, 105, 1, 76, 260, 0, 0, 0]


def keys(count, seed=0):
    return shuffle_order.random_keys(seed, tf.range(count, dtype=tf.int64))


def masked(ids, seed=0, **settings):
    result = masking.mask_tokens(tf.constant(ids, tf.int32), keys(len(ids), seed), FRAMED, **settings)
    return {name: value.numpy() for name, value in result.items()}


def hidden(ids, result):
    """bool [B, S]: where the targets are."""
    where = np.zeros(np.shape(ids), bool)
    rows, columns = np.nonzero(result["target_weights"])
    where[rows, result["target_places"][rows, columns]] = True
    return where


def text(rows, width, seed=0, capitals=0.2):
    """Rows between [CLS] and [SEP]: words of 1 to 12 letters, and a separator now and then."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(100, 120, (rows, width))
    ids[rng.random((rows, width)) < capitals] = 70
    ids[rng.random((rows, width)) < 0.02] = 1
    ids[:, 0], ids[:, -1] = 259, 260
    return ids


def test_rows_as_in_the_docstring():
    result = masked([ROW, ROW], seed=2, share=0.3)
    assert result["token_ids"][1].tolist() == [259, 252, 100, 101, 261, 102, 103, 104, 75, 105, 1, 76, 260, 0, 0, 0]
    assert result["target_places"][1].tolist() == [1, 4, 9, 0, 0]
    assert result["target_ids"][1].tolist() == [70, 72, 105, 0, 0]
    assert result["target_weights"][1].tolist() == [1, 1, 1, 0, 0]
    result = masked([ROW, ROW], seed=2, share=0.3, unit="word")
    assert result["token_ids"][1].tolist() == [259, 252, 261, 261, 72, 102, 103, 104, 75, 105, 1, 76, 260, 0, 0, 0]
    assert result["target_places"][1].tolist() == [1, 2, 3, 0, 0]
    assert result["target_ids"][1].tolist() == [70, 100, 101, 0, 0]
    assert result["target_weights"][1].tolist() == [1, 1, 1, 0, 0]


def test_ids_with_a_task_are_special_though_they_have_text():
    class Spelt(ByteTokenizer):
        """As byte BPE whose "<mask>" is no special token: each of these decodes to something."""

        mask_id, cls_id, sep_id = 100, 101, 102

    special = masking.Vocabulary.of(Spelt()).special
    assert np.flatnonzero(special).tolist() == [0, 1, 2, 100, 101, 102]


def test_hide_as_in_the_docstring():
    chosen = tf.constant([[0, 1, 0, 1, 1, 0]]) > 0
    result = masking.hide(tf.constant([[259, 70, 71, 72, 73, 260]]), chosen, tf.constant([2]), keys(1), FRAMED, 3)
    assert {name: value.numpy().tolist() for name, value in result.items()} == {
        "token_ids": [[259, 261, 71, 261, 73, 260]],
        "target_places": [[1, 3, 0]],
        "target_ids": [[70, 72, 0]],
        "target_weights": [[1, 1, 0]],
    }


def test_words_as_in_the_docstring():
    starts = np.arange(10) % 2 == 0
    ids = tf.constant([[1, 7, 8, 9, 9, 1, 6, 4, 5, 1, 0]])
    assert masking.word_numbers(ids, ids > 1, starts).numpy().tolist() == [[0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7]]


def test_take_as_in_the_docstring():
    sizes, scores = tf.constant([[2, 1, 3, 1, 0, 1]] * 2), tf.constant([[9, 8, 7, 6, 5, 4]] * 2)
    taken = masking.take(sizes, scores, tf.constant([3, 4])).numpy().astype(int)
    assert taken.tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0]]
    assert masking.take(tf.constant([[5, 7]]), tf.constant([[3, 4]]), tf.constant([2])).numpy().tolist() == [[False, True]]


def test_target_places_as_in_the_docstring():
    assert [masking.target_places(128, 0.15), masking.target_places(100, 0.07), masking.target_places(16, 0.3)] == [20, 7, 5]


def test_budgets_as_in_the_docstring():
    maskable = tf.sequence_mask([10] * 4000, 12)
    found = masking.budgets(maskable, keys(4000), 0.15).numpy()
    assert set(found) == {1, 2}
    assert abs((found == 2).mean() - 0.5) < 4 * (0.25 / 4000) ** 0.5
    assert masking.budgets(tf.sequence_mask([2, 0, 1], 12), keys(3), 0.15).numpy().tolist() == [1, 0, 1]


@pytest.mark.parametrize("unit", masking.UNITS)
def test_what_comes_back_fits_together(unit):
    ids = text(200, 64)
    result = masked(ids, unit=unit)
    where = hidden(ids, result)
    used = result["target_weights"] == 1
    assert used.shape == (200, 10)
    assert (result["token_ids"] == ids)[~where].all(), "nothing else was touched"
    assert not where[FRAMED.special[ids]].any()
    rows, columns = np.nonzero(used)
    assert (result["target_ids"][rows, columns] == ids[rows, result["target_places"][rows, columns]]).all()
    assert not result["target_ids"][~used].any()
    assert not result["target_places"][~used].any()
    assert set(np.unique(result["target_weights"])) <= {0, 1}
    assert (np.diff(used.astype(int), axis=1) <= 0).all(), "the unused come last"
    rising = np.diff(result["target_places"], axis=1)[used[:, 1:]]
    assert (rising > 0).all()
    assert used.any(axis=1).all()


@pytest.mark.parametrize(("unit", "short"), [("token", 0), ("word", 0.003), ("span", 0.003)])
def test_the_share_of_targets(unit, short):
    ids = text(4000, 80)
    where = hidden(ids, masked(ids, unit=unit, seed=1))
    # A row's number of targets is a share rounded by chance: a variance of 1/4 at most.
    total = (~FRAMED.special[ids]).sum()
    error = 4 * (len(ids) / 4) ** 0.5 / total
    assert -error - short < where.sum() / total - 0.15 < error


@pytest.mark.parametrize("unit", masking.UNITS)
def test_eighty_ten_ten(unit):
    ids = text(4000, 80)
    result = masked(ids, unit=unit, seed=1)
    where = hidden(ids, result)
    total, now, was = where.sum(), result["token_ids"][where], ids[where]
    ordinary = (~FRAMED.special).sum()
    kept = 0.1 + 0.1 / ordinary  # a random id may be the same
    for found, share in (((now == 261).mean(), 0.8), ((now == was).mean(), kept)):
        assert abs(found - share) < 4 * (share * (1 - share) / total) ** 0.5
    random = now[(now != 261) & (now != was)]
    assert not FRAMED.special[random].any()
    counts = np.bincount(random, minlength=262)[~FRAMED.special]
    expected = total * 0.1 / ordinary  # of each id; 256 of them, so 5 sigma; letters of the text are rarer by what they kept
    assert abs(counts - expected).max() < 5 * expected**0.5 + expected * 0.1


@pytest.mark.parametrize("unit", masking.UNITS)
def test_every_place_alike(unit):
    ids = np.full((20_000, 42), 70)  # every token a word, so that none is longer and all have the same chance
    ids[:, 0], ids[:, 20], ids[:, 41] = 259, 1, 260
    where = hidden(ids, masked(ids, unit=unit))
    share = where[:, ~FRAMED.special[ids[0]]].mean(axis=0)
    assert len(share) == 39
    assert abs(share - 0.15).max() < 4 * (0.15 * 0.85 / len(ids)) ** 0.5


def test_whole_words():
    ids = text(500, 64)
    result = masked(ids, unit="word")
    where = hidden(ids, result)
    words = masking.word_numbers(tf.constant(ids), tf.constant(~FRAMED.special[ids]), FRAMED.word_starts).numpy()
    cut = 0
    for row in range(500):
        chosen = set(words[row][where[row]])
        whole = np.isin(words[row], list(chosen))
        cut += (whole != where[row]).any()
        assert (whole == where[row]).all() or len(chosen) == 1
    assert cut < 5
    assert (where.sum(axis=1) > 0).all()


def test_a_word_longer_than_the_share_is_cut_where_nothing_else_is():
    ids = [[259] + [100] * 40 + [260]]
    for unit in ("word", "span"):
        where = hidden(ids, masked(ids, unit=unit))[0]
        assert np.flatnonzero(where).tolist() == list(range(1, 1 + where.sum()))
        assert where.sum() == 6


def test_spans_are_geometric_and_stay_in_their_document():
    rows, p = 20_000, masking.SPAN_STOP
    score = masking.span_scores(tf.ones([rows, 60], tf.int32), tf.zeros([rows, 60], tf.int32), keys(rows)).numpy()
    best = score // 16 == score.max(axis=1, keepdims=True) // 16  # the last bits are the place in the span
    begin = score.argmax(axis=1)
    lengths = best.sum(axis=1)
    chances = p * (1 - p) ** np.arange(10)
    chances /= chances.sum()
    for length in range(1, 11):
        share = (lengths == length).mean()
        assert abs(share - chances[length - 1]) < 4 * (chances[length - 1] / rows) ** 0.5
    assert lengths.max() == 10
    turned = best[np.arange(rows)[:, None], (begin[:, None] + np.arange(60)) % 60]
    assert (turned == (np.arange(60) < lengths[:, None])).all(), "in one piece, if a run is a ring"
    assert abs(np.bincount(begin, minlength=60) / rows - 1 / 60).max() < 4 * (1 / 60 / rows) ** 0.5


def test_spans_as_in_the_docstring():
    sizes, run = tf.constant([[0, 1, 1, 1, 1, 0, 1]]), tf.constant([[0, 1, 1, 1, 1, 0, 2]])
    score = dict(zip("_abcd_e", masking.span_scores(sizes, run, keys(1, seed=2)).numpy()[0], strict=True))
    assert sorted("abcde", key=score.get, reverse=True) == list("dabce")
    assert score["d"] // 16 == score["a"] // 16 == score["b"] // 16
    assert [15 - score[word] % 16 for word in "dabce"] == [0, 1, 2, 0, 0]


def test_no_span_is_in_two_documents():
    ids = np.full((2000, 42), 70)
    ids[:, 0], ids[:, 11], ids[:, 41] = 259, 1, 260
    maskable = ~FRAMED.special[ids]
    sizes = maskable.astype(np.int32)
    before = np.where(maskable, np.cumsum(~maskable, axis=1), 0).astype(np.int32)
    score = masking.span_scores(tf.constant(sizes), tf.constant(before), keys(2000)).numpy() // 16
    inner, outer = score[:, 1:11], score[:, 12:41]
    assert not any(set(one) & set(two) for one, two in zip(inner.tolist(), outer.tolist(), strict=True))
    assert (score[:, 1:10] == score[:, 2:11]).mean() > 0.5


def test_spans_hide_neighbours_and_single_tokens_do_not():
    ids = np.full((2000, 102), 70)
    ids[:, 0], ids[:, -1] = 259, 260
    together = {}
    for unit in masking.UNITS:
        where = hidden(ids, masked(ids, unit=unit))
        together[unit] = (where[:, 1:-2] & where[:, 2:-1]).sum() / where.sum()
    assert together["token"] < 0.16
    assert together["word"] < 0.16
    assert together["span"] > 0.6


def test_rows_without_anything_to_hide():
    result = masked([[0] * 8, [259, 1, 260, 0, 0, 0, 0, 0]], share=0.3)
    assert result["token_ids"].tolist() == [[0] * 8, [259, 1, 260, 0, 0, 0, 0, 0]]
    assert not result["target_weights"].any()


def test_the_key_decides():
    ids = text(50, 64)
    one, same, other = (masked(ids, seed=seed)["token_ids"] for seed in (3, 3, 4))
    assert (one == same).all()
    assert (one != other).any(axis=1).all()
    twice = masked(np.repeat(ids[:1], 50, axis=0))
    assert len(set(map(tuple, twice["target_places"]))) == 50, "rows differ, too"


def test_vocabulary():
    vocabulary = masking.Vocabulary.of(ByteTokenizer())
    assert np.flatnonzero(vocabulary.special).tolist() == [0, 1, 2]
    assert vocabulary.mask_id == 2
    assert np.flatnonzero(FRAMED.special).tolist() == [0, 1, 2, 259, 260, 261]
    with pytest.raises(ValueError, match=r"This tokenizer \(bytes, 259 entries\) has no mask token"):
        masking.Vocabulary.of(byte_like.Maskless())
