"""Two texts a row: where in a store they lie. Documents in, pairs of spans out; nothing but the documents' bounds is read.

A document of n ids is covered by ceil(n / T) windows of T ids, T what a row has room for; a shorter document is one window.
A row takes a window, so in every epoch every id is in a window. The first window begins and the last one ends with the
document, the others lie between so that none of it is left out; where, is drawn for each document and epoch, and only the
first epoch (and evaluation) has them side by side from the start. Documents of fewer than two ids have no windows.

The bounds stay on the disk, mapped like the ids; in memory is one number for every BLOCK documents.
Sources: next-sentence pairs, Devlin et al. 2018 (arXiv 1810.04805); sentence order, Lan et al. 2019 (arXiv 1909.11942).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from tfllm.data.batching import shuffle_order
from tfllm.data.batching.rows import Rows, SampledRows, Shards, read_mapped
from tfllm.data.store import Store, StoreError, offsets_path

PairKind = Literal["nsp", "sop"]
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)

BLOCK = 64
"""Documents of a block: few enough to read at once, so many that a number a block is little."""

PAIRS = -(1 << 40)
"""Sets the keys of pairs apart from those of rows and shards."""


@dataclass(frozen=True)
class DocumentWindow:
    """Documents and a window of each; int64 [B] each."""

    shard: tf.Tensor
    start: tf.Tensor
    """Place of its first id on the shard."""
    length: tf.Tensor
    first: tf.Tensor
    """Number of its first window, of all shards."""
    window: tf.Tensor
    """Which of its windows was asked for."""
    windows: tf.Tensor


@dataclass(frozen=True)
class TokenSpan:
    """Runs of ids on shards; int64 [B] each."""

    shard: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor

    def concat(self, other: TokenSpan) -> TokenSpan:
        """The spans of both, int64 [2B] each."""
        mine, theirs = (self.shard, self.start, self.length), (other.shard, other.start, other.length)
        return TokenSpan(*(tf.concat(pair, axis=0) for pair in zip(mine, theirs, strict=True)))

    def or_where(self, condition: tf.Tensor, other: TokenSpan) -> TokenSpan:
        """`other` where `condition` (bool [B]) holds."""
        mine, theirs = (self.shard, self.start, self.length), (other.shard, other.start, other.length)
        return TokenSpan(*(tf.where(condition, *pair) for pair in zip(theirs, mine, strict=True)))


@dataclass(frozen=True)
class SentencePair:
    """Two texts a row, and the label: bool [B], true where the second does not follow the first."""

    first: TokenSpan
    second: TokenSpan
    label: tf.Tensor


@dataclass(frozen=True)
class Windows:
    """The windows of all documents, numbered through shard after shard; a window is a row."""

    size: int
    """T."""
    shards: Shards
    documents: tuple[int, ...]
    """By shard."""
    before: np.ndarray
    """int64: windows before each block."""
    block_shard: np.ndarray
    block_first: np.ndarray
    """Number of the block's first document on its shard."""
    by_shard: tuple[int, ...]
    long_enough: tuple[int, ...]
    """Documents with a window, by shard."""

    @classmethod
    def of(cls, shards: Shards, size: int) -> Windows:
        """Reads the bounds of all documents once, to count windows."""
        counts = [window_counts(_lengths(*shard), size) for shard in zip(shards.paths, shards.lengths, strict=True)]
        blocks = [np.add.reduceat(count, np.arange(0, len(count), BLOCK)) for count in counts if len(count)]
        firsts = [np.arange(0, len(count), BLOCK) for count in counts]
        ends = np.cumsum(np.concatenate(blocks))
        return cls(
            size=size,
            shards=shards,
            documents=tuple(len(count) for count in counts),
            before=np.concatenate([[0], ends[:-1]]),
            block_shard=np.repeat(np.arange(len(firsts)), [len(first) for first in firsts]),
            block_first=np.concatenate(firsts),
            by_shard=tuple(int(count.sum()) for count in counts),
            long_enough=tuple(int((count > 0).sum()) for count in counts),
        )

    def find(self, number: tf.Tensor) -> DocumentWindow:
        """The document of each window. number: int64 [B], of all shards."""
        # Of blocks with no window, which begin at the same number, the last: it has some.
        block = tf.searchsorted(tf.constant(self.before), number, side="right", out_type=tf.int64) - 1
        shard = tf.gather(tf.constant(self.block_shard), block)
        place = tf.gather(tf.constant(self.block_first), block)[:, None] + tf.range(BLOCK + 1, dtype=tf.int64)
        known = tf.gather(tf.constant(self.documents, tf.int64), shard)[:, None]
        ends = tf.gather(tf.constant(self.shards.lengths, tf.int64), shard)[:, None]
        paths = [offsets_path(path) for path in self.shards.paths]
        # The uint64 of the file read as int64: gather has no kernel for the former, and no file is that long.
        starts = read_mapped(paths, self.documents, shard, tf.minimum(place, known - 1), tf.int64)
        starts = tf.where(place < known, starts, ends)
        lengths = starts[:, 1:] - starts[:, :-1] - 1
        counts = tf.where(lengths < 2, tf.zeros_like(lengths), -(-lengths // self.size))
        inside = (number - tf.gather(tf.constant(self.before), block))[:, None]
        sums = tf.cumsum(counts, axis=1)
        which = tf.reduce_sum(tf.cast(sums <= inside, tf.int32), axis=1)
        start, length, windows, end = (tf.gather(each, which, batch_dims=1) for each in (starts, lengths, counts, sums))
        window = inside[:, 0] - end + windows
        return DocumentWindow(shard, start, length, number - window, window, windows)

    def span(self, document: DocumentWindow, epoch: tf.Tensor, seed: int, shuffle: bool) -> TokenSpan:
        """Where the window lies in an epoch (int64 [B])."""
        slack = document.windows * self.size - document.length
        shift = tf.zeros_like(slack)
        if shuffle:
            key = shuffle_order.random_keys(seed, epoch, -1 - document.first)
            shift = tf.where((epoch > 0) & (slack > 0), shuffle_order.random_int63(key) % (slack + 1), shift)
        return window_span(document, self.size, shift)


def window_counts(lengths: np.ndarray, size: int) -> np.ndarray:
    """Windows of documents.

        lengths 0 1 2 10 11 20 21, windows of 10  ->  0 0 1 1 2 2 3

    Args:
        lengths: int64 [n].

    Returns:
        int64 [n].
    """
    return np.where(lengths < 2, 0, -(-lengths // size))


def window_span(document: DocumentWindow, size: int, shift: tf.Tensor) -> TokenSpan:
    """Where a window lies: all but the first are `shift` earlier than side by side, but none beyond the document's end.

        a document of 25 ids at place 100, windows of 10: three of them, 5 ids too many
        windows 0 1 2, shift 0  ->  starts 100 110 115, length 10
                       shift 2  ->         100 108 115

    Args:
        shift: int64 [B], from 0 to windows * size - length.
    """
    width = tf.minimum(document.length, size)
    inside = tf.maximum(document.window * size - shift, 0)
    return TokenSpan(document.shard, document.start + tf.minimum(inside, document.length - width), width)


def draw_pairs(
    kind: PairKind,
    draw: tf.Tensor,
    taken: SampledRows,
    windows: Windows,
    rows: Rows,
    *,
    seed: int,
    shuffle: bool,
    short_seq_prob: float,
) -> SentencePair:
    """The two texts of each row.

        "sop", a window of ids 5 6 7 8 9, cut 2:  5 6 | 7 8 9, label 0, or  7 8 9 | 5 6, label 1
        "nsp", the same: 5 6 | 7 8 9, label 0, or  5 6 | 41 42 43, label 1, from a window of another document;
        has that only 41 42, then 5 6 7 | 41 42: rows of both labels are of the same lengths

    Args:
        draw: int64 [B].
        short_seq_prob: rows that keep only a part of their window, 2 ids or more, the length and the place drawn evenly.
    """
    luck = shuffle_order.random_uint32(shuffle_order.random_keys(seed, draw, tf.constant(PAIRS, tf.int64)), tf.range(8))
    document = windows.find(taken.number)
    window = windows.span(document, taken.epoch, seed, shuffle)
    short = shuffle_order.random_bool(luck[:, 0], short_seq_prob)
    total = tf.where(short, 2 + shuffle_order.random_below(luck[:, 1], window.length - 1), window.length)
    start = window.start + shuffle_order.random_below(luck[:, 2], window.length - total + 1)
    cut = 1 + shuffle_order.random_below(luck[:, 3], total - 1)
    label = shuffle_order.random_bool(luck[:, 4], 0.5)
    if kind == "sop":
        first, second = TokenSpan(window.shard, start, cut), TokenSpan(window.shard, start + cut, total - cut)
        return SentencePair(first.or_where(label, second), second.or_where(label, first), label)
    another = windows.find(_of_another(document, taken.store, rows, luck[:, 5:7]))
    other = windows.span(another, taken.epoch, seed, shuffle)
    length = tf.where(label, tf.minimum(total - cut, other.length), total - cut)
    begin = other.start + shuffle_order.random_below(luck[:, 7], other.length - length + 1)
    following = TokenSpan(window.shard, start + cut, total - cut)
    return SentencePair(
        TokenSpan(window.shard, start, total - length), following.or_where(label, TokenSpan(other.shard, begin, length)), label
    )


def check_documents(weights: Mapping[Store, float], windows: Windows, kind: PairKind, split: str) -> None:
    """StoreError for a store that has no document, or for "nsp" only one, of two ids or more."""
    need = {"sop": "one", "nsp": "two, for half of the second texts are from another document"}[kind]
    long_enough = iter(windows.long_enough)
    for store, shards in zip(weights, windows.shards.by_store, strict=True):
        count = sum(next(long_enough) for _ in range(shards))
        if count < (2 if kind == "nsp" else 1):
            raise StoreError(
                f"{store.folder} has {count} documents of two ids or more in split {split!r}; pairs={kind!r} needs {need}. "
                "Prepare it again with more documents (separator=… splits a file into several), or, for validation, with a "
                "larger validation=…."
            )


def _of_another(document: DocumentWindow, store: tf.Tensor, rows: Rows, luck: tf.Tensor) -> tf.Tensor:
    """The number of a window (int64 [B]) of the same store, drawn evenly from all that are not of the document."""
    of_store = tf.constant(rows.by_store, tf.int64)
    others = tf.gather(of_store, store) - document.windows
    number = tf.gather(tf.cumsum(of_store, exclusive=True), store) + shuffle_order.random_int63(luck) % others
    return number + tf.where(number >= document.first, document.windows, tf.zeros_like(number))


def _lengths(path: Path, ids: int) -> np.ndarray:
    """int64: ids of every document of a shard of `ids` ids."""
    starts = np.fromfile(offsets_path(path), "<u8").astype(np.int64)
    return np.diff(starts, append=ids) - 1
