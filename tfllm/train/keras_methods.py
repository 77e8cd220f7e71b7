"""What users call to train and to ask: Keras' `fit`, `evaluate`, `predict` and their `…_on_batch`, argument by argument.

Every argument of Keras' is used, or refused by name. Data goes on to `train.step`, where `train.standardize` names it.
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

from tfllm.features import LABELS, ROW_WEIGHTS, TARGET_WEIGHTS, TOKEN_IDS
from tfllm.train.batch_spec import ALIASES, FORMS, BatchKeys
from tfllm.train.callbacks.progress_lines import as_lines, without_bar
from tfllm.train.distribution.parameter_server import Coordinator
from tfllm.train.distribution.strategies import distribute_dataset
from tfllm.train.standardize import as_arrays, class_table
from tfllm.train.step_errors import naming_the_step

Method = TypeVar("Method", bound=Callable[..., Any])


def _signature_of(method: Any) -> Callable[[Method], Method]:
    """`functools.wraps`, whose result type checkers still know to be a method."""
    return functools.wraps(method)  # type: ignore[return-value]


class FittingModel(keras.Model):
    """A `keras.Model` that is handed batches by name, and trains under any strategy."""

    batch_keys: BatchKeys
    """What a batch of the model holds."""
    train_function: Callable[[Any], Any] | None
    test_function: Callable[[Any], Any] | None
    class_weights: np.ndarray | None = None
    """float32 [C], of the `fit` that runs."""

    @_signature_of(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> Any:
        given = as_lines(self._given(keras.Model.fit, args, kwargs))
        if isinstance(held_out := given.get("validation_data"), tuple | list):
            given["validation_data"] = self._arrays(dict(zip(("x", "y", "sample_weight"), held_out, strict=False)))
        self._weigh_classes(given.pop("class_weight", None))
        self._keep_together(given)
        handler = signal.getsignal(signal.SIGTERM)
        self.fit_status.running = True
        try:
            if self._on_servers:
                with naming_the_step(self.optimizer):
                    return Coordinator(self).fit(**given)
            for name in ("x", "validation_data"):
                given[name] = distribute_dataset(self.distribute_strategy, given.get(name))
            return super().fit(**given)
        finally:
            self.fit_status.running = False
            # Callbacks that listen for it are not told of an error.
            if signal.getsignal(signal.SIGTERM) is not handler:
                signal.signal(signal.SIGTERM, handler)

    @_signature_of(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        given = without_bar(self._given(keras.Model.evaluate, args, kwargs))
        if self._on_servers:
            if unknown := sorted(given.keys() - {"x", "return_dict", "verbose"}):
                raise ValueError(f"evaluate under ParameterServerStrategy takes no {', '.join(unknown)}")
            scores = Coordinator(self).evaluate(given["x"])
            return scores if given.get("return_dict") else list(scores.values())
        given["x"] = distribute_dataset(self.distribute_strategy, given.get("x"))
        return super().evaluate(**given)

    @_signature_of(keras.Model.predict)
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        given = without_bar(self._given(keras.Model.predict, args, kwargs))
        if self._on_servers:
            raise ValueError("predict wants weights that are here: save the model, and load it outside ParameterServerStrategy")
        given["x"] = distribute_dataset(self.distribute_strategy, given.get("x"))
        with naming_the_step():
            return super().predict(**given)

    @_signature_of(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._assert_compile_called("train_on_batch")
        given = self._given(keras.Model.train_on_batch, args, kwargs)
        self._weigh_classes(given.pop("class_weight", None))
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
        return self.predict(tf.data.Dataset.from_tensors(as_arrays(x)), verbose=0)

    def __call__(self, features: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`call` on a dict, on token ids, or by name, as in Transformers: `model(input_ids=ids, attention_mask=mask)`."""
        if named := {name: kwargs.pop(name) for name in [*kwargs] if name in (*FORMS, *ALIASES, LABELS)}:
            if features is not None:
                raise ValueError(f"{', '.join(named)} beside features: give all in one dict, or all by name")
            features = named
        if args and isinstance(args[0], np.ndarray | list | tf.Tensor) and np.ndim(args[0]):
            raise TypeError("a model takes one dict of tensors: model({'token_ids': ids, 'attention_mask': mask})")
        return super().__call__(as_arrays(features), *args, **kwargs)

    @property
    def _on_servers(self) -> bool:
        return isinstance(self.distribute_strategy, tf.distribute.ParameterServerStrategy)

    def _given(self, of: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments that a call of Keras' method `of` was given, by name, with data as arrays."""
        given = dict(inspect.signature(of).bind(self, *args, **kwargs).arguments)
        del given["self"]
        given |= given.pop("kwargs", {})
        if given.get("x") is None:
            raise ValueError(f"{of.__name__} was given no x. A batch of a {type(self).__name__} holds {self.batch_keys}")
        names = [name for name in ("x", "y", "sample_weight") if given.get(name) is not None]
        return given | dict(zip(names, self._arrays({name: given[name] for name in names}), strict=True))

    def _arrays(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """x, y and sample_weight, those there are."""
        parts = {"y": len(self.batch_keys.targets)}
        arrays = {name: as_arrays(value, parts=parts.get(name, 1)) for name, value in data.items()}
        if parts["y"] > 1 and arrays.get("sample_weight") is not None:
            arrays |= {"x": _weighted(arrays["x"], arrays["sample_weight"]), "sample_weight": None}
        return tuple(arrays.values())

    def _weigh_classes(self, class_weight: Any) -> None:
        table = class_table(self.batch_keys, class_weight, model=type(self).__name__)
        if not np.array_equal(table, self.class_weights):  # type: ignore[arg-type] # it is part of the graph
            self.train_function = None
        self.class_weights = table

    def _keep_together(self, given: dict[str, Any]) -> None:
        """Keras shuffles the rows of arrays; rows that belong together stay where they are."""
        x, together = given.get("x"), self.batch_keys.together
        if not isinstance(x, Mapping | np.ndarray | tf.Tensor):
            if not isinstance(x, keras.utils.PyDataset):  # whose batches Keras shuffles; of others it warns that it does not
                given.setdefault("shuffle", False)
            return
        if together == 1:
            return
        if given.setdefault("shuffle", False):
            raise ValueError("shuffle=True would part rows 2i and 2i + 1, which are partners: shuffle pairs yourself, before")
        rows = len(next(iter(x.values())) if isinstance(x, Mapping) else x)
        learnt = math.floor(rows * (1 - given.get("validation_split", 0.0)))
        for name, count in (("batch_size", given.get("batch_size") or 32), ("rows", rows), ("rows to learn from", learnt)):
            if count % together:
                raise ValueError(f"{name}: {count} would part rows 2i and 2i + 1, which are partners: give an even number")

    def _on_batch(
        self, function: Any, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> dict[str, float] | list[float]:
        if self._on_servers:
            raise ValueError(
                "ParameterServerStrategy hands steps out to workers: call fit or evaluate, with data of tfllm.data"
            )
        strategy, batch = self.distribute_strategy, keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        dataset = distribute_dataset(strategy, tf.data.Dataset.from_tensors(batch))
        self.reset_metrics()
        logs = function(iter(strategy.experimental_distribute_dataset(dataset)))
        logs = {name: float(value) for name, value in logs.items()}
        return logs if return_dict else self._flatten_metrics_in_order(logs)


def _weighted(x: Any, weight: Any) -> dict[str, Any]:
    """Arrays with their weights among them: of several targets Keras would give each a weight of its own.

    Raises:
        ValueError: x is no arrays, there are several weights, or x has them already.
    """
    if not isinstance(x, Mapping | np.ndarray | tf.Tensor) or isinstance(weight, Mapping | tuple | list):
        raise ValueError(
            f"sample_weight is a {type(weight).__name__}, x a {type(x).__name__}: give arrays, and one weight a row"
        )
    of_rows = len(weight.shape) == 1 or (len(weight.shape) == 2 and weight.shape[1] == 1)
    name = ROW_WEIGHTS if of_rows else TARGET_WEIGHTS
    values = dict(x) if isinstance(x, Mapping) else {TOKEN_IDS: x}
    if name in values:
        raise ValueError(f"{name} is given twice, as sample_weight, and in x: give it once")
    return values | {name: weight}
