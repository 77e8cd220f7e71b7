"""Our models equal Hugging Face's in PyTorch, by the golden files (`record.py`): logits, loss, every gradient."""

import numpy as np
import pytest
from cases import CASES, GOLDEN, Outcome, batch
from comparison import assert_equal, ours

SEED = 0


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_are_those_of_pytorch(name):
    case = CASES[name]
    with np.load(GOLDEN / f"{name}.npz") as file:
        gradients = {key.removeprefix("gradient/"): file[key] for key in file if key.startswith("gradient/")}
        golden = Outcome({key: file[key] for key in file if key.endswith("logits")}, float(file["loss"]), gradients)
    shapes = {each: value.shape for each, value in golden.gradients.items()}
    if case.config.causal:
        assert sum(value.size for value in golden.gradients.values()) == case.config.num_parameters()
    assert_equal(ours(case, batch(case, SEED), shapes, SEED), golden)
