"""A token store in, batches out. A batch is a function of (seed, step): nothing is remembered between steps.

    step -> draws -> (store, epoch, row) -> (shard, start) -> ids -> features

All of it is TensorFlow ops: a shard is mapped into memory by ImmutableConst and read by one gather.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfllm import features
from tfllm.data import order, packing
from tfllm.data.objectives import causal_shift
from tfllm.data.store import Store, StoreError


def causal_lm(
    stores: Store | Mapping[Store, float],
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
) -> tf.data.Dataset:
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
        stores: one store, or {store: weight}: the weights are shares of the rows (order.py).
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
    shares = {stores: 1.0} if isinstance(stores, Store) else dict(stores)
    _check(shares, sequence_length, batch_size, seed, start_step, repeat, stride)
    plan = _Plan.make(shares, split, sequence_length, None if repeat else stride or sequence_length)
    steps = None if repeat else -(-sum(plan.rows) // batch_size)
    if steps is not None and start_step > steps:
        raise ValueError(f"start_step={start_step} is past the end: a pass has {steps} steps.")

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        draw = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        spots = _spots(draw, plan, seed, shuffle)
        if plan.stride is None:
            places, there = packing.ring_places(spots.start, spots.ring, sequence_length), None
            weights = tf.ones([batch_size, sequence_length])
        else:
            places = tf.minimum(spots.start[:, None] + tf.range(sequence_length + 1, dtype=tf.int64), spots.ring[:, None])
            there = packing.targets_there(spots.row, spots.ring, sequence_length, plan.stride)
            weights = packing.strided_weights(spots.row, there, plan.stride)
        result = causal_shift(_gather(spots.shard, places, plan), weights, there)
        if document_masks:
            result |= packing.document_masks(result[features.TOKEN_IDS], plan.separator_id, there)
        return result

    steps_left = tf.data.Dataset.counter(start_step) if steps is None else tf.data.Dataset.range(start_step, steps)
    dataset = steps_left.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True)
class _Plan:
    """The stores laid out as rows; shards of all stores are numbered through."""

    paths: tuple[Path, ...]
    lengths: tuple[int, ...]
    shard_rows: tuple[int, ...]
    rows: tuple[int, ...]
    """By store."""
    counts: tuple[int, ...]
    """Draws of a block, by store."""
    dtype: str
    separator_id: int
    sequence_length: int
    stride: int | None
    """None: training, on rings."""

    @classmethod
    def make(cls, weights: Mapping[Store, float], split: str, sequence_length: int, stride: int | None) -> _Plan:
        first = next(iter(weights))
        paths: list[Path] = []
        lengths: list[int] = []
        shard_rows: list[int] = []
        rows = []
        for store in weights:
            if store.manifest["tokenizer"] != first.manifest["tokenizer"]:
                raise StoreError(f"{store.folder} and {first.folder} were made with different tokenizers. Prepare one anew.")
            part = store.split(split)
            mine = [
                packing.strided_rows(length, sequence_length, stride) if stride else packing.ring_rows(length, sequence_length)
                for length in part.lengths
            ]
            if not sum(mine):
                raise StoreError(
                    f"{store.folder} is too small for one row of {sequence_length}: the {split} split has {part.tokens} "
                    f"targets in {len(part.paths)} shards. Give a smaller sequence_length, or more text."
                )
            paths += part.paths
            lengths += part.lengths
            shard_rows += mine
            rows.append(sum(mine))
        return cls(
            paths=tuple(paths),
            lengths=tuple(lengths),
            shard_rows=tuple(shard_rows),
            rows=tuple(rows),
            counts=tuple(order.shares(list(weights.values()))),
            dtype=first.dtype.name,
            separator_id=first.separator_id,
            sequence_length=sequence_length,
            stride=stride,
        )


@dataclass(frozen=True)
class _Spots:
    """Where the rows of a batch are; int64 [B] each."""

    shard: tf.Tensor
    row: tf.Tensor
    """On its shard; -1 is a row of padding."""
    start: tf.Tensor
    ring: tf.Tensor
    """Places of the shard's ring, which is also the number of its targets."""


def _spots(draw: tf.Tensor, plan: _Plan, seed: int, shuffle: bool) -> _Spots:
    """Draws to places. draw: int64 [B]."""
    store, number = order.draw_store(draw, plan.counts, seed)
    rows = tf.gather(tf.constant(plan.rows, tf.int64), store)
    epoch, index = number // rows, number % rows
    if shuffle:
        index = order.permuted(index, rows, order.keys(seed, epoch, store))
    before = tf.cumsum(tf.constant(plan.rows, tf.int64), exclusive=True)
    ends = tf.cumsum(tf.constant(plan.shard_rows, tf.int64))
    index += tf.gather(before, store)
    shard = tf.searchsorted(ends, index, side="right", out_type=tf.int64)
    row = index - tf.gather(ends - tf.constant(plan.shard_rows, tf.int64), shard)
    ring = tf.gather(tf.constant(plan.lengths, tf.int64) - 1, shard)
    if plan.stride:
        row = tf.where(epoch > 0, tf.constant(-1, tf.int64), row)
        return _Spots(shard, row, tf.maximum(row, 0) * plan.stride, ring)
    start = row * plan.sequence_length
    if shuffle:
        word = order.keys(seed, epoch, -1 - shard)
        phase = (tf.cast(word[:, 0], tf.int64) * 2**31 + tf.cast(word[:, 1] // 2, tf.int64)) % ring
        start = (start + tf.where(epoch > 0, phase, tf.zeros_like(phase))) % ring
    return _Spots(shard, row, start, ring)


def _gather(shard: tf.Tensor, places: tf.Tensor, plan: _Plan) -> tf.Tensor:
    """int32 [B, S+1] ids at `places` int64 [B, S+1] of the files `shard` int64 [B]."""

    def read(number: int, places: tf.Tensor) -> tf.Tensor:
        # Mapped anew at each step, which costs microseconds: the graph holds a path and no data, so it can travel.
        file = tf.raw_ops.ImmutableConst(
            dtype=tf.as_dtype(plan.dtype),
            shape=[plan.lengths[number]],
            memory_region_name=str(plan.paths[number].resolve()),
        )
        return tf.cast(tf.gather(file, places), tf.int32)

    if len(plan.paths) == 1:
        return read(0, places)
    parts = tf.dynamic_partition(tf.range(tf.shape(shard)[0]), tf.cast(shard, tf.int32), len(plan.paths))
    found = [read(number, tf.gather(places, part)) for number, part in enumerate(parts)]
    return tf.ensure_shape(tf.dynamic_stitch(parts, found), places.shape)


def _check(
    weights: Mapping[Store, float],
    sequence_length: int,
    batch_size: int,
    seed: int,
    start_step: int,
    repeat: bool,
    stride: int | None,
) -> None:
    if not weights:
        raise ValueError("No store was given. Give a Store, or {store: weight}.")
    ranges = {
        "sequence_length": (sequence_length, 1, 2**31 - 2),
        "batch_size": (batch_size, 1, 2**31 - 1),
        "seed": (seed, 0, 2**32 - 1),
        "start_step": (start_step, 0, 2**62),
        "stride": (1 if stride is None else stride, 1, sequence_length),
    }
    for name, (value, low, high) in ranges.items():
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name}={value!r} is not accepted; give a whole number from {low} to {high}.")
    if stride is not None and repeat:
        raise ValueError(f"stride={stride} is for evaluation; give repeat=False with it.")
    if len(weights) > 1 and not repeat:
        raise ValueError("A weighted mixture has no end; with repeat=False give one store at a time.")
