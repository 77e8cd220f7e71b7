"""Our models equal Hugging Face's in PyTorch, by the golden files (`record.py`): logits, loss, every gradient."""

import numpy as np
import pytest
from cases import CASES, GOLDEN, STATES, Outcome, batch
from comparison import assert_equal, model_of, ours

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


@pytest.mark.parametrize("name", STATES)
def test_hidden_states_and_attentions_are_those_of_pytorch(name):
    """Of every block, of all tokens but padding (`record_states.py`)."""
    case, features = CASES[name], batch(CASES[name], SEED)
    with np.load(GOLDEN / f"{name}.npz") as file:
        shapes = {key.removeprefix("gradient/"): file[key].shape for key in file if key.startswith("gradient/")}
    with np.load(GOLDEN / "states.npz") as file:
        states, attentions = file[f"{name}/hidden_states"], file[f"{name}/attentions"]
    model, _ = model_of(case, shapes, SEED)
    found = model(features, output_hidden_states=True, output_attentions=True)
    there = features.get("segment_ids", np.ones_like(features["token_ids"])) > 0
    assert len(found.hidden_states) == len(states) == case.config.num_layers + 1 and len(found.attentions) == len(attentions)
    for ours_, theirs in zip(found.hidden_states, states, strict=True):
        np.testing.assert_allclose(ours_.numpy()[there], theirs[there], atol=1e-4)
    for ours_, theirs in zip(found.attentions, attentions, strict=True):
        by_query = (np.moveaxis(each, 1, 2)[there] for each in (ours_.numpy(), theirs))
        np.testing.assert_allclose(*by_query, atol=1e-5)
    assert np.std(attentions) > 0.05
    np.testing.assert_array_equal(found.output, model(features))
