"""docs/your-own-data.md is true: its code runs in the order it stands there, and what it says comes out is what comes out."""

import re
from pathlib import Path

import numpy as np
import pytest

import tfllm

PAGE = Path(__file__).parents[1] / "docs" / "your-own-data.md"


@pytest.fixture(scope="module")
def ran():
    """Names that the page's code leaves, and every model it made. Steps run without graphs, which changes no value."""
    names, models = {}, []
    with pytest.MonkeyPatch.context() as patch:
        compiled = tfllm.models.base.LanguageModel.compile

        def compile_eagerly(self, *args, **kwargs):
            models.append(self)
            return compiled(self, *args, run_eagerly=True, **kwargs)

        patch.setattr(tfllm.models.base.LanguageModel, "compile", compile_eagerly)
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    return names, models


def test_every_block_runs(ran):
    names, models = ran
    assert {model.task for model in models} == {spec.name for spec in tfllm.tasks.BUILT_IN}
    assert all(int(model.optimizer.iterations.numpy()) > 0 for model in models)
    assert names["probabilities"].shape == (2, 2)
    np.testing.assert_allclose(np.linalg.norm(names["vectors"], axis=1), 1, rtol=1e-5)
    assert names["vectors"].shape == (4, 16)


def test_every_key_of_every_task_is_on_the_page(ran):
    page = PAGE.read_text()
    for model in ran[1]:
        for name in model.batch_keys.specs:
            assert f"`{name}`" in page or name == "dropout_seed", name


def test_errors_point_to_the_page(ran):
    with pytest.raises(ValueError, match=r"\(docs/your-own-data.md\)"):
        ran[1][0]({"token_idz": [[1]]})
