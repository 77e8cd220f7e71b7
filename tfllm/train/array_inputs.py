"""Arrays and lists that a user hands to Keras' methods, made ready for Keras.

Input: x, y, sample_weight and class_weight as Keras' users write them. Output: arrays, dicts of arrays, a table of class
weights. The names in the dicts, dtypes and shapes are converted later, in the graph (`train.standardize`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.features import ROW_WEIGHTS, TARGET_WEIGHTS, TOKEN_IDS
from tfllm.train.batch_keys import BatchKeys


def to_arrays(value: Any, *, num_tensors: int = 1) -> Any:
    """Converts lists to arrays, and any mapping to a dict. Keras would take a list for several inputs.

    Args:
        value: what `fit` was given as x, y or sample_weight. Anything but lists and mappings is returned as it is.
        num_tensors: how many tensors a list holds.

    Raises:
        ValueError: the rows of a list have different lengths, or the list holds several inputs.
    """
    if isinstance(value, Mapping):
        return {name: to_arrays(each) for name, each in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return tf.constant(value)  # Keras takes strings from TensorFlow only
    if not isinstance(value, list | tuple):
        return value
    if num_tensors > 1:
        return tuple(to_arrays(each) for each in value)
    lengths = {len(row) for row in value if isinstance(row, list | tuple)}
    if len(lengths) > 1:
        raise ValueError(
            f"rows of {min(lengths)} to {max(lengths)} numbers make no tensor: give all the same number; pad tokens, and give "
            "attention_mask, 1 for a token and 0 for padding; of several labels a row, give 0 or 1 for each"
        )
    array = np.asarray(value)
    if array.ndim > 2:
        raise ValueError(f"a list of {len(value)} arrays is several inputs, which go by name: give a dict, {{'token_ids': …}}")
    return to_arrays(array)


def merge_sample_weight(x: Any, sample_weight: Any) -> dict[str, Any]:
    """Puts the sample weights into the dict of inputs, for models with several targets: Keras would want one weight per target.

    Args:
        x: arrays by name, or token ids [B, S].
        sample_weight: [B], [B, 1] or [B, S].

    Raises:
        ValueError: x is not arrays, there are several weights, or x has weights already.
    """
    if not isinstance(x, Mapping | np.ndarray | tf.Tensor) or isinstance(sample_weight, Mapping | tuple | list):
        raise ValueError(
            f"sample_weight is a {type(sample_weight).__name__}, x a {type(x).__name__}: give arrays, and one weight a row"
        )
    shape = sample_weight.shape
    name = ROW_WEIGHTS if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1) else TARGET_WEIGHTS
    values = dict(x) if isinstance(x, Mapping) else {TOKEN_IDS: x}
    if name in values:
        raise ValueError(f"{name} is given twice, as sample_weight, and in x: give it once")
    return values | {name: sample_weight}


def class_weight_table(keys: BatchKeys, class_weight: Any, *, model_name: str) -> np.ndarray | None:
    """Converts Keras' `class_weight` to float32 [C], 1 for a class that it leaves out. {1: 2.5} of 3 classes -> 1 2.5 1

    Raises:
        ValueError: the model's targets are not classes, or a class number is out of range.
    """
    if class_weight is None:
        return None
    if not keys.num_classes or "C" in "".join(spec.shape for spec in keys.targets.values()):
        raise ValueError(f"class_weight: a {model_name} tells no classes apart, give sample_weight, or leave it out")
    if not isinstance(class_weight, Mapping) or not set(class_weight) <= set(range(keys.num_classes)):
        raise ValueError(
            f"class_weight={class_weight!r:.200}: give a dict of class numbers, 0 to {keys.num_classes - 1}, and weights: "
            "dict(enumerate(weights)), say"
        )
    return np.array([class_weight.get(number, 1) for number in range(keys.num_classes)], np.float32)
