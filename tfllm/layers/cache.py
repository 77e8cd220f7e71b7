"""What a decoder remembers of the tokens it has read: keys and values, in slots.

Slots are filled in the order of the calls, all rows alike; each slot carries the position and the segment of its token, and
the attention mask is made from these. So prompts of different lengths are padded on the right with segment 0, and a row's
next token simply takes the next slot, with its own position.

Two prompts of three and one tokens, then one new token each (slots across, `.` is not filled):

    segment_ids  1 1 1 1 .      positions  0 1 2 3 .
                 1 0 0 1 .                 0 . . 1 .
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfllm.layers.mesh import on_mesh

_SLOTS = 32
"""They come in multiples of it."""


KeysAndValues = tuple[tf.Tensor, tf.Tensor]
"""Of one layer: [B, K, T, H] each."""


class Memory(NamedTuple):
    """What a decoder's cross-attention reads, made once: it is the same for all continuations of a row, and never reordered."""

    keys: tuple[tf.Tensor, ...]
    """One a layer: [B, K, T, H]."""
    values: tuple[tf.Tensor, ...]
    """One a layer: [B, K, T, H]."""
    mask: tf.Tensor
    """bool [B, T]: False for padding."""


class Cache(NamedTuple):
    """A nest of tensors, fit for `tf.while_loop`."""

    keys: tuple[tf.Tensor, ...]
    """One a layer: [B, K, T, H]."""
    values: tuple[tf.Tensor, ...]
    """One a layer: [B, K, T, H]."""
    positions: tf.Tensor
    """int32 [B, T]."""
    segment_ids: tf.Tensor
    """int32 [B, T]: 0 is an empty slot or padding."""
    length: tf.Tensor
    """int32 []: slots filled."""
    memory: Memory | tuple[()] = ()
    """Of a decoder with cross-attention; else ()."""


def new_cache(
    batch_size: int | tf.Tensor,
    length: int | tf.Tensor,
    *,
    num_layers: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: str,
) -> Cache:
    """An empty cache of `length` slots (T) for `batch_size` rows (B)."""
    empty = tuple(tf.zeros([batch_size, num_kv_heads, length, head_dim], dtype) for _ in range(2 * num_layers))
    slots = tf.zeros([batch_size, length], tf.int32)
    return Cache(empty[:num_layers], empty[num_layers:], slots, slots, tf.constant(0))


def write(slots: tf.Tensor, new: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """`slots` with `new` at `start` and after, in place where the runtime holds the only reference.

    [B, K, T, H], [B, K, S, H] -> [B, K, T, H].
    """
    if on_mesh():
        # DTensor takes a strided update that begins elsewhere than at 0, and writes nothing.
        sources = tf.range(tf.shape(slots)[2]) - start
        written = (sources >= 0) & (sources < tf.shape(new)[2])
        return tf.where(written[:, None], tf.gather(new, tf.where(written, sources, 0), axis=2), slots)
    end = start + (new.shape[2] or tf.shape(new)[2])
    # Unlike a scatter, this op does write into the buffer it is given; a scatter copies the cache at every step.
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=slots,
        begin=tf.stack([0, 0, start, 0]),
        end=tf.stack([0, 0, end, 0]),
        strides=[1, 1, 1, 1],
        value=new,
        begin_mask=0b1011,
        end_mask=0b1011,
    )


def write_labels(slots: tf.Tensor, new: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The same for positions and segments: int32 [B, T], [B, S] -> [B, T]."""
    new = tf.broadcast_to(new, [tf.shape(slots)[0], tf.shape(new)[1]])
    return write(slots[:, None, :, None], new[:, None, :, None], start)[:, 0, :, 0]


def padded(cache: Cache, more: int | tf.Tensor) -> Cache:
    """The cache with `more` empty slots behind the others."""

    def longer(slots: tf.Tensor, axis: int) -> tf.Tensor:
        return tf.pad(slots, [[0, more if i == axis else 0] for i in range(len(slots.shape))])

    return cache._replace(
        keys=tuple(longer(each, 2) for each in cache.keys),
        values=tuple(longer(each, 2) for each in cache.values),
        positions=longer(cache.positions, 1),
        segment_ids=longer(cache.segment_ids, 1),
    )


def slots_at_first(filled: tf.Tensor, room: tf.Tensor) -> tf.Tensor:
    """How many slots to add to those `filled`, where `room` may be wanted in the end: int32 [], int32 [] -> int32 [].

    Few, for a step reads empty slots, too, and most texts end before their budget. Multiples make requests equal in size, for
    which oneDNN has its kernels ready.
    """
    return tf.where(room > 0, _SLOTS - filled % _SLOTS, 0)


def check_room(cache: Cache, rows: int, more: int) -> None:
    """Outside a graph, where the numbers are known: `write` loses a token for which there is no slot at all.

    Raises:
        ValueError: the cache is of another number of rows, or fewer than `more` slots are empty.
    """
    (there, slots), filled = cache.positions.shape, int(cache.length)
    if there != rows:
        raise ValueError(f"the cache is of {there} rows, the tokens of {rows}: give each batch a cache of its own")
    if filled + more > slots:
        raise ValueError(
            f"the cache has {slots} slots, {filled} of them filled: no room for {more} more tokens. "
            "Ask new_cache for as many slots as there will be tokens"
        )


def is_full(cache: Cache) -> tf.Tensor:
    return cache.length >= tf.shape(cache.positions)[1]


def with_a_slot(cache: Cache) -> Cache:
    """The cache; where no slot is empty, with an eighth more or `_SLOTS`."""

    def longer() -> Cache:
        eighths = tf.shape(cache.positions)[1] // (8 * _SLOTS)
        return padded(cache, (eighths + 1) * _SLOTS)

    return tf.cond(is_full(cache), longer, lambda: cache)


def rollback(cache: Cache, positions: tf.Tensor) -> Cache:
    """The cache without the tokens of each row from its position on. Slots at the end that no row uses become free again.

    Rows that go back to 3 and 2 (slots across):

        segment_ids  1 1 1 1 1 .      1 1 1 . .
                     1 1 0 1 0 .      1 1 . . .      length 5 -> 3

    Args:
        positions: int32 [B].
    """
    kept = tf.where(cache.positions < positions[:, None], cache.segment_ids, 0)
    used = tf.reduce_any(kept > 0, 0)
    length = tf.reduce_max(tf.where(used, tf.range(tf.size(used)) + 1, 0))
    return cache._replace(segment_ids=kept, length=length)


def with_room(cache: Cache, count: int | tf.Tensor) -> Cache:
    """The cache with `count` free slots at least: where there are fewer, each row's tokens close up to the front.

    count: int32 []; no more than the slots that the row with the most tokens leaves.
    """
    free = tf.shape(cache.positions)[1] - cache.length
    return tf.cond(free < count, lambda: _closed_up(cache), lambda: cache)


def _closed_up(cache: Cache) -> Cache:
    """Each row's tokens without empty slots between them."""
    order = tf.argsort(tf.cast(cache.segment_ids == 0, tf.int32), axis=1, stable=True)
    return cache._replace(
        keys=tuple(tf.gather(each, order, axis=2, batch_dims=1) for each in cache.keys),
        values=tuple(tf.gather(each, order, axis=2, batch_dims=1) for each in cache.values),
        positions=tf.gather(cache.positions, order, batch_dims=1),
        segment_ids=tf.gather(cache.segment_ids, order, batch_dims=1),
        length=tf.reduce_max(tf.math.count_nonzero(cache.segment_ids, axis=1, dtype=tf.int32)),
    )
