"""What a user hands to `fit`, `evaluate`, `predict` or a model, as the batch vocabulary of `tfllm.features`.

Enters: a model's `BatchKeys`, and what Keras' users write: a dict, token ids alone, `(x, y)`, `(x, y, sample_weight)`; names of
Hugging Face and KerasHub; int64. Leaves: a dict in our names, dtypes and shapes, or an error that names the keys of a batch.

    {"input_ids": [[101, 7, 102, 0]], "attention_mask": [[1, 1, 1, 0]]}, y [1]   (int64)
    -> token_ids 101 7 102 0, segment_ids 1 1 1 0, labels 1                       (int32)

Names are checked when a step is traced; a batch that is in our vocabulary already costs no operation.
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
    ROW,
    ROW_WEIGHTS,
    SEGMENT_IDS,
    SPAN_STARTS,
    TARGET_IDS,
    TARGET_PLACES,
    TARGET_WEIGHTS,
    TOKEN_IDS,
)
from tfllm.layers.mesh import on_mesh
from tfllm.train.batch_spec import ALIASES, LEARNT, MASKS, BatchKeys, Form
from tfllm.train.value_assertions import between_0_and_1, not_copied, spans

IGNORED = -100
"""Hugging Face's label of a place that does not count."""


def as_arrays(value: Any, *, parts: int = 1) -> Any:
    """Lists as arrays, and any mapping as a dict, for Keras takes a list for several inputs.

    Args:
        value: what `fit` was given as x, y or sample_weight; what is no list or mapping stays as it is.
        parts: how many tensors a list holds.

    Raises:
        ValueError: the rows of a list are of different lengths, or it holds several inputs.
    """
    if isinstance(value, Mapping):
        return {name: as_arrays(each) for name, each in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return tf.constant(value)  # Keras takes strings from TensorFlow only
    if not isinstance(value, list | tuple):
        return value
    if parts > 1:
        return tuple(as_arrays(each) for each in value)
    lengths = {len(row) for row in value if isinstance(row, list | tuple)}
    if len(lengths) > 1:
        raise ValueError(
            f"rows of {min(lengths)} to {max(lengths)} numbers make no tensor: give all the same number; pad tokens, and give "
            "attention_mask, 1 for a token and 0 for padding; of several labels a row, give 0 or 1 for each"
        )
    array = np.asarray(value)
    if array.ndim > 2:
        raise ValueError(f"a list of {len(value)} arrays is several inputs, which go by name: give a dict, {{'token_ids': …}}")
    return as_arrays(array)


def class_table(keys: BatchKeys, class_weight: Any, *, model: str) -> np.ndarray | None:
    """Keras' `class_weight` as a table, 1 for a class that it leaves out. {1: 2.5} of 3 classes -> 1 2.5 1

    Raises:
        ValueError: the model's targets are no classes, or a class is none of them.
    """
    if class_weight is None:
        return None
    if not keys.classes or "C" in "".join(form.shape for form in keys.targets.values()):
        raise ValueError(f"class_weight: a {model} tells no classes apart, give sample_weight, or leave it out")
    if not isinstance(class_weight, Mapping) or not set(class_weight) <= set(range(keys.classes)):
        raise ValueError(
            f"class_weight={class_weight!r:.200}: give a dict of class numbers, 0 to {keys.classes - 1}, and weights: "
            "dict(enumerate(weights)), say"
        )
    return np.array([class_weight.get(number, 1) for number in range(keys.classes)], np.float32)


def canonical(
    keys: BatchKeys, data: Any, *, model: str, learns: bool, class_weights: np.ndarray | None = None
) -> dict[str, tf.Tensor]:
    """A batch in the vocabulary of `tfllm.features`, for a step or a forward pass. Strings and ROW, which no model reads, go.

    Args:
        keys: of the model.
        data: tensors: x, or (x, y), or (x, y, sample_weight); x is a dict, or token ids [B, S].
        model: its class, for errors.
        learns: are the targets asked for? Else the result holds inputs only.
        class_weights: float32 [C], multiplies the weights of rows, or of tokens.

    Raises:
        ValueError: a name is unknown or said twice, something is missing, or a dtype or shape is not what it should be.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    batch = _Batch(keys, model)
    batch.take_x(x)
    if learns:
        batch.take_y(y)
        batch.take_sample_weight(sample_weight)
    batch.check_names(learns)
    batch.conform()
    batch.check_values()
    if learns:
        batch.check_pairs()
        batch.weigh(class_weights)
    asked = keys.forms if learns else (TOKEN_IDS, *keys.inputs, DROPOUT_SEED)
    return {name: value for name, value in batch.values.items() if name in asked}


class _Batch:
    """A batch on its way from the user's names to ours."""

    def __init__(self, keys: BatchKeys, model: str):
        self.keys, self.model = keys, model
        self.values: dict[str, tf.Tensor] = {}
        self.labels_of_row = False  # `labels` of a decoder, not shifted yet
        self.unmasked = False  # targets in which -100 may stand
        self.may_be_copied = False  # y of a decoder
        self.mask = ""  # the mask of tokens, by the name it came by

    def refused(self, why: str) -> ValueError:
        return ValueError(f"{why}. A batch of a {self.model} holds {self.keys}")

    def take_x(self, x: Any) -> None:
        if isinstance(x, Mapping):
            for name, value in x.items():
                value = tf.convert_to_tensor(value) if not tf.is_tensor(value) else value
                if value.dtype != tf.string and name != ROW:
                    self._put(name, value)
        elif tf.is_tensor(x):
            if x.dtype == tf.string:
                raise self.refused("x holds strings, and a model reads token ids: tokenize the texts first")
            self._put(TOKEN_IDS, x)
        else:
            raise self.refused(f"x is a {type(x).__name__}, no dict of tensors and no tensor of token ids")

    def take_y(self, y: Any) -> None:
        names = tuple(self.keys.targets)
        if y is None:
            return
        if not names:
            raise self.refused(f"y was given, and a {self.model} learns from the rows alone: leave y out")
        if isinstance(y, Mapping):
            given = dict(y)
        elif isinstance(y, tuple | list):
            if len(y) != len(names):
                raise self.refused(f"y has {len(y)} parts, the targets are {' and '.join(names)}")
            given = dict(zip(names, y, strict=True))
        elif len(names) > 1:
            raise self.refused(f"y is one tensor, the targets are {' and '.join(names)}: give y=({', '.join(names)})")
        else:
            given = {names[0]: y}
        for name, value in given.items():
            self._put(name, value, said="y, and in x")
            self.unmasked |= name == TARGET_IDS
            self.may_be_copied |= name == TARGET_IDS and self.keys.next_token

    def take_sample_weight(self, weight: Any) -> None:
        if weight is None:
            return
        shape = tf.convert_to_tensor(weight).shape
        if shape.rank == 1 or (shape.rank == 2 and shape[1] == 1):
            self._put(ROW_WEIGHTS, weight, said="sample_weight, and in x")
        elif shape.rank == 2 and self.keys.of_tokens:
            self._put(TARGET_WEIGHTS, weight, said="sample_weight, and in x")
        else:
            accepted = "[B] or [B, S]" if self.keys.of_tokens else "[B]"
            raise self.refused(f"sample_weight has the shape {shape}; give {accepted}")

    def check_names(self, learns: bool) -> None:
        if not learns:  # a forward pass reads no targets, whichever task's they are
            self.values = {name: value for name, value in self.values.items() if name not in LEARNT}
        if LABELS in self.values and self.keys.of_tokens:  # Hugging Face's name of targets
            value = self.values.pop(LABELS)
            self._put(TARGET_IDS, value, said="labels")
            self.labels_of_row = self.keys.next_token
            self.unmasked = True
        forms = self.keys.forms
        for name in self.values:
            if name not in forms:
                near = difflib.get_close_matches(name, forms, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ": take it out"
                raise self.refused(f"the batch has {name!r}, which a {self.model} does not know{hint}")
        missing = [name for name in (TOKEN_IDS, *(self.keys.targets if learns else ())) if name not in self.values]
        if missing:
            way = ": give it as y, or in the dict" if TOKEN_IDS not in missing else ""
            raise self.refused(f"the batch has no {' and no '.join(missing)}{way}")

    def conform(self) -> None:
        """Dtypes and shapes."""
        forms, sizes = self.keys.forms, {"C": self.keys.classes or None}
        if TARGET_PLACES in self.values:
            forms |= {name: Form(forms[name].dtype, "BP") for name in (TARGET_IDS, TARGET_WEIGHTS)}
        for name, value in self.values.items():
            value = self._as(name, value, forms[name])
            for letter, size in zip(forms[name].shape, value.shape, strict=True):
                if sizes.setdefault(letter, size) is None:
                    sizes[letter] = size
                if size is not None and size != sizes[letter]:
                    raise self.refused(f"{name} has the shape {value.shape}, where {letter} is {sizes[letter]} elsewhere")
            self.values[name] = value

    def _as(self, name: str, value: Any, form: Form) -> tf.Tensor:
        if isinstance(value, tf.RaggedTensor):
            raise self.refused(
                f"{name} is ragged: give {name}.to_tensor(), and attention_mask=tf.sequence_mask({name}.row_lengths())"
            )
        if value.dtype == tf.string:
            raise self.refused(f"{name} are strings: give numbers")
        rank = len(form.shape)
        if value.shape.rank is None:
            value = tf.ensure_shape(value, [None] * rank)
        if value.shape.rank == rank + 1 and rank == 1 and value.shape[1] == 1:  # a column, as tables have it
            value = value[:, 0]
        if value.shape.rank != rank:
            way = ": give class numbers (of one-hot rows, argmax(-1))" if rank == 1 and self.keys.classes else ""
            if rank == 2 and value.shape.rank == 1:
                several = f": give 0 or 1 for each of the {self.keys.classes} labels of a row"
                way = several if form.shape == "BC" else ": that is a single row; give batches, dataset.batch(32)"
            raise self.refused(f"{name} has the shape {value.shape}, which should be [{', '.join(form.shape)}]{way}")
        if value.dtype == form.dtype:
            return value
        if form.dtype != "int32" or value.dtype.is_bool:
            return tf.cast(value, form.dtype)
        if not value.dtype.is_integer:
            raise self.refused(f"{name} are {value.dtype.name}: give whole numbers, int32")
        # An id beyond int32 is to be refused as an id, not to become another.
        return tf.saturate_cast(value, form.dtype)

    def check_pairs(self) -> None:
        """Of the batch of all replicas; one of them may have half a pair."""
        context, ids = tf.distribute.get_replica_context(), self.values[TOKEN_IDS]
        if self.keys.together == 1 or context is None or context.num_replicas_in_sync > 1:
            return
        if ids.shape[0] is None:
            even = tf.debugging.assert_equal(tf.shape(ids)[0] % 2, 0, "a batch of pairs has an even number of rows")
            with tf.control_dependencies([even]):
                self.values[TOKEN_IDS] = tf.identity(ids)
        elif ids.shape[0] % 2:
            raise self.refused(f"the batch has {ids.shape[0]} rows, which cannot be pairs: give an even number")

    def check_values(self) -> None:
        """Where any number would be taken. DTensor knows no assertions."""
        if on_mesh():
            return
        values, checks = self.values, []
        if self.mask:
            checks.append(between_0_and_1(self.mask, values[SEGMENT_IDS], "1 for a token, 0 for padding"))
        if LABELS in values and self.keys.forms[LABELS].shape == "BC":
            advice = "1 for each that holds. A row with labels that are not known has sample_weight 0"
            checks.append(between_0_and_1(LABELS, values[LABELS], advice))
        if SPAN_STARTS in values:
            checks.append(spans(values))
        if self.may_be_copied:
            checks.append(not_copied(values))
        if checks:
            with tf.control_dependencies(checks):
                values[TOKEN_IDS] = tf.identity(values[TOKEN_IDS])

    def weigh(self, class_weights: np.ndarray | None) -> None:
        """Weights: those given, 0 for targets that are no targets, those of rows, those of classes."""
        values = self.values
        if not self.keys.of_tokens:
            if class_weights is not None:
                weights = tf.gather(tf.constant(class_weights), values[LABELS])
                values[ROW_WEIGHTS] = weights * values[ROW_WEIGHTS] if ROW_WEIGHTS in values else weights
            return
        if self.labels_of_row:
            values[TARGET_IDS] = _next(values[TARGET_IDS], values.get(SEGMENT_IDS))
            if TARGET_WEIGHTS in values:  # of the labels, place by place
                values[TARGET_WEIGHTS] = tf.pad(values[TARGET_WEIGHTS][:, 1:], [[0, 0], [0, 1]])
        if self.unmasked or TARGET_WEIGHTS not in values:
            self._mask_targets()
        if ROW_WEIGHTS in values:
            values[TARGET_WEIGHTS] *= values[ROW_WEIGHTS][:, None]
        if class_weights is not None:
            values[TARGET_WEIGHTS] *= tf.gather(tf.constant(class_weights), values[TARGET_IDS])

    def _mask_targets(self) -> None:
        values = self.values
        if TARGET_PLACES in values and TARGET_WEIGHTS not in values:
            raise self.refused("the batch has target_places, and no target_weights that say which of them count")
        there = values[TARGET_IDS] != IGNORED
        if SEGMENT_IDS in values and TARGET_PLACES not in values:
            there &= values[SEGMENT_IDS] > 0
        weights = tf.cast(there, tf.float32)
        values[TARGET_WEIGHTS] = weights * values[TARGET_WEIGHTS] if TARGET_WEIGHTS in values else weights
        values[TARGET_IDS] = tf.where(there, values[TARGET_IDS], 0)

    def _put(self, name: str, value: Any, said: str = "") -> None:
        ours = ALIASES.get(name, name)
        if ours in self.values:
            first = f"{ours} is given twice, as {said or f'{name} and by another name'}: give it once"
            hint = ". What tells the first text from the second (KerasHub's segment_ids) is type_ids here"
            raise self.refused(first + (hint if ours == SEGMENT_IDS else ""))
        if name in MASKS and value.dtype.is_floating:
            raise self.refused(f"{name} is {value.dtype.name}: give 1 for a token and 0 for padding, int32 or bool")
        if name in MASKS and not value.dtype.is_bool:
            self.mask = name
        self.values[ours] = value


def _next(labels: tf.Tensor, segments: tf.Tensor | None) -> tf.Tensor:
    """The label of the next place for each place; of the last place, and where the next is padding, none.

    5 6 7 0, segments 1 1 1 0 -> 6 7 -100 -100
    """
    if segments is not None:
        labels = tf.where(segments > 0, labels, IGNORED)
    return tf.pad(labels[:, 1:], [[0, 0], [0, 1]], constant_values=IGNORED)
