"""Which record of a history is the best: by every kind of measure, of equals, of numbers that are none."""

import math

import pytest

from tfllm.train.runs.best_epoch import best_epoch


def best(measure, *values):
    found = best_epoch([{"step": step, measure: value} for step, value in enumerate(values)], measure)
    return found and found["step"]


@pytest.mark.parametrize(
    "measure",
    ["val_loss", "val_pair_loss", "val_error", "val_mean_squared_error", "val_perplexity", "val_bits_per_byte"],
)
def test_low_is_best(measure):
    assert best(measure, 2.0, 1.5, 1.75) == 1


@pytest.mark.parametrize("measure", ["val_accuracy", "val_f1", "val_f1_loss_", "val_lossless", "loss"])
def test_high_is_best_of_all_others(measure):
    assert best(measure, 0.5, 0.75, 0.625) == 1


@pytest.mark.parametrize("measure", ["val_loss", "val_f1"])
def test_the_first_of_equals_and_never_what_is_no_number(measure):
    assert best(measure, 0.5, 0.5) == 0
    assert best(measure, math.nan, 0.5, math.nan) == 1
    assert best(measure, math.nan) is None


def test_a_measure_that_is_not_there():
    with pytest.raises(ValueError, match="best='val_f1' was not measured; the epoch's metrics are step, val_loss"):
        best_epoch([{"step": 1, "val_loss": 2.0}], "val_f1")
