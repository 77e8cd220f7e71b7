"""Batches in parts and one by one: together the batches that one device is given, row for row."""

from __future__ import annotations

import random

import masked_batches
import numpy as np
import pytest
import tensorflow as tf

from tfllm.data import causal_lm, masked_lm
from tfllm.data.batching.batches import Batches
from tfllm.data.labelled import text_classification
from tfllm.tokenizers import ByteTokenizer
from tfllm.train.distribution.strategies import add_row_numbers, round_robin

KINDS = ("causal", "causal, mixed", "causal, once", "masked", "pairs", "pairs, once", "labelled", "labelled, once")


def literal(first: int, count: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices({"row": [[7, 8, 9, 10], [11, 12, 13, 14]]}).map(
        lambda batch: {"row": tf.ensure_shape(batch["row"][first : first + count], [count])}
    )


def test_shares_and_parts_as_in_the_docstrings() -> None:
    whole = Batches(literal, lambda number: {}, 4)
    assert [batch["row"].tolist() for batch in whole.share(1, 2).as_numpy_iterator()] == [[9, 10], [13, 14]]
    turns = round_robin([whole.share(0, 2), whole.share(1, 2)])
    assert [batch["row"].tolist() for batch in turns.as_numpy_iterator()] == [[7, 8], [9, 10], [11, 12], [13, 14]]
    assert turns.cardinality() == 4 and turns.element_spec["row"].shape == [2]
    assert round_robin([whole.repeat(), whole.repeat()]).cardinality() == tf.data.INFINITE_CARDINALITY
    assert [batch["row"].tolist() for batch in whole.take(1).share(0, 4).as_numpy_iterator()] == [[7]]
    assert add_row_numbers({"token_ids": tf.constant([[7, 8], [9, 5], [6, 4]])}, first=3)["row"].numpy().tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="batch_size=4 is invalid: expected a multiple of 3"):
        whole.share(0, 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Batches]:
    chance = random.Random(2)
    texts = ["".join(chance.choices("abcdefghij", k=chance.randint(5, 60))) for _ in range(60)]
    folder = tmp_path_factory.mktemp("data")
    store = masked_batches.make(folder / "store", texts, validation=0.2, shards=3)
    other = masked_batches.make(folder / "other", ["".join(chance.choices("klm", k=40)) for _ in range(30)], shards=2)
    assert min(store.split().lengths) > 100, "rows come from every shard"
    rows = text_classification([{"text": text, "label": text[0]} for text in texts], ByteTokenizer())
    size = dict(sequence_length=16, batch_size=12)
    ends = dict(split="validation", repeat=False)
    return {
        "causal": causal_lm(store, **size, start_step=3, document_masks=True),
        "causal, mixed": causal_lm({store: 0.7, other: 0.3}, **size),
        "causal, once": causal_lm(store, **size, **ends, stride=5),
        "masked": masked_lm(store, masked_batches.FRAMED, **size, unit="word"),
        "pairs": masked_lm(store, masked_batches.FRAMED, **size, pairs="nsp"),
        "pairs, once": masked_lm(store, masked_batches.FRAMED, **size, **ends, pairs="sop"),
        "labelled": rows.batches(12, start_step=3),
        "labelled, once": rows.batches(12, shuffle=False, repeat=False),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [*(pytest.param(parts, marks=pytest.mark.slow) for parts in (1, 2)), 3])
def test_all_shares_together_are_the_batch(made: dict[str, Batches], kind: str, parts: int) -> None:
    batches = made[kind].take(4)
    shares = [list(batches.share(part, parts).as_numpy_iterator()) for part in range(parts)]
    wholes = list(batches.as_numpy_iterator())
    assert wholes and all(len(share) == len(wholes) for share in shares)
    for number, whole in enumerate(wholes):
        same(whole, [share[number] for share in shares])
        same(whole, [{name: value.numpy() for name, value in batches.element(tf.constant(number, tf.int64)).items()}])


def same(whole: dict[str, np.ndarray], parts: list[dict[str, np.ndarray]]) -> None:
    """Padding included: a row's dropout goes by the width it is padded to."""
    for name, value in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value, err_msg=name)
