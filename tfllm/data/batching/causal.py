"""Batches for a causal language model, from token stores. A batch is a function of (seed, step) (rows.py)."""

from __future__ import annotations

import tensorflow as tf

from tfllm import features
from tfllm.data.batching import packing, rows
from tfllm.data.batching.batches import Batches
from tfllm.data.batching.targets import next_token_targets


def causal_lm(
    stores: rows.Stores,
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    split: str = "train",
    document_masks: bool = False,
    shuffle: bool = True,
    repeat: bool = True,
    stride: int | None = None,
) -> Batches:
    """Batches of packed rows for a causal language model, from step `start_step` on.

        shard 1 7 8 9 1 5 6 1, S = 3, B = 2, shuffle=False
        -> step 0: token_ids 1 7 8 | 9 1 5, target_ids 7 8 9 | 1 5 6, target_weights 1 1 1 | 1 1 1
        the same with repeat=False
        -> step 0 as above
           step 1: token_ids 6 0 0 | 0 0 0, target_ids 1 0 0 | 0 0 0, target_weights 1 0 0 | 0 0 0

    Training (repeat=True): an epoch takes every row of every shard once. The targets left over at a shard's
    end, less than a row, are others in every epoch: with shuffle, epoch 1, 2, … start each shard elsewhere
    (packing.py); epoch 0 starts at its beginning, and without shuffle every epoch does. The dataset has no
    end.

    Evaluation (repeat=False): every target of the split is scored exactly once; the last row of a shard and
    the last batch are padded with weight 0. The dataset's cardinality says how many steps are left.

    Args:
        stores: one store (or the path of its folder), or {store: weight}: shares of the rows (shuffle_order.py).
        sequence_length: S.
        batch_size: B, over all replicas.
        seed: 0 to 2**32 - 1.
        start_step: the first step; any costs the same.
        split: "train" or "validation".
        document_masks: add SEGMENT_IDS and POSITIONS, so that documents of one row do not see each other.
        shuffle: rows in a random order, another each epoch; else in the order of the store.
        repeat: for ever, or once.
        stride: new targets a row, 1 to S, each seen with S - stride tokens of context at least; needs
            repeat=False.

    Returns:
        Dicts of TOKEN_IDS, TARGET_IDS int32 [B, S], TARGET_WEIGHTS float32 [B, S], and with `document_masks`
        SEGMENT_IDS, POSITIONS int32 [B, S].

    Raises:
        ValueError: a setting is out of range.
        StoreError: no document in the split, a store too small for one row, or stores of different
            tokenizers.
    """
    weights = rows.store_weights(stores, repeat=repeat)
    _check(sequence_length, batch_size, seed, start_step, repeat, stride)
    shards = rows.Shards.open(weights, split)
    step = stride or sequence_length
    by_shard = [
        packing.ring_rows(length, sequence_length) if repeat else packing.strided_rows(length, sequence_length, step)
        for length in shards.lengths
    ]
    epoch = rows.rows_of_shards(weights, split, by_shard, shards, sequence_length)

    def batch(draw: tf.Tensor) -> dict[str, tf.Tensor]:
        taken = rows.sample_rows(draw, epoch, shards, seed=seed, shuffle=shuffle)
        spots = rows.locate_rows(taken, epoch, shards, seed=seed, shuffle=shuffle, step=step, once=not repeat)
        if repeat:
            places, there = packing.ring_places(spots.start, spots.ring, sequence_length), None
            counts = tf.ones([draw.shape[0], sequence_length])
        else:
            places = tf.minimum(spots.start[:, None] + tf.range(sequence_length + 1, dtype=tf.int64), spots.ring[:, None])
            there = packing.targets_there(spots.row, spots.ring, sequence_length, step)
            counts = packing.strided_weights(spots.row, there, step)
        result = next_token_targets(shards.read(spots.shard, places), counts, there)
        if document_masks:
            result |= packing.document_masks(result[features.TOKEN_IDS], shards.separator_id, there)
        return result

    return rows.dataset(batch, epoch, batch_size=batch_size, start_step=start_step, repeat=repeat)


def _check(sequence_length: int, batch_size: int, seed: int, start_step: int, repeat: bool, stride: int | None) -> None:
    settings = {"sequence_length": sequence_length, "batch_size": batch_size, "seed": seed, "start_step": start_step}
    rows.check(settings)
    if stride is not None:
        rows.check({"stride": stride}, stride=rows.Range(1, sequence_length))
        if repeat:
            raise ValueError(
                f"stride={stride} is invalid: expected None with repeat=True, because it is for evaluation. Give repeat=False "
                "with it."
            )
