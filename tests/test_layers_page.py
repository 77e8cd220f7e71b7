"""docs/layers.md is true: its code runs in the order it stands there, and what it says comes out is what comes out."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import tfllm

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the page's code leaves."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        compiled = keras.Model.compile  # steps run without graphs, which changes no value
        patch.setattr(keras.Model, "compile", lambda self, *args: compiled(self, *args, run_eagerly=True))
        keras.utils.set_random_seed(0)
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    return names


def test_the_transformer_of_2017_has_its_size_in_fewer_than_40_lines(names):
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    assert len([line for line in block.splitlines() if line.strip()]) < 40
    stacks = [layer for layer in names["model"].layers if isinstance(layer, tfllm.layers.TransformerStack)]
    assert [len(stack.blocks) for stack in stacks] == [6, 6]
    attention = stacks[1].blocks[0].cross_attention
    assert attention.heads[0] == 8 and tuple(attention.key_value.kernel.shape) == (512, 2 * 512)
    # Vaswani et al. 2017: an encoder's layer is 4 D^2 + 2 D F + 9 D + F, a decoder's has one more attention and norm.
    encoder, decoder = 3_152_384, 4_204_032
    assert [stack.count_params() for stack in stacks] == [6 * encoder, 6 * decoder]


def test_it_learns(names):
    inputs, labels = {"source": names["source"][:32], "target": names["target"][:32, :-1]}, names["target"][:32, 1:]
    assert names["model"].evaluate(inputs, labels, verbose=0) < names["history"].history["loss"][0]


def test_the_small_model_is_read_back(names):
    ids = np.array([[5, 6, 7, 0], [8, 9, 0, 0]])
    np.testing.assert_array_equal(names["again"](ids), names["small"](ids))


def test_what_the_page_says_comes_out(names):
    assert names["found"].last_hidden_state.shape == (2, 6, 32) and len(names["found"].hidden_states) == 3
    assert names["found"].attentions[0].shape == (2, 4, 6, 6) and names["scores"].shape == (2, 4, 6, 6)
    assert names["y"].shape == (2, 6, 32) and names["scores_of_next"].shape == (1, 512)


def test_every_layer_is_on_the_page():
    page = PAGE.read_text()
    for name in tfllm.layers.__all__:
        if isinstance(getattr(tfllm.layers, name), type) and issubclass(getattr(tfllm.layers, name), keras.layers.Layer):
            assert f"`{name}(" in page, name
