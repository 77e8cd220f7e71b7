"""Initial values are drawn, unless the caller assigns all of them."""

import numpy as np

import tfllm

CONFIG = tfllm.preset("llama-tiny", vocab_size=300, num_layers=1, tied_embeddings=False)


def test_skip_init_makes_matrices_of_zeros():
    drawn = tfllm.CausalLM(CONFIG, seed=3)
    made = tfllm.CausalLM(CONFIG, seed=3, skip_init=True)
    again = tfllm.CausalLM(CONFIG, seed=3)
    matrices = [variable for variable in made.variables if len(variable.shape) > 1]
    assert len(matrices) == 6 and not any(variable.numpy().any() for variable in matrices)
    for one, other in zip(drawn.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.numpy().any()


def test_layers_made_without_drawing_keep_their_config():
    made = tfllm.CausalLM(CONFIG, skip_init=True)
    kernel = made.stack.blocks[0].attention.qkv
    assert kernel.get_config()["stddev"] == kernel.stddev == CONFIG.initializer_range
