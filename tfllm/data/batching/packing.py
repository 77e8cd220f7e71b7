"""Positions of packed rows on a shard, and where documents begin in a row. Arithmetic only: this module reads no files.

A row covers S + 1 ids: S inputs and S targets. Training treats a shard as a ring, because a shard begins and ends with the
separator: the last id is the first. An epoch starts at some place of the ring and takes as many whole rows as fit. So the
remainder that it leaves out (less than a row) differs in every epoch, and so do the edges of the rows. Evaluation takes every
target once, from the start, and pads the last row.
"""

from __future__ import annotations

import tensorflow as tf

from tfllm import features


def ring_rows(length: int, sequence_length: int) -> int:
    """Rows of an epoch on a shard of `length` ids.

    11 ids, rows of 3: a ring of 10 places -> 3 rows; 1 target waits for another epoch
    """
    return (length - 1) // sequence_length


def strided_rows(length: int, sequence_length: int, stride: int) -> int:
    """Rows that score every target of a shard once, `stride` new ones each (the first: all).

    11 ids (10 targets), rows of 4, stride 2: targets 1-4, then 5-6, 7-8, 9-10 -> 4 rows
    """
    targets = length - 1
    return 1 + max(0, -(-(targets - sequence_length) // stride)) if targets else 0


def ring_places(start: tf.Tensor, ring: tf.Tensor, sequence_length: int) -> tf.Tensor:
    """The ids a row covers.

        start 8, ring of 10, S = 3  ->  8 9 0 1

    Args:
        start: int64 [B], below `ring`.
        ring: int64 [B], at least S.

    Returns:
        int64 [B, S+1].
    """
    places = start[:, None] + tf.range(sequence_length + 1, dtype=tf.int64)
    return tf.where(places < ring[:, None], places, places - ring[:, None])


def targets_there(row: tf.Tensor, targets: tf.Tensor, sequence_length: int, stride: int) -> tf.Tensor:
    """Which targets of a row exist.

        rows 0 and 2 and -1 of a shard with 7 targets, S = 4, stride 2
        -> 1 1 1 1 | 1 1 1 0 | 0 0 0 0

    Args:
        row: int64 [B], number of the row on its shard; negative: a row of padding.
        targets: int64 [B], targets of its shard.

    Returns:
        bool [B, S].
    """
    column = tf.range(sequence_length, dtype=tf.int64)
    return (row[:, None] >= 0) & (row[:, None] * stride + column < targets[:, None])


def strided_weights(row: tf.Tensor, there: tf.Tensor, stride: int) -> tf.Tensor:
    """Which targets count: those that no earlier row has scored.

        rows 0 and 2, S = 4, stride 2, there 1 1 1 1 | 1 1 1 0
        -> 1 1 1 1 | 0 0 1 0

    Args:
        row: int64 [B], number of the row on its shard.
        there: bool [B, S], from `targets_there`.

    Returns:
        float32 [B, S].
    """
    length = there.shape[1]
    fresh = (row[:, None] == 0) | (tf.range(length) >= length - stride)
    return tf.cast(fresh & there, tf.float32)


def document_masks(token_ids: tf.Tensor, separator_id: int, there: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """Segments and positions of packed documents. A separator opens the document it stands before.

        separator 1; the row begins inside a document and ends with padding
        token_ids     17  9  1 33  8  1 41  0
        -> segment_ids 1  1  2  2  2  3  3  0
           positions   0  1  0  1  2  0  1  0

    Args:
        token_ids: int32 [B, S].
        there: bool [B, S], false is padding; None: there is none.

    Returns:
        SEGMENT_IDS, POSITIONS int32 [B, S].
    """
    return segments(token_ids == separator_id, there)


def framed_masks(token_ids: tf.Tensor, separator_id: int, used: tf.Tensor) -> dict[str, tf.Tensor]:
    """`document_masks` of rows between [CLS], which belongs to the first document, and [SEP], which belongs to the last.

        cls 3, sep 4, separator 1
        token_ids      3 17  9  1 33  8  4  0  |  3  1 41 17  1  9  8  4
        -> segment_ids 1  1  1  2  2  2  2  0  |  1  1  1  1  2  2  2  2
           positions   0  1  2  0  1  2  3  0  |  0  1  2  3  0  1  2  3

    Args:
        token_ids: int32 [B, S].
        used: int32 [B], places of each row that are no padding.

    Returns:
        SEGMENT_IDS, POSITIONS int32 [B, S].
    """
    column = tf.range(token_ids.shape[1])
    # [CLS] and [SEP] may be the separator themselves, but open nothing; nor does what stands right behind [CLS].
    inner = (column > 1) & (column < used[:, None] - 1)
    return segments((token_ids == separator_id) & inner, column < used[:, None])


def segments(opens: tf.Tensor, there: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """Segments and positions by where documents open; the first place of a row opens one, too.

        opens          0 0 1 0 1 0        there 1 1 1 1 1 0
        -> segment_ids 1 1 2 2 3 0
           positions   0 1 0 1 0 0

    Args:
        opens: bool [B, S].
        there: bool [B, S], false is padding; None: there is none.

    Returns:
        SEGMENT_IDS, POSITIONS int32 [B, S].
    """
    column = tf.range(tf.shape(opens)[1])
    # A row that begins inside a document opens a segment, too.
    number = tf.cumsum(tf.cast(opens | (column == 0), tf.int32), axis=1)
    # The running maximum of where documents open, by doubling: S is static, so this is log2(S) small ops.
    start = tf.where(opens, column, 0)
    reach, length = 1, opens.shape[1]
    while reach < length:
        start = tf.maximum(start, tf.pad(start[:, :-reach], [[0, 0], [reach, 0]]))
        reach *= 2
    positions = column - start
    if there is not None:
        number, positions = tf.where(there, number, 0), tf.where(there, positions, 0)
    return {features.SEGMENT_IDS: number, features.POSITIONS: positions}
