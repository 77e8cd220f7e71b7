"""The `tf.data.Dataset` of all training and evaluation batches of this package.

In: functions that make the batch of a step, whole or in part. Out: `Batches`, a dataset whose batches can also be made in equal
parts (each worker makes only the rows that it trains on), and one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm import features

_WEIGHTS = (features.TARGET_WEIGHTS, features.ROW_WEIGHTS)


class Batches(tf.data.Dataset):
    """Batches of B rows.

    Args:
        of_rows: (first, count) -> the rows from `first` on, `count` of them, of every batch.
        element: the batch that comes after a number of others, int64 [].
        batch_size: B.
    """

    def __init__(
        self,
        of_rows: Callable[[int, int], tf.data.Dataset],
        element: Callable[[tf.Tensor], dict[str, tf.Tensor]],
        batch_size: int,
    ):
        self._of_rows, self.element, self._batch_size = of_rows, element, batch_size
        self._whole = of_rows(0, batch_size)
        super().__init__(self._whole._variant_tensor)

    def share(self, part: int, parts: int) -> tf.data.Dataset:
        """The part-th of `parts` equal parts of each batch, made without the others.

            rows 7 8 9 10 | 11 12 13 14, part 1 of 2 -> 9 10 | 13 14

        Raises:
            ValueError: `parts` does not divide B.
        """
        count = self._batch_size // parts
        if count * parts != self._batch_size:
            raise ValueError(
                f"batch_size={self._batch_size} is invalid: expected a multiple of {parts}, for {parts} equal parts."
            )
        return self._of_rows(part * count, count)

    def take(self, count: int, name: str | None = None) -> Batches:
        return Batches(lambda *rows: self._of_rows(*rows).take(count, name), self.element, self._batch_size)

    def first_rows(self, count: int) -> Batches:
        """As many batches as hold the first `count` rows; what stands behind them in the last one weighs nothing.

            rows 7 8 | 9 10 | 11 12, count 3 -> rows 7 8 | 9 10, target_weights 1 1 | 1 0

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"limit={count} is invalid: expected 1 row or more.")

        def of_rows(first: int, rows: int) -> tf.data.Dataset:
            def weighed(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                row = step * self._batch_size + first + tf.range(rows, dtype=tf.int64)
                there = tf.cast(row < count, tf.float32)
                weights = {name: batch[name] for name in _WEIGHTS if name in batch}
                return batch | {
                    name: each * tf.reshape(there, [-1] + [1] * (len(each.shape) - 1)) for name, each in weights.items()
                }

            return self._of_rows(first, rows).take(-(-count // self._batch_size)).enumerate().map(weighed)

        return Batches(of_rows, self.element, self._batch_size)

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._whole]

    @property
    def element_spec(self) -> Any:
        return self._whole.element_spec
