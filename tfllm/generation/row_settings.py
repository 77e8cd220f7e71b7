"""The settings of each row of a batch: a vector for each setting of which every row may have its own value.

Input: `GenerationConfig`s, or the tensors of a request to an export. Output: `RowSettings`, and assertions in the graph that a
request has valid values. Which settings these are, their dtypes and ranges: `config.PER_ROW`.
"""

from __future__ import annotations

import secrets
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfllm.generation.config import PER_ROW, GenerationConfig
from tfllm.generation.setting import Number
from tfllm.layers.stateless_random import fold_in


def _named_tuple() -> Any:
    return namedtuple("RowSettings", [each.name for each in PER_ROW])


_Base: Any = _named_tuple()


class RowSettings(_Base):
    """A named tuple of one tensor [B] for each setting of `PER_ROW`: `settings.temperature` is float32 [B]."""

    __slots__ = ()


def row_specs() -> RowSettings:
    """The shapes and dtypes, as the input signature of a `tf.function`."""
    return RowSettings(*(tf.TensorSpec([None], each.number.dtype) for each in PER_ROW))


def rows_of(configs: Sequence[GenerationConfig]) -> RowSettings:
    """The settings of the rows of a batch: `num_sequences` rows for each config, or one row for each in a beam search.

    The first sequence of a prompt has the config's seed itself, as a row of an export has. The others have seeds derived from
    it.
    """
    copies = configs[0].num_sequences if configs[0].num_beams == 1 else 1
    values = {
        each.name: tf.constant([getattr(config, each.name) for config in configs for _ in range(copies)], each.number.dtype)
        for each in PER_ROW
        if each.name != "seed"
    }
    seeds = tf.constant([secrets.randbelow(2**31) if config.seed is None else config.seed for config in configs])[:, None]
    number = tf.range(copies)[None]
    return RowSettings(**values, seed=tf.reshape(tf.where(number == 0, seeds, fold_in(seeds, number)), [-1]))


def same_for_all(config: GenerationConfig, rows: tf.Tensor) -> RowSettings:
    """The config's settings for each of `rows` (int32 []) rows. If the config has no seed, each row gets a random one."""
    values = {each.name: tf.fill([rows], getattr(config, each.name)) for each in PER_ROW if each.name != "seed"}
    if config.seed is None:
        # The op itself: `tf.random.uniform` would write the global seed of the exporting process into the graph.
        seed = tf.raw_ops.RandomUniformInt(shape=[rows], minval=0, maxval=tf.int32.max)
    else:
        seed = tf.fill([rows], config.seed)
    return RowSettings(**values, seed=seed)


def assert_valid(settings: Mapping[str, tf.Tensor], rows: tf.Tensor, max_new_tokens: int) -> list[tf.Operation]:
    """Assertions in the graph: each setting has one value for each row, and `GenerationConfig` would accept it.

    Args:
        settings: some of `PER_ROW`, each [B] if it is valid.
        rows: int32 [], B.
        max_new_tokens: the most that a row may ask for; it bounds the memory that a request takes.
    """
    sizes = [
        tf.debugging.Assert(
            tf.size(values) == rows,
            [f"{name} is invalid: expected one value for each prompt. Count of values, of prompts:", tf.size(values), rows],
        )
        for name, values in settings.items()
    ]
    # Any int32 is a seed to an export, while Python takes no negative ones: elsewhere -1 often asks for a random seed.
    accepted = {each.name: each.number for each in PER_ROW if each.name in settings and each.name != "seed"}
    accepted["max_new_tokens"] = Number("int32", 1, max_new_tokens)
    shortest, longest = settings["min_new_tokens"], settings["max_new_tokens"]
    with tf.control_dependencies(sizes):  # two settings are compared with each other
        ranges = [_assert(each.contains(settings[name]), name, str(each), settings[name]) for name, each in accepted.items()]
        order = _assert(shortest <= longest, "min_new_tokens", "at most max_new_tokens", shortest)
    return [*sizes, *ranges, order]


def _assert(valid: tf.Tensor, name: str, expected: str, values: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(tf.reduce_all(valid), [f"{name} is invalid: expected {expected} in each row. Values:", values])
