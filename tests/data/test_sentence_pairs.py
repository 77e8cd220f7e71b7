"""Where two texts of a row lie: literal windows, what an epoch covers, labels and lengths that say nothing of each other."""

import random
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from masked_batches import FRAMED, batches, make, unmasked

from tfllm.data import StoreError, masked_lm
from tfllm.data.batching import sentence_pairs
from tfllm.data.batching.rows import Rows, SampledRows, Shards


def i64(*values):
    return tf.constant(values, tf.int64)


def alphabet(rng, count, least=1, most=90):
    """Documents in which every run of 4 ids says where it stands."""
    return ["".join(rng.choices([chr(code) for code in range(33, 123)], k=rng.randint(least, most))) for _ in range(count)]


def windows_of(store, size):
    return sentence_pairs.Windows.of(Shards.open({store: 1.0}, "train"), size)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """300 documents of 1 to 90 ids in three shards: blocks within a shard, and documents too short."""
    return make(tmp_path_factory.mktemp("pairs") / "many", alphabet(random.Random(4), 300), shards=3, validation=0.1)


def test_window_counts_as_in_the_docstring():
    assert sentence_pairs.window_counts(np.array([0, 1, 2, 10, 11, 20, 21]), 10).tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_window_span_as_in_the_docstring():
    three = i64(3, 3, 3)
    document = sentence_pairs.DocumentWindow(
        i64(0, 0, 0), i64(100, 100, 100), i64(25, 25, 25), i64(0, 0, 0), i64(0, 1, 2), three
    )
    for shift, starts in ((0, [100, 110, 115]), (2, [100, 108, 115])):
        span = sentence_pairs.window_span(document, 10, i64(shift, shift, shift))
        assert (span.start.numpy().tolist(), span.length.numpy().tolist()) == (starts, [10, 10, 10])


def test_every_window_is_found(store):
    windows = windows_of(store, 10)
    expected = []
    for number, path in enumerate(store.split().paths):
        starts = np.fromfile(path.with_suffix(".offsets"), "<u8").astype(int)
        for start, end in zip(starts, [*starts[1:], store.split().lengths[number]], strict=True):
            length = end - 1 - start
            count = 0 if length < 2 else -(-length // 10)
            first = len(expected)
            expected += [[number, start, length, first, window, count] for window in range(count)]
    assert len({row[0] for row in expected}) == 3
    found = windows.find(tf.range(len(expected), dtype=tf.int64))
    assert np.stack([*vars(found).values()], axis=1).tolist() == expected
    assert sum(windows.by_shard) == len(expected)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_in_every_epoch_every_id_is_in_a_window(store, epoch):
    windows = windows_of(store, 10)
    found = windows.find(tf.range(sum(windows.by_shard), dtype=tf.int64))
    span = windows.span(found, tf.fill([sum(windows.by_shard)], tf.constant(epoch, tf.int64)), 5, True)
    covered = [np.zeros(length, int) for length in store.split().lengths]
    for shard, start, length, first, whole in zip(
        *(value.numpy() for value in (span.shard, span.start, span.length, found.start, found.length)), strict=True
    ):
        assert first <= start
        assert start + length <= first + whole
        assert length == min(whole, 10)
        covered[shard][start : start + length] += 1
    for number, path in enumerate(store.split().paths):
        starts = np.fromfile(path.with_suffix(".offsets"), "<u8").astype(int)
        for start, end in zip(starts, [*starts[1:], len(covered[number])], strict=True):
            assert (covered[number][start : end - 1] > 0).all() == (end - 1 - start > 1)
            assert not covered[number][start - 1]


def test_windows_begin_elsewhere_in_other_epochs(tmp_path):
    store = make(tmp_path / "a", ["a" * 95, "b" * 7])
    windows = windows_of(store, 10)
    epochs = tf.range(400, dtype=tf.int64)
    for number in range(sum(windows.by_shard)):
        found = windows.find(tf.fill([400], tf.constant(number, tf.int64)))
        starts = (windows.span(found, epochs, 0, True).start - found.start).numpy()
        assert starts[0] == (0 if found.length[0] == 7 else min(10 * found.window[0].numpy(), 85))
        if found.length[0] == 95:
            middle = 0 < found.window[0] < 9
            expected = set(range(10 * found.window[0].numpy() - 5, 10 * found.window[0].numpy() + 1))
            assert set(starts) == (expected if middle else {starts[0]})
        assert (windows.span(found, epochs, 0, False).start - found.start).numpy().tolist() == [starts[0]] * 400


def drawn(store, kind, count, *, size=20, short_seq_prob=0.1, seed=3):
    windows = windows_of(store, size)
    rows = Rows.of(windows.shards, windows.by_shard)
    draw = tf.range(count, dtype=tf.int64)
    taken = SampledRows(tf.zeros_like(draw), draw // rows.by_store[0], draw % rows.by_store[0])
    pair = sentence_pairs.draw_pairs(kind, draw, taken, windows, rows, seed=seed, shuffle=True, short_seq_prob=short_seq_prob)
    found = windows.find(taken.number)
    columns = {"window": found.start, "length": found.length, "shard": found.shard, "label": pair.label}
    for name, span in (("first", pair.first), ("second", pair.second)):
        columns |= {f"{name}_{key}": value for key, value in vars(span).items()}
    return {name: value.numpy() for name, value in columns.items()}


def inside(pair, which):
    """bool: is the text inside of the row's own document?"""
    start, length = pair[f"{which}_start"], pair[f"{which}_length"]
    ends = start + length <= pair["window"] + pair["length"]
    return (pair[f"{which}_shard"] == pair["shard"]) & (start >= pair["window"]) & ends


@pytest.mark.parametrize("kind", sentence_pairs.PAIR_KINDS)
def test_half_of_the_pairs(store, kind):
    pair = drawn(store, kind, 10_000)
    label = pair["label"]
    assert abs(label.mean() - 0.5) < 4 * (0.25 / len(label)) ** 0.5
    assert (pair["first_length"] > 0).all()
    assert (pair["second_length"] > 0).all()
    follows = pair["second_start"] == pair["first_start"] + pair["first_length"]
    assert (inside(pair, "first") & inside(pair, "second") & follows)[~label].all()
    if kind == "sop":
        before = pair["first_start"] == pair["second_start"] + pair["second_length"]
        assert (inside(pair, "first") & inside(pair, "second") & before)[label].all()
    else:
        assert inside(pair, "first").all()
        assert not inside(pair, "second")[label].any(), "never of the same document"


def test_second_texts_come_from_all_of_the_other_text(tmp_path):
    store = make(tmp_path / "a", ["a" * 100, "b" * 200, "c" * 300, "d"], shards=2)
    pair = drawn(store, "nsp", 20_000, size=20)
    label = pair["label"]
    ids = [np.fromfile(path, store.dtype) for path in store.split().paths]

    def letters(which):
        place = zip(pair[f"{which}_shard"][label], pair[f"{which}_start"][label], strict=True)
        return np.array([ids[shard][start] - 3 for shard, start in place])

    first, second = letters("first"), letters("second")
    for own, others in ((97, {98: 10, 99: 15}), (98, {97: 5, 99: 15}), (99, {97: 5, 98: 10})):
        counts = Counter(second[first == own].tolist())
        assert counts.keys() == others.keys()
        for letter, windows in others.items():
            share = windows / sum(others.values())
            assert abs(counts[letter] / counts.total() - share) < 4 * (share * (1 - share) / counts.total()) ** 0.5


@pytest.mark.parametrize("kind", sentence_pairs.PAIR_KINDS)
def test_lengths_say_nothing_of_the_label(store, kind):
    pair = drawn(store, kind, 40_000)
    total, label = pair["first_length"] + pair["second_length"], pair["label"]
    full = np.minimum(pair["length"], 20)
    assert (total <= full).all()
    assert (total >= 2).all()
    for number in range(2, 21):
        one, two = (total[label] == number).mean(), (total[~label] == number).mean()
        assert abs(one - two) < 4 * (one * 2 / (len(label) / 2)) ** 0.5
    long = full == 20
    shorter = (total < 20)[long].mean()
    share = 0.1 * 18 / 19  # the drawn length, 2 to 20, may be the whole
    assert abs(shorter - share) < 4 * (share * (1 - share) / long.sum()) ** 0.5
    assert not (drawn(store, kind, 5000, short_seq_prob=0.0)["first_length"] < 1).any()
    assert set(pair["first_length"][long & (total == 20) & ~label]) == set(range(1, 20)), "the cut is drawn"


def test_what_an_epoch_of_order_reads(store):
    """With short_seq_prob=0, every id of every document of two ids or more."""
    expected = Counter(tuple(ids.tolist()) for ids in store.documents() if len(ids) > 1)
    assert min(expected.values()) == 1
    read = {document: np.zeros(len(document), bool) for document in expected}
    where = {document[place : place + 4]: (document, place) for document in expected for place in range(len(document) - 3)}
    settings = {"sequence_length": 24, "batch_size": 1, "pairs": "sop", "short_seq_prob": 0.0}
    rows = sum(-(-len(document) // 20) for document in expected)
    epochs = 3
    for step, batch in enumerate(batches(store, FRAMED, steps=epochs * rows, **settings)):
        (ids,), (type_ids,), (swapped,) = unmasked(batch), batch["type_ids"], batch["pair_labels"]
        texts = [ids[(type_ids == kind) & (ids < 259) & (ids > 1)].tolist() for kind in (0, 1)]
        text = (*texts[1], *texts[0]) if swapped else (*texts[0], *texts[1])
        if len(text) < 4:
            read[text][:] = True
        else:
            document, place = where[text[:4]]
            assert document[place : place + len(text)] == text, "contiguous, in one document"
            assert len(text) == min(20, len(document))
            read[document][place : place + len(text)] = True
        if step % rows == rows - 1:
            assert all(places.all() for places in read.values())
            read = {document: np.zeros(len(document), bool) for document in expected}


@pytest.mark.parametrize(("texts", "kind", "count"), [(["long enough", "x"], "nsp", 1), (["x", "y"], "sop", 0)])
def test_too_few_documents(tmp_path, texts, kind, count):
    store = make(tmp_path / "a", texts)
    with pytest.raises(StoreError, match=rf"a/store has {count} documents of two ids or more in split 'train'; pairs='{kind}'"):
        masked_lm(store, FRAMED, sequence_length=16, batch_size=2, pairs=kind)


def test_two_documents_are_enough_on_one_shard_or_nine(tmp_path):
    for shards in (1, 9):
        store = make(tmp_path / str(shards), ["a" * 50, "b" * 50], shards=shards)
        seen = Counter()
        for batch in batches(store, FRAMED, sequence_length=24, batch_size=16, pairs="nsp", steps=20):
            ids = unmasked(batch)
            both = (ids == 100).any(axis=1) & (ids == 101).any(axis=1)
            assert (both == (batch["pair_labels"] == 1)).all()
            seen.update(both.tolist())
        assert min(seen.values()) > 100
