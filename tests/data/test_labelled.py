"""Rows and batches of labelled data: literal rows, every row once, exact resuming, and the way back to the records."""

import warnings

import numpy as np
import pytest
from encoder_like import BertLike, RobertaLike, letters

from tfllm import features
from tfllm.data.encoder_inputs import MULTIPLE
from tfllm.data.labelled import regression, text_classification, text_pairs
from tfllm.tokenizers import ByteTokenizer


def table(sizes, labels="ab"):
    return [{"text": f"{number:04}" + "x" * size, "label": labels[number % len(labels)]} for number, size in enumerate(sizes)]


def numbers_of(batch):
    """The numbers that the texts of `table` begin with; None for an empty row."""
    return [int(text) if (text := letters(row[1:5])).isdigit() else None for row in batch[features.TOKEN_IDS].numpy()]


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def varied(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 90, rows)


def test_classes_as_in_the_docstring():
    found = text_classification([{"text": "hé", "label": "pos"}, {"text": "no", "label": "neg"}], ByteTokenizer())
    assert found.labels == ("neg", "pos")
    assert found.first.values.tolist() == [107, 198, 172, 113, 114]
    assert found.first.splits.tolist() == [0, 3, 5]
    assert found.row_features[features.LABELS].tolist() == [1, 0]
    assert (found.task, found.multi_label) == ("text_classifier", False)
    several = [{"text": "hé", "label": ["pos", "glad"]}, {"text": "no", "label": []}]
    found = text_classification(several, ByteTokenizer(), multi_label=True)
    assert found.labels == ("glad", "pos")
    assert found.row_features[features.LABELS].tolist() == [[1, 1], [0, 0]]
    assert (found.task, found.multi_label) == ("text_classifier", True)


def test_labels_of_the_training_data_are_kept():
    held_out = [{"text": "no", "label": "b"}]
    assert text_classification(held_out, BertLike(), labels=("a", "b")).row_features[features.LABELS].tolist() == [1]
    with pytest.raises(ValueError, match="record 1: the label is 'b': expected one of these 1: 'a'"):
        text_classification(held_out, BertLike(), labels=("a",))
    with pytest.raises(ValueError, match="record 1: the label is 'b': expected one of these"):
        text_classification(held_out, BertLike(), labels=("a",), multi_label=True)


def test_numbers_and_pairs_as_in_the_docstrings():
    found = regression([{"text": "hé", "label": 0.5}], ByteTokenizer())
    assert found.first.values.tolist() == [107, 198, 172]
    assert found.row_features[features.LABELS].dtype == np.float32
    assert found.row_features[features.LABELS].tolist() == [0.5]
    assert found.task == "text_regressor"
    pairs = text_pairs([{"text": "hé", "text_pair": "no"}], ByteTokenizer())
    assert np.split(pairs.first.values, pairs.first.splits[1:-1])[1].tolist() == [113, 114]
    assert (len(pairs), pairs.record_of.tolist(), pairs.task) == (2, [0, 0], "text_embedder")


def test_evaluation_as_in_the_docstring():
    found = text_classification([{"text": text, "label": "a"} for text in "xyz"], BertLike())
    first, second = found.batches(2, shuffle=False, repeat=False)
    assert [letters(row).rstrip("_") for row in first[features.TOKEN_IDS]] == ["[x]", "[y]"]
    assert [letters(row).rstrip("_") for row in second[features.TOKEN_IDS]] == ["[z]", "[]"]
    assert first[features.ROW_WEIGHTS].numpy().tolist() == [1, 1]
    assert second[features.ROW_WEIGHTS].numpy().tolist() == [1, 0]
    assert second[features.LABELS].numpy().tolist() == [0, 0]


@pytest.mark.parametrize("tokenizer", [BertLike, RobertaLike])
def test_two_texts_are_kept_as_they_are_cut(tokenizer):
    records = [{"text": "a" * 30, "pair": "b" * 9, "label": "x"}, {"text": "a" * 30, "pair": "b" * 31, "label": "x"}]
    found = text_classification(records, tokenizer(), pair="pair", max_length=20)
    (batch,) = found.batches(2, shuffle=False, repeat=False)
    between = "]" * tokenizer.pair_separators
    room = 18 - len(between)
    assert [letters(row) for row in batch[features.TOKEN_IDS]] == [
        f"[{'a' * (room - room // 2 if room < 18 else 9)}{between}{'b' * (room // 2)}]",
        f"[{'a' * (room // 2)}{between}{'b' * (room - room // 2)}]",
    ]
    assert found.first.lengths.max() + found.second.lengths.max() <= room + 1


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("rows", "batch_size"), [(1, 1), (1, 4), (5, 1), (7, 3), (33, 32), (64, 8), (415, 8)])
def test_training_gives_every_row_once_an_epoch(rows, batch_size, shuffle):
    """33 rows in batches of 32, three epochs: three times each, in six batches, three of which are short."""
    found = text_classification(table(varied(rows)), BertLike())
    steps = -(-rows // batch_size)
    batches = list(found.batches(batch_size, shuffle=shuffle).take(3 * steps))
    for epoch in (batches[:steps], batches[steps : 2 * steps], batches[2 * steps :]):
        drawn = [numbers_of(batch) for batch in epoch]
        assert sorted(one for batch in drawn for one in batch if one is not None) == list(range(rows))
        counts = [sum(one is not None for one in batch) for batch in drawn]
        assert sorted(counts) == sorted([rows % batch_size or batch_size] + [batch_size] * (steps - 1)), "one batch is short"
        assert [batch[features.ROW_WEIGHTS].numpy().sum() for batch in epoch] == counts
    assert all(batch[features.TOKEN_IDS].shape[0] == batch_size for batch in batches)


def test_a_short_batch_is_not_always_the_last():
    found = text_classification(table([4] * 21), BertLike())
    weights = [batch[features.ROW_WEIGHTS].numpy().sum() for batch in found.batches(4).take(60)]
    assert weights.count(1) == 10
    assert len({step % 6 for step, weight in enumerate(weights) if weight == 1}) > 3


def test_epochs_and_seeds_differ():
    found = text_classification(table([4] * 160), BertLike())

    def epoch(number, **options):
        return [one for batch in found.batches(16, start_step=10 * number, **options).take(10) for one in numbers_of(batch)]

    drawn = [epoch(0), epoch(1), epoch(2), epoch(0, seed=1), epoch(0, shuffle=False)]
    assert [sorted(one) for one in drawn] == [list(range(160))] * 5
    assert drawn[4] == list(range(160))
    # The rows of their batches differ, not only the batches' order.
    assert len({frozenset(frozenset(one[place : place + 16]) for place in range(0, 160, 16)) for one in drawn}) == 5
    assert max(abs(np.corrcoef(one, other)[0, 1]) for one in drawn for other in drawn if one is not other) < 0.3


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"repeat": False}, {"shuffle": False, "repeat": False}])
def test_a_batch_is_a_function_of_seed_and_step(options):
    found = text_classification(table(varied(395)), BertLike())
    whole = list(found.batches(8, seed=5, **options).take(50))
    for start in (0, 1, 17, 49):
        for one, other in zip(whole[start:], found.batches(8, seed=5, start_step=start, **options), strict=False):
            same(one, other)
    assert len({tuple(numbers_of(batch)) for batch in whole}) == 50


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (100, 16), (96, 16), (900, 8)])
def test_a_pass_gives_every_row_exactly_once(rows, batch_size, shuffle):
    found = text_classification(table(varied(rows)), BertLike())
    dataset = found.batches(batch_size, shuffle=shuffle, repeat=False)
    batches = list(dataset)
    assert len(batches) == dataset.cardinality() == -(-rows // batch_size)
    weights = np.concatenate([batch[features.ROW_WEIGHTS] for batch in batches])
    drawn = [number for batch in batches for number in numbers_of(batch)]
    assert [number is not None for number in drawn] == (weights == 1).tolist()
    real = [number for number in drawn if number is not None]
    assert sorted(real) == list(range(rows))
    if not shuffle:
        assert real == list(range(rows))
    assert all(batch[features.TOKEN_IDS].shape[0] == batch_size for batch in batches)


def test_rows_of_similar_length_come_together():
    lengths = varied(3200, seed=1)
    found = text_classification(table(lengths), BertLike())
    widths, used = [], 0
    for batch in found.batches(16).take(200):
        widths.append(batch[features.TOKEN_IDS].shape[1])
        used += batch[features.SEGMENT_IDS].numpy().sum()
        longest = batch[features.SEGMENT_IDS].numpy().sum(axis=1).max()
        assert widths[-1] == -(-longest // MULTIPLE) * MULTIPLE
    assert used / (16 * sum(widths)) > 0.8  # in file order: 0.53
    # …and yet short and long batches alternate.
    assert abs(np.corrcoef(widths[1:], widths[:-1])[0, 1]) < 0.3


LONG = "x" * 60
SHARED = {
    "texts": lambda: text_classification(table([0, 60, 0, 0, 0, 0, 33]), BertLike()),
    "two texts": lambda: text_classification(
        [{"text": "a", "other": LONG if number == 1 else "b", "label": "ab"[number % 2]} for number in range(7)],
        BertLike(),
        pair="other",
    ),
    "pairs": lambda: text_pairs([{"text": "a", "text_pair": LONG if number == 1 else "b"} for number in range(4)], BertLike()),
}


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("options", [{}, {"shuffle": False, "repeat": False}])
def test_a_part_of_a_batch_is_as_wide_as_the_whole(kind, options):
    """So a row is computed alike on any number of replicas, wherever the longest row is."""
    batches = SHARED[kind]().batches(4, **options)
    shares = [list(batches.share(part, 2).take(2)) for part in range(2)]
    for whole, *parts in zip(batches.take(2), *shares, strict=True):
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)


def test_a_pass_that_is_done_has_no_step_left():
    found = text_classification(table([1] * 5), BertLike())
    once = {"shuffle": False, "repeat": False}
    assert [len(list(found.batches(2, start_step=step, **once))) for step in (0, 2, 3)] == [3, 1, 0]
    with pytest.raises(ValueError, match="start_step=4 is invalid: expected 0 to 3, the steps"):
        found.batches(2, start_step=4, **once)


def test_shapes_are_known_but_for_the_width():
    found = text_classification(table([4, 5]), BertLike())
    spec = found.batches(2).element_spec
    assert {name: (each.shape.as_list(), each.dtype.name) for name, each in spec.items()} == {
        features.TOKEN_IDS: ([2, None], "int32"),
        features.SEGMENT_IDS: ([2, None], "int32"),
        features.TYPE_IDS: ([2, None], "int32"),
        features.LABELS: ([2], "int32"),
        features.ROW_WEIGHTS: ([2], "float32"),
    }


def test_pairs_stay_neighbours():
    records = [
        {"text": f"{number:04}", "text_pair": f"{number:04}" + "y" * int(size)} for number, size in enumerate(varied(300))
    ]
    found = text_pairs(records, BertLike())
    for batch in found.batches(8).take(80):
        drawn = numbers_of(batch)
        assert drawn[::2] == drawn[1::2]
    (*_, last) = found.batches(8 * 7, shuffle=False, repeat=False)
    assert numbers_of(last)[-2:] == [None, None]
    with pytest.raises(ValueError, match="batch_size=7 is invalid: expected a multiple of 2"):
        found.batches(7)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("pairs", "batch_size"), [(5, 8), (5, 12), (75, 8), (131, 4)])
def test_no_pair_is_its_own_negative(pairs, batch_size, shuffle):
    """Every pair once an epoch, so never twice in a batch; with fewer pairs than a batch has room for, too."""
    records = [{"text": f"{one:04}", "text_pair": "y" * int(1 + size)} for one, size in enumerate(varied(pairs))]
    found = text_pairs(records, BertLike())
    steps = -(-2 * pairs // batch_size)
    drawn = [numbers_of(batch)[::2] for batch in found.batches(batch_size, shuffle=shuffle).take(3 * steps)]
    for epoch in (drawn[:steps], drawn[steps : 2 * steps], drawn[2 * steps :]):
        assert sorted(one for batch in epoch for one in batch if one is not None) == list(range(pairs))


def test_class_weights_as_in_the_docstring():
    found = text_classification(table([4] * 4, labels="aaab"), BertLike())
    assert found.class_weights().tolist() == [0.5, 1.5]
    (batch,) = found.batches(4, shuffle=False, repeat=False, class_weights=found.class_weights())
    assert batch[features.ROW_WEIGHTS].numpy().tolist() == [0.5, 0.5, 0.5, 1.5]
    absent = text_classification(table([4] * 4, labels="aaab"), BertLike(), labels=("a", "b", "c"))
    assert absent.class_weights().tolist() == [0.5, 1.5, 0]
    for other in (
        regression([{"text": "a", "label": 1}], BertLike()),
        text_classification([{"text": "a", "label": ["x"]}], BertLike(), multi_label=True),
    ):
        with pytest.raises(ValueError, match="Class weights need one class per row"):
            other.class_weights()
        with pytest.raises(ValueError, match="class_weights of shape"):
            other.batches(1, class_weights=np.ones(3))


def test_fingerprints_tell_data_apart():
    rows = table([4, 5, 6])
    one = text_classification(rows, BertLike())
    assert one.fingerprint == text_classification(rows, BertLike()).fingerprint
    others = [
        text_classification(rows[:2], BertLike()),
        text_classification([row | {"label": "a"} for row in rows], BertLike()),
        text_classification(rows, ByteTokenizer()),
        text_classification(rows, BertLike(), max_length=64),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_settings_out_of_range_are_refused():
    found = text_classification(table([4, 5]), BertLike())
    for options in ({"seed": -1}, {"seed": 2**32}, {"start_step": -1}, {"start_step": 2, "repeat": False}):
        with pytest.raises(ValueError, match="start_step="):
            found.batches(2, **options)
    with pytest.raises(ValueError, match="batch_size=0"):
        found.batches(0)
    with pytest.raises(ValueError, match="max_length=2 is invalid: expected at least 3"):
        text_classification(table([4]), BertLike(), max_length=2)


def test_texts_that_lose_their_ends_are_counted():
    records = [{"text": "abcd", "other": "ef", "label": "x"}, {"text": "ab", "other": "e", "label": "y"}]
    with pytest.warns(UserWarning, match="1 of 2 texts or pairs are longer than max_length=5 and lose their ends"):
        text_classification(records, BertLike(), max_length=5)
    with pytest.warns(UserWarning, match="1 of 2 texts or pairs are longer than max_length=8"):
        text_classification(records, BertLike(), pair="other", max_length=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_classification(records, BertLike(), pair="other", max_length=9)


def test_what_would_not_be_used_of_pairs_is_named(tmp_path):
    """Columns that say that a pair does not belong together; QQP, STS and triplets have them."""
    (tmp_path / "t.csv").write_text("question1,question2,is_duplicate\na,b,1\nc,d,0\n")
    message = (
        "t.csv, line 3: the column 'is_duplicate' is '0', which would be ignored. Every pair is trained on as texts that belong"
    )
    with pytest.raises(ValueError, match=message):
        text_pairs(tmp_path / "t.csv", ByteTokenizer(), text="question1", pair="question2")
    two = {"text": "a", "text_pair": "b"}
    for name, value in (("label", 0), ("Score", 0.9), ("gold_label", "neutral"), ("negative", "c"), ("hard_negatives", ["c"])):
        with pytest.raises(ValueError, match=f"record 1: the column '{name}' is .*remove the column"):
            text_pairs([two | {name: value}], ByteTokenizer())
    for name, value in (("label", 1), ("label", "1.0"), ("is_duplicate", True), ("id", 0), ("topic", "x")):
        assert len(text_pairs([two | {name: value}], ByteTokenizer())) == 2
    assert len(text_pairs([{"text": "a", "negative": "b"}], ByteTokenizer(), pair="negative")) == 2
