"""Masked batches as a function of (seed, step): literal rows, every row where it belongs, other masks every epoch."""

import json
import random
from collections import Counter
from pathlib import Path

import byte_like
import numpy as np
import pytest
import tensorflow as tf
from masked_batches import FRAMED, batches, equal, make, unmasked

import tfllm.tokenizers
from tfllm.data import Store, StoreError, causal_lm, masked_lm
from tfllm.tokenizers import ByteTokenizer

KINDS = [
    {},
    {"document_masks": True, "unit": "word"},
    {"pairs": "nsp"},
    {"pairs": "sop", "unit": "span"},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three shards of unequal length, 200 documents."""
    rng = random.Random(2)
    texts = ["".join(rng.choices("abcdefghijABC", k=rng.randint(1, 60))) for _ in range(200)]
    return make(tmp_path_factory.mktemp("data") / "many", texts, validation=0.2, shards=3)


def streams(store, split="train"):
    return [np.fromfile(path, store.dtype).astype(int) for path in store.split(split).paths]


def lists(batch):
    return {name: value.tolist() for name, value in batch.items()}


def test_rows_as_in_the_docstring(tmp_path):
    store = make(tmp_path / "a", ["ABc", "DefG"])
    assert streams(store)[0].tolist() == [1, 71, 104, 105, 74, 1, 68, 69, 102, 1]
    settings = {"sequence_length": 6, "batch_size": 2, "mask_rate": 0.3, "shuffle": False}
    first = {
        "token_ids": [[259, 1, 71, 261, 105, 260], [259, 74, 1, 261, 69, 260]],
        "target_places": [[3, 0], [3, 0]],
        "target_ids": [[104, 0], [68, 0]],
        "target_weights": [[1, 0], [1, 0]],
    }
    assert [lists(batch) for batch in batches(store, FRAMED, steps=1, **settings)] == [first]
    assert [lists(batch) for batch in batches(store, FRAMED, repeat=False, **settings)] == [
        {**first, "segment_ids": [[1] * 6] * 2},
        {
            "token_ids": [[259, 102, 260, 0, 0, 0], [0] * 6],
            "segment_ids": [[1, 1, 1, 0, 0, 0], [0] * 6],
            "target_places": [[1, 0], [0, 0]],
            "target_ids": [[102, 0], [0, 0]],
            "target_weights": [[1, 0], [0, 0]],
        },
    ]
    settings |= {"sequence_length": 8, "pairs": "sop", "repeat": False}
    assert [lists(batch) for batch in batches(store, FRAMED, **settings)] == [
        {
            "token_ids": [[259, 104, 105, 261, 260, 260, 71, 260], [259, 261, 260, 260, 68, 69, 260, 0]],
            "type_ids": [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 0]],
            "segment_ids": [[1] * 8, [1, 1, 1, 1, 1, 1, 1, 0]],
            "target_places": [[3, 0, 0], [1, 0, 0]],
            "target_ids": [[74, 0, 0], [102, 0, 0]],
            "target_weights": [[1, 0, 0], [1, 0, 0]],
            "pair_labels": [1, 1],
            "row_weights": [1, 1],
        }
    ]


def test_types_and_static_shapes_and_no_python_in_the_loop(store):
    row, targets = tf.TensorSpec([4, 16], tf.int32), tf.TensorSpec([4, 3], tf.int32)
    base = {
        "token_ids": row,
        "target_places": targets,
        "target_ids": targets,
        "target_weights": tf.TensorSpec([4, 3], tf.float32),
    }
    pair = {"segment_ids": row, "type_ids": row, "pair_labels": tf.TensorSpec([4], tf.int32)}
    weights = {"row_weights": tf.TensorSpec([4], tf.float32)}
    for settings, more in (
        ({}, {}),
        ({"document_masks": True}, {"segment_ids": row, "positions": row}),
        ({"repeat": False}, {"segment_ids": row}),
        ({"pairs": "nsp"}, pair),
        ({"pairs": "sop", "repeat": False}, pair | weights),
    ):
        dataset = masked_lm(store, FRAMED, sequence_length=16, batch_size=4, **settings)
        assert dataset.element_spec == base | more
        graph = dataset._as_serialized_graph().numpy()
        assert b"ImmutableConst" in graph
        assert b"PyFunc" not in graph


@pytest.mark.parametrize(
    "kind", [KINDS[1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != KINDS[1])]
)
def test_a_batch_is_a_function_of_seed_and_step(store, kind):
    settings = {"sequence_length": 16, "batch_size": 5, "seed": 9, **kind}
    whole = batches(store, FRAMED, steps=60, **settings)
    (late,) = batches(store, FRAMED, steps=1, start_step=59, **settings)
    assert equal(late, whole[59])
    (other,) = batches(store, FRAMED, steps=1, **{**settings, "seed": 10})
    assert not np.array_equal(unmasked(whole[0]), unmasked(other))
    assert not np.array_equal(whole[0]["target_places"], other["target_places"])


@pytest.mark.slow
def test_a_mixture_far_along_is_no_different(store):
    stores = {store: 0.3, Store.open(store.folder): 0.7}
    settings = {"sequence_length": 16, "batch_size": 5, "pairs": "nsp"}
    two = batches(stores, FRAMED, steps=2, start_step=10**9, **settings)
    assert equal(two[1], *batches(stores, FRAMED, steps=1, start_step=10**9 + 1, **settings))
    assert not equal(*two)


@pytest.mark.parametrize("kind", [KINDS[2], pytest.param(KINDS[1], marks=pytest.mark.slow)])
def test_the_number_of_threads_changes_nothing(store, kind):
    found = []
    for threads in (1, 2):
        dataset = masked_lm(store, FRAMED, sequence_length=16, batch_size=8, **kind)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        found.append(list(dataset.with_options(options).take(50)))
    assert all(equal(*pair) for pair in zip(*found, strict=True))


def test_rows_are_those_of_causal_lm(store):
    """S - 2 places of the ring between [CLS] and [SEP], in the same order, epoch after epoch."""
    for settings in ({"seed": 3}, {"shuffle": False}, {"seed": 3, "split": "validation"}):
        masked = batches(store, FRAMED, sequence_length=18, batch_size=4, steps=200, **settings)
        causal = causal_lm(store, sequence_length=16, batch_size=4, **settings).take(200)
        for one, other in zip(masked, causal, strict=True):
            ids = unmasked(one)
            assert (ids[:, 1:-1] == other["token_ids"].numpy()).all()
            assert (ids[:, 0] == 259).all()
            assert (ids[:, -1] == 260).all()


def test_other_masks_in_every_epoch(tmp_path):
    store = make(tmp_path / "a", ["abcdefghijklmnopqrstuvwxyz" * 4])
    rows = (store.split().lengths[0] - 1) // 30
    seen = {}
    for batch in batches(store, FRAMED, sequence_length=32, batch_size=rows, steps=20, shuffle=False):  # a step is an epoch
        for row, places in zip(unmasked(batch).tolist(), batch["target_places"].tolist(), strict=True):
            seen.setdefault(tuple(row), []).append(tuple(places))
    assert len(seen) == rows
    assert all(len(set(places)) > 18 for places in seen.values())


@pytest.mark.parametrize(("unit", "pairs"), [("token", "none"), ("word", "nsp"), ("span", "sop")])
def test_what_is_hidden_and_what_is_not(store, unit, pairs):
    for batch in batches(store, FRAMED, sequence_length=32, batch_size=50, unit=unit, pairs=pairs, steps=20):
        ids, used = unmasked(batch), batch["target_weights"] > 0
        rows, columns = np.nonzero(used)
        assert (batch["target_ids"][used] > 2).all()
        assert (batch["target_ids"][used] < 259).all()
        changed = ids != batch["token_ids"]
        assert not np.isin(ids[changed], [0, 1, 259, 260]).any()
        assert not np.isin(batch["token_ids"][changed], [0, 1, 2, 259, 260]).any()
        assert set(zip(*np.nonzero(changed), strict=True)) <= set(zip(rows, batch["target_places"][rows, columns], strict=True))
        assert used.any(axis=1)[((ids > 2) & (ids < 259)).any(axis=1)].all()


def test_evaluation_reads_every_place_once_and_pads_with_weight_0(store):
    for split in ("train", "validation"):
        expected = Counter(id for stream in streams(store, split) for id in stream[:-1].tolist())
        settings = {"sequence_length": 18, "batch_size": 7, "split": split, "repeat": False}
        found = Counter()
        rows = sum(-(-(len(stream) - 1) // 16) for stream in streams(store, split))
        once = batches(store, FRAMED, **settings)
        assert len(once) == -(-rows // 7)
        for batch in once:
            ids, segments = unmasked(batch), batch["segment_ids"]
            assert ((ids != 0) == (segments == 1)).all()
            for row, used in zip(ids, segments.sum(axis=1), strict=True):
                if used:
                    assert (row[0], row[used - 1]) == (259, 260)
                    found.update(row[1 : used - 1].tolist())
        assert found == expected
    again, other = batches(store, FRAMED, **settings), batches(store, FRAMED, **settings, seed=1)
    assert all(equal(*pair) for pair in zip(once, again, strict=True)), "fixed masks"
    assert not all(equal(*pair) for pair in zip(once, other, strict=True))


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_evaluation_of_pairs_takes_every_window_once(store, kind):
    windows = sum(-(-len(ids) // 20) for ids in store.documents("validation") if len(ids) > 1)
    settings = {"sequence_length": 24, "split": "validation", "pairs": kind, "repeat": False}
    found = batches(store, FRAMED, batch_size=7, **settings)
    assert len(found) == masked_lm(store, FRAMED, batch_size=7, **settings).cardinality() == -(-windows // 7)
    assert sum(batch["row_weights"].sum() for batch in found) == windows
    padding = found[-1]["row_weights"] == 0
    assert padding.sum() == -windows % 7
    for name in found[-1]:
        assert not found[-1][name][padding].any(), name
    lengths = Counter(np.concatenate([batch["segment_ids"].sum(axis=1) for batch in found]).tolist())
    whole = Counter(
        4 + min(20, len(ids)) for ids in store.documents("validation") for _ in range(0, len(ids), 20) if len(ids) > 1
    )
    assert lengths == whole + Counter({0: int(padding.sum())}), "no row is shortened"


def test_document_masks(store):
    """Documents see themselves only; [CLS] is of the first, [SEP] of the last."""
    for settings in ({}, {"repeat": False, "shuffle": False}):
        for batch in batches(store, FRAMED, sequence_length=32, batch_size=7, document_masks=True, steps=60, **settings):
            for row, segments, positions in zip(
                unmasked(batch).tolist(), batch["segment_ids"].tolist(), batch["positions"].tolist(), strict=True
            ):
                segment, position = 1, -1
                for column, id in enumerate(row):
                    opens = id == 1 and column > 1
                    segment, position = (segment + 1, 0) if opens else (segment, position + 1)
                    assert (segments[column], positions[column]) == ((segment, position) if id else (0, 0))


@pytest.mark.parametrize("kinds", [KINDS[::2], pytest.param(KINDS[1::2], marks=pytest.mark.slow)])
def test_documents_stay_on_their_side(tmp_path, kinds):
    """No run of 12 ids that only validation documents have is read in training, on a store of real text."""
    text = Path(json.__file__).read_text() + Path(random.__file__).read_text()
    tokenizer = ByteTokenizer()
    store = make(tmp_path / "a", text.split("\n\n"), tokenizer, validation=0.2, shards=2)

    def runs(split):
        return {bytes(ids[place : place + 12]) for ids in store.documents(split) for place in range(len(ids) - 11)}

    alone = runs("validation") - runs("train")
    assert len(alone) > 1000
    for kind in kinds:
        for split in ("train", "validation") if kind is KINDS[0] else ("train",):
            settings = {"sequence_length": 64, "batch_size": 64, "split": split, "steps": 8}
            rows = np.concatenate([unmasked(batch) for batch in batches(store, tokenizer, **settings, **kind)])
            read = {bytes(row[place : place + 12].astype(store.dtype)) for row in rows for place in range(64 - 11)}
            assert bool(alone & read) == (split == "validation"), kind


def test_a_sentencepiece_store(tmp_path):
    """Pieces that carry their spaces: whole words are hidden, and given back by their ids."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(Path(json.__file__).read_text())
    tokenizer = tfllm.tokenizers.train([tmp_path / "text"], kind="unigram", vocab_size=400)
    store = make(tmp_path / "a", Path(json.__file__).read_text().split("\n\n"), tokenizer)
    starts = tokenizer.word_starts()
    hidden = cut = 0
    for batch in batches(store, tokenizer, sequence_length=64, batch_size=16, unit="word", steps=10):
        ids = unmasked(batch)
        chosen = np.zeros(ids.shape, bool)
        rows, columns = np.nonzero(batch["target_weights"])
        chosen[rows, batch["target_places"][rows, columns]] = True
        inner = (ids[:, 1:] > 2) & ~starts[ids[:, 1:]] & (ids[:, :-1] > 2)
        hidden += chosen.sum()
        cut += (chosen[:, 1:] != chosen[:, :-1])[inner].sum()
    assert hidden > 1000
    assert cut < hidden / 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 2}, "sequence_length=2 is invalid: expected a whole number from 3"),
        ({"sequence_length": 5, "pairs": "nsp"}, "sequence_length=5 is invalid: expected a whole number from 6"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"start_step": -1}, "start_step=-1"),
        ({"mask_rate": 0}, r"mask_rate=0 is invalid: expected a number above 0 and below 1"),
        ({"mask_rate": 1.0}, r"mask_rate=1\.0 is invalid"),
        ({"short_seq_prob": 1.5}, r"short_seq_prob=1\.5 is invalid: expected a number from 0 and below 1"),
        ({"unit": "letter"}, "unit='letter' is invalid: expected one of 'token', 'word', 'span'"),
        ({"pairs": "both"}, "pairs='both' is invalid: expected one of 'none', 'nsp', 'sop'"),
        ({"pairs": "nsp", "document_masks": True}, "document_masks=True is invalid: expected False with pairs="),
        ({"split": "test"}, "no split 'test'"),
        ({"sequence_length": 100_000}, "too small for one row of 99998: the train split has .* targets in 3 shards"),
        ({"repeat": False, "start_step": 10_000}, "is invalid: expected 0 to"),
    ],
)
def test_refusals(store, settings, message):
    with pytest.raises(ValueError, match=message):
        masked_lm(store, FRAMED, **{"sequence_length": 16, "batch_size": 2, **settings})


def test_refusals_of_tokenizers(store, tmp_path):
    settings = {"sequence_length": 16, "batch_size": 2}
    with pytest.raises(StoreError, match="was prepared with another tokenizer"):
        masked_lm(store, ByteTokenizer(), **settings)
    other = make(tmp_path / "a", ["abc" * 99], byte_like.Maskless())
    with pytest.raises(ValueError, match="has no mask token"):
        masked_lm(other, byte_like.Maskless(), **settings)
    with pytest.raises(ValueError, match="No store was given"):
        masked_lm({}, FRAMED, **settings)
