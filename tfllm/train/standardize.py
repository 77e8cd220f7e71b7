"""Converts a user's batch to the vocabulary of `tfllm.features`, for `fit`, `evaluate`, `predict` and calls of a model.

Input: a model's `BatchKeys`, and what Keras' users write: a dict, token ids alone, `(x, y)`, `(x, y, sample_weight)`, with
names of this package, Hugging Face or KerasHub, int32 or int64. Output: a dict with this package's names, dtypes and shapes,
or an error that lists the keys of a batch.

    {"input_ids": [[101, 7, 102, 0]], "attention_mask": [[1, 1, 1, 0]]}, y [1]   (int64)
    -> token_ids 101 7 102 0, segment_ids 1 1 1 0, labels 1                       (int32)

Names are checked while a step is traced. A batch that is in this vocabulary already adds no operation to the graph.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.features import (
    DROPOUT_SEED,
    LABELS,
    PAIR_LABELS,
    ROW,
    ROW_WEIGHTS,
    SEGMENT_IDS,
    SPAN_STARTS,
    TARGET_IDS,
    TARGET_PLACES,
    TARGET_WEIGHTS,
    TOKEN_IDS,
)
from tfllm.train.batch_keys import ALIASES, MASK_KEYS, TARGET_KEYS, BatchKeys, KeySpec
from tfllm.train.value_assertions import assert_0_to_1, assert_class_numbers, assert_not_copied, assert_spans

IGNORED = -100
"""Hugging Face's label of a token that does not count."""
MORE_LABELS = "Make the model with as many labels as the data has"
"""Advice for class numbers that are too high."""


def standardize_batch(
    keys: BatchKeys, data: Any, *, model_name: str, with_targets: bool, class_weights: np.ndarray | None = None
) -> dict[str, tf.Tensor]:
    """Converts a batch for a step or a forward pass. Strings and ROW, which no model reads, are left out.

    Args:
        keys: of the model.
        data: tensors: x, or (x, y), or (x, y, sample_weight); x is a dict, or token ids [B, S].
        model_name: the model's class, for messages.
        with_targets: whether targets and weights are required; else the result has inputs only.
        class_weights: float32 [C]; multiplies the weights of rows, or of tokens.

    Returns:
        Tensors by key, with the dtypes and shapes of `keys.specs`.

    Raises:
        ValueError: a name is unknown or given twice, a key is missing, or a dtype or shape is wrong.
        InvalidArgumentError: when the graph runs, a value is out of range (`train.step_errors` makes a ValueError of it).
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    batch = _Batch(keys, model_name)
    batch.add_x(x)
    if with_targets:
        batch.add_y(y)
        batch.add_sample_weight(sample_weight)
    batch.check_names(with_targets)
    batch.convert_tensors()
    batch.assert_values()
    if with_targets:
        batch.check_pairs()
        batch.add_weights(class_weights)
    wanted = keys.specs if with_targets else (TOKEN_IDS, *keys.inputs, DROPOUT_SEED)
    return {name: value for name, value in batch.values.items() if name in wanted}


class _Batch:
    """A batch that is being converted."""

    def __init__(self, keys: BatchKeys, model_name: str):
        self.keys, self.model_name = keys, model_name
        self.values: dict[str, tf.Tensor] = {}
        self.labels_need_shift = False  # `labels` of a decoder
        self.may_have_ignored = False  # -100 may be among the targets
        self.may_be_copied = False  # y of a decoder
        self.mask_name = ""  # the name that the mask of tokens was given by

    def error(self, problem: str) -> ValueError:
        return ValueError(f"{problem}. A batch of a {self.model_name} holds {self.keys}")

    def add_x(self, x: Any) -> None:
        if isinstance(x, Mapping):
            for name, value in x.items():
                value = tf.convert_to_tensor(value) if not tf.is_tensor(value) else value
                if value.dtype != tf.string and name != ROW:
                    self._add(name, value)
        elif tf.is_tensor(x):
            if x.dtype == tf.string:
                raise self.error("x holds strings, and a model reads token ids: tokenize the texts first")
            self._add(TOKEN_IDS, x)
        else:
            raise self.error(f"x is a {type(x).__name__}, no dict of tensors and no tensor of token ids")

    def add_y(self, y: Any) -> None:
        names = tuple(self.keys.targets)
        if y is None:
            return
        if not names:
            raise self.error(f"y was given, and a {self.model_name} learns from the rows alone: leave y out")
        if isinstance(y, Mapping):
            given = dict(y)
        elif isinstance(y, tuple | list):
            if len(y) != len(names):
                raise self.error(f"y has {len(y)} parts, the targets are {' and '.join(names)}")
            given = dict(zip(names, y, strict=True))
        elif len(names) > 1:
            raise self.error(f"y is one tensor, the targets are {' and '.join(names)}: give y=({', '.join(names)})")
        else:
            given = {names[0]: y}
        for name, value in given.items():
            self._add(name, value, source="y, and in x")
            self.may_have_ignored |= name == TARGET_IDS
            self.may_be_copied |= name == TARGET_IDS and self.keys.predicts_next_token

    def add_sample_weight(self, weight: Any) -> None:
        if weight is None:
            return
        shape = tf.convert_to_tensor(weight).shape
        if shape.rank == 1 or (shape.rank == 2 and shape[1] == 1):
            self._add(ROW_WEIGHTS, weight, source="sample_weight, and in x")
        elif shape.rank == 2 and self.keys.has_token_targets:
            self._add(TARGET_WEIGHTS, weight, source="sample_weight, and in x")
        else:
            accepted = "[B] or [B, S]" if self.keys.has_token_targets else "[B]"
            raise self.error(f"sample_weight has the shape {shape}; give {accepted}")

    def check_names(self, with_targets: bool) -> None:
        """Raises an error for unknown and for missing names. Hugging Face's `labels` become `target_ids`."""
        if not with_targets:  # a forward pass ignores the targets of any task
            self.values = {name: value for name, value in self.values.items() if name not in TARGET_KEYS}
        if LABELS in self.values and self.keys.has_token_targets:
            value = self.values.pop(LABELS)
            self._add(TARGET_IDS, value, source="labels")
            self.labels_need_shift = self.keys.predicts_next_token
            self.may_have_ignored = True
        specs = self.keys.specs
        for name in self.values:
            if name not in specs:
                near = difflib.get_close_matches(name, specs, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ": take it out"
                raise self.error(f"the batch has {name!r}, which a {self.model_name} does not know{hint}")
        missing = [name for name in (TOKEN_IDS, *(self.keys.targets if with_targets else ())) if name not in self.values]
        if missing:
            hint = ": give it as y, or in the dict" if TOKEN_IDS not in missing else ""
            raise self.error(f"the batch has no {' and no '.join(missing)}{hint}")

    def convert_tensors(self) -> None:
        """Converts dtypes, and checks that shapes agree."""
        specs, sizes = self.keys.specs, {"C": self.keys.num_classes or None}
        if TARGET_PLACES in self.values:
            specs |= {name: KeySpec(specs[name].dtype, "BP") for name in (TARGET_IDS, TARGET_WEIGHTS)}
        for name, value in self.values.items():
            value = self._converted(name, value, specs[name])
            for letter, size in zip(specs[name].shape, value.shape, strict=True):
                if sizes.setdefault(letter, size) is None:
                    sizes[letter] = size
                if size is not None and size != sizes[letter]:
                    raise self.error(f"{name} has the shape {value.shape}, where {letter} is {sizes[letter]} elsewhere")
            self.values[name] = value

    def _converted(self, name: str, value: Any, spec: KeySpec) -> tf.Tensor:
        if isinstance(value, tf.RaggedTensor):
            raise self.error(
                f"{name} is ragged: give {name}.to_tensor(), and attention_mask=tf.sequence_mask({name}.row_lengths())"
            )
        if value.dtype == tf.string:
            raise self.error(f"{name} are strings: give numbers")
        value = self._with_rank(name, value, spec)
        if value.dtype == spec.dtype:
            return value
        if spec.dtype != "int32" or value.dtype.is_bool:
            return tf.cast(value, spec.dtype)
        if not value.dtype.is_integer:
            raise self.error(f"{name} are {value.dtype.name}: give whole numbers, int32")
        return tf.saturate_cast(value, spec.dtype)  # an id beyond int32 stays out of range, and is refused as an id

    def _with_rank(self, name: str, value: tf.Tensor, spec: KeySpec) -> tf.Tensor:
        rank = len(spec.shape)
        if value.shape.rank is None:
            value = tf.ensure_shape(value, [None] * rank)
        if value.shape.rank == 2 and rank == 1 and value.shape[1] == 1:  # a column of a table
            value = value[:, 0]
        if value.shape.rank != rank:
            hint = ": give class numbers (of one-hot rows, argmax(-1))" if rank == 1 and self.keys.num_classes else ""
            if rank == 2 and value.shape.rank == 1:
                labels = f": give 0 or 1 for each of the {self.keys.num_classes} labels of a row"
                hint = labels if spec.shape == "BC" else ": that is a single row; give batches, dataset.batch(32)"
            raise self.error(f"{name} has the shape {value.shape}, which should be [{', '.join(spec.shape)}]{hint}")
        return value

    def check_pairs(self) -> None:
        """Checks that the number of rows is even. Of several replicas, one may have half a pair: their batch is not checked."""
        context, ids = tf.distribute.get_replica_context(), self.values[TOKEN_IDS]
        if self.keys.group_size == 1 or context is None or context.num_replicas_in_sync > 1:
            return
        if ids.shape[0] is None:
            even = tf.debugging.assert_equal(tf.shape(ids)[0] % 2, 0, "a batch of pairs has an even number of rows")
            self._after(TOKEN_IDS, [even])
        elif ids.shape[0] % 2:
            raise self.error(f"the batch has {ids.shape[0]} rows, which cannot be pairs: give an even number")

    def assert_values(self) -> None:
        """Adds assertions about values which the model would accept, with a wrong result."""
        values, assertions = self.values, []
        if self.mask_name:
            assertions.append(assert_0_to_1(self.mask_name, values[SEGMENT_IDS], "1 for a token, 0 for padding"))
        if LABELS in values and self.keys.specs[LABELS].shape == "BC":
            advice = "1 for each that holds. A row with labels that are not known has sample_weight 0"
            assertions.append(assert_0_to_1(LABELS, values[LABELS], advice))
        if SPAN_STARTS in values:
            assertions.append(assert_spans(values))
        if self.may_be_copied:
            assertions.append(assert_not_copied(values))
        self._after(TOKEN_IDS, assertions)
        if LABELS in values and self.keys.num_classes and self.keys.specs[LABELS].shape == "B":
            self._after(LABELS, [assert_class_numbers(LABELS, values[LABELS], self.keys.num_classes, MORE_LABELS)])
        if PAIR_LABELS in values:
            advice = "0 says that the second text follows the first, 1 that it does not"
            self._after(PAIR_LABELS, [assert_class_numbers(PAIR_LABELS, values[PAIR_LABELS], 2, advice)])

    def add_weights(self, class_weights: np.ndarray | None) -> None:
        """Combines the weights: those given, 0 for ignored targets, those of rows, those of classes."""
        values, keys = self.values, self.keys
        if not keys.has_token_targets:
            if class_weights is not None:
                weights = tf.gather(tf.constant(class_weights), values[LABELS])
                values[ROW_WEIGHTS] = weights * values[ROW_WEIGHTS] if ROW_WEIGHTS in values else weights
            return
        if self.labels_need_shift:
            values[TARGET_IDS] = _shift_left(values[TARGET_IDS], values.get(SEGMENT_IDS))
            if TARGET_WEIGHTS in values:  # given for the labels before the shift
                values[TARGET_WEIGHTS] = tf.pad(values[TARGET_WEIGHTS][:, 1:], [[0, 0], [0, 1]])
        if self.may_have_ignored or TARGET_WEIGHTS not in values:
            self._add_target_weights()
        if keys.num_classes:
            self._after(TARGET_IDS, [assert_class_numbers(TARGET_IDS, values[TARGET_IDS], keys.num_classes, MORE_LABELS)])
        if ROW_WEIGHTS in values:
            values[TARGET_WEIGHTS] *= values[ROW_WEIGHTS][:, None]
        if class_weights is not None:
            values[TARGET_WEIGHTS] *= tf.gather(tf.constant(class_weights), values[TARGET_IDS])

    def _add_target_weights(self) -> None:
        """Gives padding and ignored targets the weight 0."""
        values = self.values
        if TARGET_PLACES in values and TARGET_WEIGHTS not in values:
            raise self.error("the batch has target_places, and no target_weights that say which of them count")
        counts = values[TARGET_IDS] != IGNORED
        if SEGMENT_IDS in values and TARGET_PLACES not in values:
            counts &= values[SEGMENT_IDS] > 0
        weights = tf.cast(counts, tf.float32)
        values[TARGET_WEIGHTS] = weights * values[TARGET_WEIGHTS] if TARGET_WEIGHTS in values else weights
        values[TARGET_IDS] = tf.where(counts, values[TARGET_IDS], 0)

    def _after(self, name: str, assertions: list[tf.Operation]) -> None:
        """Lets a tensor be read only when the assertions hold."""
        if assertions:
            with tf.control_dependencies(assertions):
                self.values[name] = tf.identity(self.values[name])

    def _add(self, name: str, value: Any, source: str = "") -> None:
        key = ALIASES.get(name, name)
        if key in self.values:
            problem = f"{key} is given twice, as {source or f'{name} and by another name'}: give it once"
            hint = ". What tells the first text from the second (KerasHub's segment_ids) is type_ids here"
            raise self.error(problem + (hint if key == SEGMENT_IDS else ""))
        if name in MASK_KEYS and value.dtype.is_floating:
            raise self.error(f"{name} is {value.dtype.name}: give 1 for a token and 0 for padding, int32 or bool")
        if name in MASK_KEYS and not value.dtype.is_bool:
            self.mask_name = name
        self.values[key] = value


def _shift_left(labels: tf.Tensor, segments: tf.Tensor | None) -> tf.Tensor:
    """Gives each position the label of the next one; -100 to the last, and where the next one is padding.

    5 6 7 0, segments 1 1 1 0 -> 6 7 -100 -100
    """
    if segments is not None:
        labels = tf.where(segments > 0, labels, IGNORED)
    return tf.pad(labels[:, 1:], [[0, 0], [0, 1]], constant_values=IGNORED)
