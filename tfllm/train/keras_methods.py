"""Keras' `fit`, `evaluate`, `predict` and their `…_on_batch`, for batches with named tensors and for every strategy.

Input: the arguments of Keras' methods; each is used, or refused by name. Output: what Keras' methods return. Batches go on to
`train.trainable_model`, where `train.standardize` converts them.
"""

from __future__ import annotations

import functools
import inspect
import math
import signal
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfllm.features import LABELS
from tfllm.train.array_inputs import class_weight_table, merge_sample_weight, to_arrays
from tfllm.train.batch_keys import ALIASES, SPECS, BatchKeys
from tfllm.train.callbacks.progress_lines import with_progress_lines, without_progress_bar
from tfllm.train.distribution.parameter_server import ParameterServerTrainer
from tfllm.train.distribution.strategies import distribute_dataset
from tfllm.train.fit_status import FitStatus
from tfllm.train.step_errors import explain_errors

Method = TypeVar("Method", bound=Callable[..., Any])


def _signature_of(method: Any) -> Callable[[Method], Method]:
    """`functools.wraps`, whose result type checkers still know to be a method."""
    return functools.wraps(method)  # type: ignore[return-value]


class KerasMethods(keras.Model):
    """A `keras.Model` whose methods take batches with named tensors, and train under any strategy."""

    batch_keys: BatchKeys
    """What a batch of the model holds."""
    train_function: Callable[[Any], Any] | None
    test_function: Callable[[Any], Any] | None
    class_weights: np.ndarray | None = None
    """float32 [C], of the current `fit`."""
    fit_status: FitStatus
    """Made by `compile`."""

    @_signature_of(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> Any:
        self._assert_compile_called("fit")
        given = with_progress_lines(self._given(keras.Model.fit, args, kwargs))
        if isinstance(validation := given.get("validation_data"), tuple | list):
            given["validation_data"] = self._arrays(dict(zip(("x", "y", "sample_weight"), validation, strict=False)))
        self._set_class_weights(given.pop("class_weight", None))
        self._check_groups(given)
        handler = signal.getsignal(signal.SIGTERM)
        self.fit_status.running = True
        try:
            if self._on_servers:
                with explain_errors(self.optimizer):
                    return ParameterServerTrainer(self).fit(**given)
            for name in ("x", "validation_data"):
                given[name] = distribute_dataset(self.distribute_strategy, given.get(name))
            return super().fit(**given)
        finally:
            self.fit_status.running = False
            # Keras does not call callbacks after an error, so the checkpoint callback cannot restore the handler.
            if signal.getsignal(signal.SIGTERM) is not handler:
                signal.signal(signal.SIGTERM, handler)

    @_signature_of(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        given = without_progress_bar(self._given(keras.Model.evaluate, args, kwargs))
        if self._on_servers:
            if unknown := sorted(given.keys() - {"x", "return_dict", "verbose"}):
                raise ValueError(f"evaluate under ParameterServerStrategy takes no {', '.join(unknown)}")
            scores = ParameterServerTrainer(self).evaluate(given["x"])
            return scores if given.get("return_dict") else list(scores.values())
        given["x"] = distribute_dataset(self.distribute_strategy, given.get("x"))
        return super().evaluate(**given)

    @_signature_of(keras.Model.predict)
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        given = without_progress_bar(self._given(keras.Model.predict, args, kwargs))
        if self._on_servers:
            raise ValueError("predict needs local weights: save the model, and load it outside ParameterServerStrategy")
        given["x"] = distribute_dataset(self.distribute_strategy, given.get("x"))
        with explain_errors():
            return super().predict(**given)

    @_signature_of(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._assert_compile_called("train_on_batch")
        given = self._given(keras.Model.train_on_batch, args, kwargs)
        self._set_class_weights(given.pop("class_weight", None))
        self.make_train_function()
        return self._on_batch(self.train_function, **given)

    @_signature_of(keras.Model.test_on_batch)
    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._assert_compile_called("test_on_batch")
        self.make_test_function()
        return self._on_batch(self.test_function, **self._given(keras.Model.test_on_batch, args, kwargs))

    @_signature_of(keras.Model.predict_on_batch)
    def predict_on_batch(self, x: Any) -> Any:
        # Keras' own asks each replica for all rows.
        return self.predict(tf.data.Dataset.from_tensors(to_arrays(x)), verbose=0)

    def __call__(self, features: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Calls the model on a dict, on token ids, or on named tensors: `model(input_ids=ids, attention_mask=mask)`."""
        if named := {name: kwargs.pop(name) for name in [*kwargs] if name in (*SPECS, *ALIASES, LABELS)}:
            if features is not None:
                raise ValueError(f"{', '.join(named)} in addition to features: give all in one dict, or all by name")
            features = named
        if args and isinstance(args[0], np.ndarray | list | tf.Tensor) and np.ndim(args[0]):
            raise TypeError("a model takes one dict of tensors: model({'token_ids': ids, 'attention_mask': mask})")
        return super().__call__(to_arrays(features), *args, **kwargs)

    @property
    def _on_servers(self) -> bool:
        return isinstance(self.distribute_strategy, tf.distribute.ParameterServerStrategy)

    def _given(self, of: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments of a call of Keras' method `of`, by name, with lists as arrays."""
        given = dict(inspect.signature(of).bind(self, *args, **kwargs).arguments)
        del given["self"]
        given |= given.pop("kwargs", {})
        if given.get("x") is None:
            raise ValueError(f"{of.__name__} was given no x. A batch of a {type(self).__name__} holds {self.batch_keys}")
        names = [name for name in ("x", "y", "sample_weight") if given.get(name) is not None]
        return given | dict(zip(names, self._arrays({name: given[name] for name in names}), strict=True))

    def _arrays(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """x, y and sample_weight as arrays, those that were given."""
        num_tensors = {"y": len(self.batch_keys.targets)}
        arrays = {name: to_arrays(value, num_tensors=num_tensors.get(name, 1)) for name, value in data.items()}
        if num_tensors["y"] > 1 and arrays.get("sample_weight") is not None:
            arrays |= {"x": merge_sample_weight(arrays["x"], arrays["sample_weight"]), "sample_weight": None}
        return tuple(arrays.values())

    def _set_class_weights(self, class_weight: Any) -> None:
        table = class_weight_table(self.batch_keys, class_weight, model_name=type(self).__name__)
        if not np.array_equal(table, self.class_weights):  # type: ignore[arg-type] # the table is a constant of the graph
            self.train_function = None
        self.class_weights = table

    def _check_groups(self, given: dict[str, Any]) -> None:
        """Keeps Keras from shuffling the rows of arrays where groups of rows must stay together (`BatchKeys.group_size`)."""
        x, group_size = given.get("x"), self.batch_keys.group_size
        if not isinstance(x, Mapping | np.ndarray | tf.Tensor):
            # Keras shuffles the batches of a PyDataset. For other data it would warn that it does not shuffle.
            if not isinstance(x, keras.utils.PyDataset):
                given.setdefault("shuffle", False)
            return
        if group_size == 1:
            return
        if given.setdefault("shuffle", False):
            raise ValueError("shuffle=True would part rows 2i and 2i + 1, which are partners: shuffle pairs yourself, before")
        rows = len(next(iter(x.values())) if isinstance(x, Mapping) else x)
        training_rows = math.floor(rows * (1 - given.get("validation_split", 0.0)))
        for name, count in (
            ("batch_size", given.get("batch_size") or 32),
            ("rows", rows),
            ("rows to learn from", training_rows),
        ):
            if count % group_size:
                raise ValueError(f"{name}: {count} would part rows 2i and 2i + 1, which are partners: give an even number")

    def _on_batch(
        self, function: Any, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> dict[str, float] | list[float]:
        if self._on_servers:
            raise ValueError("ParameterServerStrategy runs steps on workers: call fit or evaluate, with data of tfllm.data")
        strategy, batch = self.distribute_strategy, keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        dataset = distribute_dataset(strategy, tf.data.Dataset.from_tensors(batch))
        self.reset_metrics()
        logs = function(iter(strategy.experimental_distribute_dataset(dataset)))
        logs = {name: float(value) for name, value in logs.items()}
        return logs if return_dict else self._flatten_metrics_in_order(logs)
