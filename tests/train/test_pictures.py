"""The picture of a confusion stays small, whatever the number of labels."""

import numpy as np
import pytest

from tfllm.train.callbacks.pictures import confusion_picture


def picture(size, times=1, name="label"):
    return confusion_picture(np.eye(size, dtype=int) * times, [f"{name} {number}" for number in range(size)])


def test_few_labels_take_little_place():
    assert picture(3).shape == (330, 410, 4)


@pytest.mark.parametrize("size", [77, 950])
def test_many_labels_take_no_more_than_a_page(size):
    assert picture(size).shape == (2000, 2000, 4)


def test_counts_are_written_where_they_can_be_read():
    assert not np.array_equal(picture(20), picture(20, times=2))
    np.testing.assert_array_equal(picture(21), picture(21, times=2))


def test_labels_are_written_where_they_can_be_read():
    assert not np.array_equal(picture(60), picture(60, name="class"))
    np.testing.assert_array_equal(picture(61), picture(61, name="class"))
