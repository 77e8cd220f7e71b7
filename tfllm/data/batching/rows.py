"""Rows of token stores by (seed, step): what all pretraining batches share.

    step -> draws -> (store, epoch, row) -> (shard, start) -> ids -> features

All of it is TensorFlow ops. `ImmutableConst` maps a shard into memory, and one gather reads the ids of a batch from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tensorflow as tf

from tfllm.data.batching import shuffle_order
from tfllm.data.batching.batches import Batches
from tfllm.data.store import Store, StoreError, get_store

Stores = Store | str | Path | Mapping[Store | str | Path, float]
"""A store or the path of its folder, or {store: weight}."""


@dataclass(frozen=True)
class Shards:
    """The files of one split of all stores; shards are numbered through."""

    paths: tuple[Path, ...]
    lengths: tuple[int, ...]
    """Ids."""
    by_store: tuple[int, ...]
    """How many shards each store has."""
    counts: tuple[int, ...]
    """Draws of a block, by store (shuffle_order.py)."""
    dtype: str
    separator_id: int

    @classmethod
    def open(cls, weights: Mapping[Store, float], split: str) -> Shards:
        """The shards of all stores, which must be of one tokenizer."""
        first = next(iter(weights))
        for store in weights:
            if store.manifest["tokenizer"] != first.manifest["tokenizer"]:
                raise StoreError(
                    f"{store.folder} and {first.folder} were made with different tokenizers. Prepare one again with "
                    "the other's, in another folder."
                )
        parts = [store.split(split) for store in weights]
        return cls(
            paths=tuple(path for part in parts for path in part.paths),
            lengths=tuple(length for part in parts for length in part.lengths),
            by_store=tuple(len(part.paths) for part in parts),
            counts=tuple(shuffle_order.draws_per_store(list(weights.values()))),
            dtype=first.dtype.name,
            separator_id=first.separator_id,
        )

    def read(self, shard: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """int32 [B, n]: the ids at `places` int64 [B, n] of the shards `shard` int64 [B]."""
        found = read_mapped(self.paths, self.lengths, shard, places, tf.as_dtype(self.dtype))
        return tf.cast(found, tf.int32)


@dataclass(frozen=True)
class Rows:
    """How many rows an epoch has."""

    by_shard: tuple[int, ...]
    by_store: tuple[int, ...]

    @classmethod
    def of(cls, shards: Shards, by_shard: Sequence[int]) -> Rows:
        left = iter(by_shard)
        return cls(tuple(by_shard), tuple(sum(next(left) for _ in range(count)) for count in shards.by_store))


@dataclass(frozen=True)
class SampledRows:
    """Which row each draw takes; int64 [B] each."""

    store: tf.Tensor
    epoch: tf.Tensor
    number: tf.Tensor
    """The rows of all shards numbered through."""


@dataclass(frozen=True)
class RowLocations:
    """Where the rows of a batch are on their rings; int64 [B] each."""

    shard: tf.Tensor
    row: tf.Tensor
    """On its shard; -1 is a row of padding."""
    start: tf.Tensor
    ring: tf.Tensor
    """Places of the shard's ring, which is also the number of its targets."""


def sample_rows(draw: tf.Tensor, rows: Rows, shards: Shards, *, seed: int, shuffle: bool) -> SampledRows:
    """Draws (int64 [B]) to rows."""
    store, number = shuffle_order.choose_store(draw, shards.counts, seed)
    of_store = tf.gather(tf.constant(rows.by_store, tf.int64), store)
    epoch, index = number // of_store, number % of_store
    if shuffle:
        index = shuffle_order.permute_index(index, of_store, shuffle_order.random_keys(seed, epoch, store))
    before = tf.cumsum(tf.constant(rows.by_store, tf.int64), exclusive=True)
    return SampledRows(store, epoch, index + tf.gather(before, store))


def locate_rows(
    taken: SampledRows, rows: Rows, shards: Shards, *, seed: int, shuffle: bool, step: int, once: bool
) -> RowLocations:
    """Rows to places: row n of a shard starts n * `step` places after where the epoch starts.

    Args:
        once: rows start at the beginning, and there are none beyond the first epoch.
    """
    by_shard = tf.constant(rows.by_shard, tf.int64)
    ends = tf.cumsum(by_shard)
    shard = tf.searchsorted(ends, taken.number, side="right", out_type=tf.int64)
    row = taken.number - tf.gather(ends - by_shard, shard)
    ring = tf.gather(tf.constant(shards.lengths, tf.int64) - 1, shard)
    if once:
        row = tf.where(taken.epoch > 0, tf.constant(-1, tf.int64), row)
        return RowLocations(shard, row, tf.maximum(row, 0) * step, ring)
    start = row * step
    if shuffle:
        phase = shuffle_order.random_int63(shuffle_order.random_keys(seed, taken.epoch, -1 - shard)) % ring
        start = (start + tf.where(taken.epoch > 0, phase, tf.zeros_like(phase))) % ring
    return RowLocations(shard, row, start, ring)


def read_mapped(
    paths: Sequence[Path], lengths: Sequence[int], number: tf.Tensor, places: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """[B, n] of `dtype`: what stands at `places` int64 [B, n] of the files `number` int64 [B], mapped into memory."""

    def read(file: int, places: tf.Tensor) -> tf.Tensor:
        if not lengths[file]:  # an empty file cannot be mapped, and no row is on it
            return tf.zeros_like(places, dtype)
        # Mapped anew at each step, which costs microseconds: the graph holds a path and no data, so it can travel.
        name = str(paths[file].resolve())
        content = tf.raw_ops.ImmutableConst(dtype=dtype, shape=[lengths[file]], memory_region_name=name)
        return tf.gather(content, places)

    if len(paths) == 1:
        return read(0, places)
    parts = tf.dynamic_partition(tf.range(tf.shape(number)[0]), tf.cast(number, tf.int32), len(paths))
    found = [read(file, tf.gather(places, part)) for file, part in enumerate(parts)]
    return tf.ensure_shape(tf.dynamic_stitch(parts, found), places.shape)


def dataset(
    batch: Callable[[tf.Tensor], dict[str, tf.Tensor]], rows: Rows, *, batch_size: int, start_step: int, repeat: bool
) -> Batches:
    """`batch` of the draws int64 [B] of every step from `start_step` on; for ever, or until each row was drawn once.

    `batch` takes any part of the draws, too.
    """
    steps = None if repeat else -(-sum(rows.by_store) // batch_size)
    if steps is not None and start_step > steps:
        raise ValueError(f"start_step={start_step} is invalid: expected 0 to {steps}, the steps of one epoch.")

    @tf.autograph.experimental.do_not_convert
    def of_step(step: tf.Tensor, first: int = 0, count: int = batch_size) -> dict[str, tf.Tensor]:
        return batch(step * batch_size + first + tf.range(count, dtype=tf.int64))

    def of_rows(first: int, count: int) -> tf.data.Dataset:
        steps_left = tf.data.Dataset.counter(start_step) if steps is None else tf.data.Dataset.range(start_step, steps)
        made = steps_left.map(
            partial(of_step, first=first, count=count), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return made.prefetch(tf.data.AUTOTUNE)

    return Batches(of_rows, lambda number: of_step(start_step + number), batch_size)


def rows_of_shards(weights: Mapping[Store, float], split: str, by_shard: Sequence[int], shards: Shards, length: int) -> Rows:
    """The rows of `length` places, or an error that names the store which has none."""
    rows = Rows.of(shards, by_shard)
    for store, count in zip(weights, rows.by_store, strict=True):
        if not count:
            part = store.split(split)
            raise StoreError(
                f"{store.folder} is too small for one row of {length}: the {split} split has {part.tokens} "
                f"targets in {len(part.paths)} shards. Give a smaller sequence_length, or more text."
            )
    return rows


def store_weights(stores: Stores, *, repeat: bool) -> dict[Store, float]:
    """One store or several, as {store: weight}."""
    given = dict(stores) if isinstance(stores, Mapping) else {stores: 1.0}
    weights = {get_store(each): weight for each, weight in given.items()}
    if not weights:
        raise ValueError("No store was given. Give a Store, or {store: weight}.")
    if len(weights) > 1 and not repeat:
        raise ValueError(
            "repeat=False is invalid: expected True with several stores, whose mixture has no end. Give one store at a time."
        )
    return weights


@dataclass(frozen=True)
class Range:
    """The whole numbers a setting may be."""

    low: int
    high: int


def check(settings: Mapping[str, int], **others: Range) -> None:
    """ValueError for a setting that is no whole number in its range."""
    ranges = {
        "sequence_length": Range(1, 2**31 - 2),
        "batch_size": Range(1, 2**31 - 1),
        "seed": Range(0, 2**32 - 1),
        "start_step": Range(0, 2**62),
        **others,
    }
    for name, value in settings.items():
        low, high = ranges[name].low, ranges[name].high
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name}={value!r} is invalid: expected a whole number from {low} to {high}.")
