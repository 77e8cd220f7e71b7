"""Batches as a function of (seed, step): literal rows, every target where it belongs, any step first."""

import random
from collections import Counter

import byte_like
import numpy as np
import pytest
import tensorflow as tf

from tfllm.data import Store, StoreError, causal_lm, prepare
from tfllm.tokenizers import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Validation has")  # small corpora


def make(folder, texts, *, tokenizer=None, validation=0.0, shards=1):
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return prepare(
        folder,
        tokenizer or ByteTokenizer(),
        folder / "store",
        validation=validation,
        shards=shards,
        processes=1,
        progress=False,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three shards of unequal length, in which every id says where it stands: 200 documents."""
    rng = random.Random(2)
    texts = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 60))) for _ in range(200)]
    return make(tmp_path_factory.mktemp("data") / "many", texts, validation=0.2, shards=3)


def streams(store, split="train"):
    return [np.fromfile(path, store.dtype).astype(int) for path in store.split(split).paths]


def batches(*args, steps, **settings):
    return [{name: value.numpy() for name, value in batch.items()} for batch in causal_lm(*args, **settings).take(steps)]


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def rows_of(batch):
    """Whole rows of S + 1 ids."""
    return np.concatenate([batch["token_ids"], batch["target_ids"][:, -1:]], axis=1)


def test_rows_as_in_the_docstring(tmp_path):
    store = make(tmp_path / "a", ["\x02\x03", "\x04\x05\x06"])
    assert streams(store)[0].tolist() == [1, 7, 8, 9, 1, 5, 6, 1]
    order = [[1, 7, 8], [9, 1, 5]]
    settings = {"sequence_length": 3, "batch_size": 2, "shuffle": False}
    (first,) = batches(store, steps=1, **settings)
    assert first["token_ids"].tolist() == order
    first, second = batches(store, steps=9, repeat=False, **settings)
    assert first["token_ids"].tolist() == order
    assert first["target_ids"].tolist() == [[7, 8, 9], [1, 5, 6]]
    assert first["target_weights"].tolist() == [[1, 1, 1]] * 2
    assert second["token_ids"].tolist() == [[6, 0, 0], [0, 0, 0]]
    assert second["target_ids"].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert second["target_weights"].tolist() == [[1, 0, 0], [0, 0, 0]]


def test_types_and_static_shapes(store):
    dataset = causal_lm(store, sequence_length=8, batch_size=4, document_masks=True)
    expected = dict.fromkeys(("token_ids", "target_ids", "segment_ids", "positions"), tf.int32)
    assert dataset.element_spec == {
        name: tf.TensorSpec([4, 8], dtype) for name, dtype in {**expected, "target_weights": tf.float32}.items()
    }
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_no_python_in_the_loop(store):
    dataset = causal_lm({store: 1.0, Store.open(store.folder): 2.0}, sequence_length=8, batch_size=4)
    graph = dataset._as_serialized_graph().numpy()
    assert b"ImmutableConst" in graph
    assert b"PyFunc" not in graph


def test_a_batch_is_a_function_of_seed_and_step(store):
    other = Store.open(store.folder)
    for stores in (store, {store: 0.3, other: 0.7}):
        settings = {"sequence_length": 16, "batch_size": 5, "document_masks": True, "seed": 9}
        whole = batches(stores, steps=60, **settings)
        for start in (1, 59):
            late = batches(stores, steps=1, start_step=start, **settings)
            assert equal(late[0], whole[start])
        assert not equal(whole[0], batches(stores, steps=1, **{**settings, "seed": 10})[0])
        assert not equal(whole[0], whole[1])
        far = [batches(stores, steps=1, start_step=10**9, **settings)[0] for _ in range(2)]
        assert equal(*far)


def test_an_epoch_takes_every_row_once(store):
    length = 16
    expected = Counter()
    for stream in streams(store):
        expected.update(tuple(stream[row * length : row * length + length + 1]) for row in range((len(stream) - 1) // length))
    rows = expected.total()
    found = Counter(
        map(tuple, np.concatenate([rows_of(b) for b in batches(store, sequence_length=length, batch_size=1, steps=rows)]))
    )
    assert found == expected
    plain = batches(store, sequence_length=length, batch_size=1, steps=2 * rows, shuffle=False)
    assert [tuple(rows_of(batch)[0]) for batch in plain[:rows]] == list(expected.elements()) or expected.total() != len(
        expected
    )
    assert all(equal(one, two) for one, two in zip(plain[:rows], plain[rows:], strict=True))


def test_later_epochs_start_elsewhere_so_that_nothing_is_left_out(tmp_path):
    store = make(tmp_path / "a", ["abcdefghijklmnopqrstuvw"])  # a ring of 24: two rows of 10, 4 left over
    (stream,) = streams(store)
    ring = stream[:-1].tolist()
    targets = Counter()
    starts, orders = set(), Counter()
    for batch in batches(store, sequence_length=10, batch_size=2, steps=200):  # a step is an epoch
        for row in rows_of(batch).tolist():
            start = ring.index(row[0])
            assert row == [ring[(start + place) % 24] for place in range(11)]
            targets.update(row[1:])
        first, second = (ring.index(row[0]) for row in rows_of(batch).tolist())
        starts.add(first)
        orders[(second - first) % 24] += 1
    assert len(starts) == 24
    assert set(orders) == {10, 14}, "the second row first, or the first"
    assert min(orders.values()) > 60
    counts = [targets[id] for id in set(ring)]
    assert min(counts) > 120, "each target is left out in a sixth of the epochs, here and there"


def test_every_target_of_a_split_is_scored_once(store):
    for split in ("train", "validation"):
        expected = Counter(target for stream in streams(store, split) for target in stream[1:].tolist())
        for length, stride in ((16, None), (16, 16), (16, 5), (7, 1), (10_000, None)):
            dataset = causal_lm(store, sequence_length=length, batch_size=3, split=split, repeat=False, stride=stride)
            scored = Counter()
            for batch in dataset:
                scored.update(batch["target_ids"].numpy()[batch["target_weights"].numpy() == 1].tolist())
            assert scored == expected
            assert scored.total() == store.split(split).tokens


def test_scored_positions_have_their_context(tmp_path):
    text = "".join(map(chr, range(5, 105)))  # every id another, so an id is a place
    store = make(tmp_path / "a", [text])
    (stream,) = streams(store)
    where = {int(id): place for place, id in enumerate(stream[:-1])} | {1: len(stream) - 1}
    scored = []
    for batch in batches(store, sequence_length=20, batch_size=4, repeat=False, stride=6, shuffle=False, steps=99):
        for ids, targets, weights in zip(batch["token_ids"], batch["target_ids"], batch["target_weights"], strict=True):
            for column in np.flatnonzero(weights):
                place = where[int(targets[column])]
                scored.append(place)
                context = ids[: column + 1]
                assert context.tolist() == stream[place - len(context) : place].tolist()
                assert len(context) >= min(place, 20 - 6 + 1)
    assert scored == list(range(1, len(stream)))


def test_cardinality_and_the_end(store):
    settings = {"sequence_length": 16, "batch_size": 3, "repeat": False}
    steps = int(causal_lm(store, **settings).cardinality())
    rows = sum(-(-(length - 1) // 16) for length in store.split().lengths)
    assert steps == -(-rows // 3) == len(list(causal_lm(store, **settings)))
    assert causal_lm(store, start_step=steps - 2, **settings).cardinality() == 2
    assert causal_lm(store, start_step=steps, **settings).cardinality() == 0
    with pytest.raises(ValueError, match=f"is invalid: expected 0 to {steps}, the steps of one epoch"):
        causal_lm(store, start_step=steps + 1, **settings)


def test_document_masks(store):
    for settings in ({}, {"repeat": False, "shuffle": False}):
        seen = 0
        for batch in batches(store, sequence_length=32, batch_size=7, document_masks=True, steps=100, **settings):
            for row in range(7):
                segment, position = 0, -1
                for column, id in enumerate(batch["token_ids"][row]):
                    opens = id == 1 or column == 0
                    segment, position = (segment + 1, 0) if opens else (segment, position + 1)
                    expected = (segment, position) if id else (0, 0)
                    assert (batch["segment_ids"][row, column], batch["positions"][row, column]) == expected
                    assert id or not batch["target_weights"][row, column]
                    seen += id == 0
        assert bool(seen) == bool(settings)


def test_mixtures_draw_by_weight_and_each_store_in_full(tmp_path):
    lower = make(tmp_path / "a", ["".join(random.Random(n).choices("abc", k=400)) for n in range(5)])
    upper = make(tmp_path / "b", ["".join(random.Random(n).choices("XYZ", k=300)) for n in range(5)], shards=2)
    found = np.concatenate(
        [rows_of(batch) for batch in batches({lower: 3, upper: 1}, sequence_length=50, batch_size=100, steps=100)]
    )
    is_upper = ((found >= 3 + ord("A")) & (found <= 3 + ord("Z"))).any(axis=1)
    is_lower = (found >= 3 + ord("a")).any(axis=1)
    assert (is_upper != is_lower).all()
    assert is_upper.sum() == 2500  # a block of 10,000 draws is exact
    assert 15 < is_upper[:100].sum() < 35
    first_epoch = found[is_lower][: (lower.split().tokens) // 50]
    stream = streams(lower)[0]
    shards_rows = {tuple(stream[row * 50 : row * 50 + 51]) for row in range(len(first_epoch))}
    assert len(shards_rows & set(map(tuple, found[is_lower]))) == len(shards_rows)


def test_one_and_many_shards_hold_the_same_targets(tmp_path):
    texts = ["".join(random.Random(n).choices("abcdef", k=30)) for n in range(30)]
    one, many = make(tmp_path / "a", texts), make(tmp_path / "b", texts, shards=5)
    counts = []
    for store in (one, many):
        scored = Counter()
        for batch in batches(store, sequence_length=8, batch_size=4, repeat=False, steps=10**6):
            scored.update(batch["target_ids"][batch["target_weights"] == 1].tolist())
        counts.append(scored)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 0}, "sequence_length=0 is invalid"),
        ({"sequence_length": 8.0}, r"sequence_length=8\.0 is invalid"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"start_step": -1}, "start_step=-1"),
        ({"stride": 0, "repeat": False}, "stride=0 is invalid: expected a whole number from 1 to 8"),
        ({"stride": 9, "repeat": False}, "stride=9"),
        ({"stride": 4}, "stride=4 is invalid: expected None with repeat=True"),
        ({"split": "test"}, "no split 'test'"),
        ({"sequence_length": 100_000}, "too small for one row of 100000: the train split has .* targets in 3 shards"),
    ],
)
def test_refusals(store, settings, message):
    with pytest.raises(ValueError, match=message):
        causal_lm(store, **{"sequence_length": 8, "batch_size": 2, **settings})


def test_mixture_refusals(store, tmp_path):
    settings = {"sequence_length": 8, "batch_size": 2}
    other = make(tmp_path / "a", ["abc" * 99], tokenizer=byte_like.Other())
    with pytest.raises(StoreError, match=r"a/store and .* were made with different tokenizers"):
        causal_lm({store: 1, other: 1}, **settings)
    with pytest.raises(ValueError, match="No store was given"):
        causal_lm({}, **settings)
    with pytest.raises(ValueError, match="expected True with several stores, whose mixture has no end"):
        causal_lm({store: 1, Store.open(store.folder): 1}, repeat=False, **settings)
    with pytest.raises(ValueError, match="weights="):
        causal_lm({store: 1, Store.open(store.folder): 0}, **settings)


def test_the_whole_way_in_uint32(tmp_path):
    store = make(tmp_path / "a", ["abcdefgh"], tokenizer=byte_like.Wide())
    (batch,) = batches(store, sequence_length=8, batch_size=1, steps=1, shuffle=False)
    assert batch["token_ids"].tolist() == [[1, *range(69_100, 69_107)]]
