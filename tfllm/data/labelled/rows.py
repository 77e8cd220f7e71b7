"""Labelled rows and their batches. A batch is a function of (seed, step).

In: tokenized rows and their labels, in flat arrays. Out: `Labelled` and its batches, in which rows of similar length stand
together.

step -> epoch and window of batches -> rows, sorted by length inside the window -> features
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import features
from tfllm.data.batching import shuffle_order
from tfllm.data.batching.batches import Batches
from tfllm.data.encoder_inputs import MULTIPLE, answer_token_mask, build_encoder_inputs, write_rows
from tfllm.representation import names_line
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import num_special_tokens

WINDOW = 50
"""Batches whose rows are sorted by length together, and then come in a random order."""


@dataclass(frozen=True, eq=False)
class Flat:
    """Rows of any length: 7 8 | | 9 is values 7 8 9, splits 0 2 2 3."""

    values: np.ndarray
    """int32 [all]."""
    splits: np.ndarray
    """int64 [N + 1]."""

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> Flat:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32), np.append(0, np.cumsum(lengths)))

    @classmethod
    def joined(cls, parts: Sequence[Flat]) -> Flat:
        """7 8 | 9 and 5 -> 7 8 | 9 | 5."""
        lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.splits) for part in parts)])
        return cls(np.concatenate([np.zeros(0, np.int32), *(part.values for part in parts)]), np.append(0, np.cumsum(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.splits)

    def __iter__(self) -> Iterator[bytes]:
        """Each row's ids as bytes, to compare them."""
        return (self.values[begin:end].tobytes() for begin, end in pairwise(self.splits))

    def numbers(self) -> np.ndarray:
        """Equal for equal rows: 7 8 | 9 | 7 8 -> 0 1 0. int32 [N]."""
        seen: dict[bytes, int] = {}
        return np.fromiter((seen.setdefault(row, len(seen)) for row in self), np.int32, len(self.splits) - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    """N rows, tokenized, with what is to be learnt of them, and the records they came from."""

    task: str
    """Name of the task whose model learns from them: "text_classifier", say (`tfllm.tasks`)."""
    tokenizer: Tokenizer
    max_length: int
    records: Sequence[Any]
    record_of: np.ndarray
    """int32 [N]: the record of each row. Evaluation batches give the rows in this order."""
    first: Flat
    second: Flat | None = None
    labels: tuple[str, ...] = ()
    """The name of each class; () where there are none."""
    multi_label: bool = False
    """Any number of classes a row; LABELS are float32 [N, C] then."""
    row_features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Feature -> [N] or [N, C]."""
    token_features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Feature -> a value for each id of `first`."""
    together: int = 1
    """Rows that stay neighbours in every batch: 2 for pairs."""

    def __len__(self) -> int:
        """Rows, N."""
        return len(self.record_of)

    @property
    def pairs(self) -> bool:
        """Is each row made of two texts?"""
        return self.second is not None

    def __repr__(self) -> str:
        said = [self.task, f"{len(self)} rows of {len(self.records)} records", f"max_length={self.max_length}"]
        if self.labels:
            several = ", any number a row" if self.multi_label else ""
            said.append(f"{len(self.labels)} labels{several}: {names_line(self.labels)}")
        return f"{type(self).__name__}({', '.join(said)})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all a batch is made of: equal fingerprints mean equal batches."""
        digest = hashlib.sha256(f"{self.tokenizer.fingerprint()} {self.max_length} {self.together} {self.labels}".encode())
        rows = {"first": self.first, "second": self.second or Flat.of([])}
        arrays = {f"{name}_{part}": getattr(flat, part) for name, flat in rows.items() for part in ("values", "splits")}
        for name, array in sorted((arrays | {**self.row_features, **self.token_features}).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def shared_with(self, other: Labelled) -> int:
        """How many rows (pairs, where two stay together) are rows of the other, too, id for id."""
        ours, theirs = self._contents(), set(other._contents())
        return sum(each in theirs for each in ours)

    def _contents(self) -> list[tuple[bytes, ...]]:
        parts = [list(self.first)] if self.second is None else [list(self.first), list(self.second)]
        rows = list(zip(*parts, strict=True))
        return [sum(rows[row : row + self.together], ()) for row in range(0, len(rows), self.together)]

    def class_weights(self) -> np.ndarray:
        """What makes classes count alike: one over each class's frequency, scaled to a mean of 1; 0 for a class without rows.

            labels 0 0 0 1 -> 0.5 1.5

        Returns:
            float32 [C].

        Raises:
            ValueError: rows have several labels, or none.
        """
        if features.TARGET_WEIGHTS in self.token_features:
            counted = self.token_features[features.TARGET_WEIGHTS] > 0
            classes = self.token_features[features.TARGET_IDS][counted]
        else:
            classes = self.row_features.get(features.LABELS, np.zeros(0))
        if not self.labels or classes.ndim != 1:
            raise ValueError("Class weights need one class per row or per word; these rows have several labels or numbers.")
        counts = np.bincount(classes, minlength=len(self.labels))
        inverse = np.divide(1.0, counts, where=counts > 0, out=np.zeros(len(counts)))
        return (inverse / inverse[counts > 0].mean()).astype(np.float32)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        start_step: int = 0,
        shuffle: bool = True,
        repeat: bool = True,
        class_weights: np.ndarray | None = None,
    ) -> Batches:
        """Batches from step `start_step` on; any costs the same.

            rows 7 | 8 | 9, B = 2, shuffle=False, repeat=False, cls 1, sep 2 -> step 0: token_ids 1 7 2 | 1 8 2, row_weights 1 1
                                                                                step 1: token_ids 1 9 2 | 1 2 0, row_weights 1 0

        An epoch is ceil(rows / B) batches, which hold each row once; what its rows leave of one batch is filled with empty rows
        of weight 0. Training (repeat=True) is one epoch after the other, for ever. So the loss of a short batch is the mean
        over the rows it has, and no batch holds a record twice.

        With `shuffle` a permutation keyed by (seed, epoch) says which row comes when; the rows of a window of batches are
        sorted by length, and the window's batches, a short one among them, come in a random order: little padding, and no
        order to be learnt. Evaluation (shuffle=False, repeat=False) has each row once, in order.

        Args:
            batch_size: B, over all replicas; of pairs, both rows count.
            seed: 0 to 2**32 - 1.
            class_weights: [C], multiplies ROW_WEIGHTS, or TARGET_WEIGHTS of words.

        Returns:
            Dicts of TOKEN_IDS, SEGMENT_IDS, TYPE_IDS int32 [B, S], ROW_WEIGHTS float32 [B] and the task's own features. S is
            the batch's longest row, up to a multiple of 16.

        Raises:
            ValueError: a setting is out of range.
        """
        self._check(batch_size, seed, start_step)
        steps = None if repeat else -(-len(self) // batch_size)
        if steps is not None and start_step > steps:
            raise ValueError(f"start_step={start_step} is invalid: expected 0 to {steps}, the steps of one epoch.")
        arrays = self._arrays(class_weights)
        draw = _Drawing(len(self) // self.together, batch_size // self.together, seed, shuffle)

        @tf.autograph.experimental.do_not_convert
        def batch(
            step: tf.Tensor, arrays: dict[str, tf.Tensor], first: int = 0, count: int = batch_size
        ) -> dict[str, tf.Tensor]:
            groups = draw.groups(step, arrays["lengths"])
            rows = groups[:, None] * self.together + tf.range(self.together, dtype=tf.int64)
            mine = tf.reshape(rows, [batch_size])[first : first + count]
            there = groups < draw.groups_in_all
            lengths = tf.where(there, tf.gather(arrays["lengths"], tf.where(there, groups, 0)), 0)
            # What is past the end is one row: the empty one, added for it.
            return self._features(arrays, tf.minimum(mine, len(self)), longest=tf.cast(tf.reduce_max(lengths), tf.int32))

        def of_rows(first: int, count: int) -> tf.data.Dataset:
            numbers = tf.data.Dataset.counter(start_step) if steps is None else tf.data.Dataset.range(start_step, steps)
            # As elements, not as captured constants: those would be copied into the graph, which holds 2 GB at most.
            both = tf.data.Dataset.zip((numbers, tf.data.Dataset.from_tensors(arrays).repeat()))
            mine = partial(batch, first=first, count=count)
            return both.map(mine, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

        def element(number: tf.Tensor) -> dict[str, tf.Tensor]:
            return batch(start_step + number, {name: tf.constant(array) for name, array in arrays.items()})

        return Batches(of_rows, element, batch_size)

    def _check(self, batch_size: int, seed: int, start_step: int) -> None:
        if batch_size < 1 or batch_size % self.together:
            raise ValueError(f"batch_size={batch_size} is invalid: expected a multiple of {self.together}, above 0.")
        if not 0 <= seed < 2**32 or start_step < 0:
            raise ValueError(
                f"seed={seed}, start_step={start_step} is invalid: expected a seed from 0 to 2**32 - 1, and a step from 0 on."
            )

    def _arrays(self, class_weights: np.ndarray | None) -> dict[str, np.ndarray]:
        """All that batches are gathered from, with an empty row of weight 0 at the end."""
        rows, tokens = dict(self.row_features), dict(self.token_features)
        rows.setdefault(features.ROW_WEIGHTS, np.ones(len(self), np.float32))
        if class_weights is not None:
            weights = np.asarray(class_weights, np.float32)
            if weights.shape != (len(self.labels),) or not self.labels:
                raise ValueError(
                    f"class_weights of shape {list(weights.shape)} is invalid: expected shape [{len(self.labels)}], one "
                    "weight for each label."
                )
            if features.TARGET_WEIGHTS in tokens:
                tokens[features.TARGET_WEIGHTS] = tokens[features.TARGET_WEIGHTS] * weights[tokens[features.TARGET_IDS]]
            else:
                rows[features.ROW_WEIGHTS] = weights[rows[features.LABELS]]
        lengths = self.first.lengths + num_special_tokens(self.tokenizer, pair=self.second is not None)
        if self.second is not None:
            lengths = lengths + self.second.lengths
        arrays = {"lengths": lengths.reshape(-1, self.together).max(axis=1)}
        for name, flat in (("first", self.first), ("second", self.second)):
            if flat is not None:
                arrays |= {name: flat.values, f"{name}_splits": np.append(flat.splits, flat.splits[-1])}
        return arrays | tokens | {name: np.append(array, array[:1] * 0, axis=0) for name, array in rows.items()}

    def _features(self, arrays: dict[str, tf.Tensor], rows: tf.Tensor, *, longest: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of a batch or of a part of one, int64 [B], as the model reads them; `longest` row of the batch, int32 []."""

        def ragged(values: tf.Tensor, name: str) -> tf.RaggedTensor:
            return tf.gather(tf.RaggedTensor.from_row_splits(values, arrays[f"{name}_splits"], validate=False), rows)

        first = ragged(arrays["first"], "first")
        second = None if self.second is None else ragged(arrays["second"], "second")
        result = build_encoder_inputs(first, second, tokenizer=self.tokenizer, max_length=self.max_length, longest=longest)
        lengths = tf.cast(first.row_lengths(), tf.int32)
        for name in self.token_features:
            values = ragged(arrays[name], "first")
            empty = tf.zeros(tf.shape(result[features.TOKEN_IDS]), values.dtype)
            result[name] = write_rows(values, empty, at=tf.ones_like(lengths), count=lengths)
        if features.SPAN_STARTS in self.row_features:
            result[features.ANSWER_PLACES] = answer_token_mask(result)
        for value in result.values():
            value.set_shape([rows.shape[0], None])
        return result | {
            name: tf.gather(arrays[name], rows) for name in dict.fromkeys((*self.row_features, features.ROW_WEIGHTS))
        }


@dataclass(frozen=True)
class _Drawing:
    """Which groups of rows a step draws; a group is a row, or rows that stay together."""

    groups_in_all: int
    batch: int
    """Groups of a batch."""
    seed: int
    shuffle: bool

    @property
    def steps(self) -> int:
        """Of an epoch, which draws each group once. The places of its last batch that are left over are past its end."""
        return -(-self.groups_in_all // self.batch)

    def groups(self, step: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """int64 [], lengths int64 [groups] -> int64 [batch]; `groups_in_all` is past the end of the epoch."""
        epoch, step = step // self.steps, step % self.steps
        if not self.shuffle:
            return tf.minimum(step * self.batch + tf.range(self.batch, dtype=tf.int64), self.groups_in_all)
        size = min(WINDOW, self.steps)
        window, slot = step // size, step % size
        here = tf.minimum(tf.cast(size, tf.int64), self.steps - window * size)
        windows = -(-self.steps // size)
        key = shuffle_order.random_keys(self.seed, (epoch * windows + window)[None], tf.constant([-1], tf.int64))
        slot = shuffle_order.permute_index(slot[None], here[None], key)[0]
        inside = tf.range(size * self.batch, dtype=tf.int64)
        group = self._permuted(window * size * self.batch + inside, epoch)
        width = -(-tf.gather(lengths, tf.minimum(group, self.groups_in_all - 1)) // MULTIPLE)
        # Past the end comes last, so that all rows are in the batches there are. Widths tie; draws keep their order there.
        width = tf.where(group < self.groups_in_all, width, tf.int32.max)
        by_width = tf.argsort(width * (size * self.batch) + inside)
        return tf.gather(group, by_width[slot * self.batch :][: self.batch])

    def _permuted(self, draw: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """The groups of the draws of an epoch, int64 [N]."""
        index = tf.minimum(draw, self.groups_in_all - 1)
        size = tf.fill(tf.shape(index), tf.constant(self.groups_in_all, tf.int64))
        group = shuffle_order.permute_index(index, size, shuffle_order.random_keys(self.seed, tf.fill(tf.shape(index), epoch)))
        return tf.where(draw < self.groups_in_all, group, self.groups_in_all)
