"""First values are drawn, but not where all are assigned at once."""

import numpy as np

import tfllm
from tfllm.layers.first_values import assigned_soon

CONFIG = tfllm.preset("llama-tiny", vocab_size=300, num_layers=1, tied_embeddings=False)


def test_models_that_are_filled_at_once_are_made_of_zeros():
    drawn = tfllm.CausalLM(CONFIG, seed=3)
    with assigned_soon():
        made = tfllm.CausalLM(CONFIG, seed=3)
    again = tfllm.CausalLM(CONFIG, seed=3)
    matrices = [variable for variable in made.variables if len(variable.shape) > 1]
    assert len(matrices) == 6 and not any(variable.numpy().any() for variable in matrices)
    for one, other in zip(drawn.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.numpy().any()
