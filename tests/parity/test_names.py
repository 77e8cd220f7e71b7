"""Every setting of Transformers' generation is a setting here, or is answered."""

import dataclasses

import pytest

from tfllm.generation import GenerationConfig
from tfllm.generation.other_names import ANSWERS, RENAMED

pytestmark = pytest.mark.parity


def test_no_setting_is_unknown():
    transformers = pytest.importorskip("transformers")
    known = {field.name for field in dataclasses.fields(GenerationConfig)} | {*RENAMED, *ANSWERS, "do_sample"}
    assert set(vars(transformers.GenerationConfig())) <= known


def test_what_is_off_there_is_off_here():
    transformers = pytest.importorskip("transformers")
    defaults = transformers.GenerationConfig._get_default_generation_params()
    for length in ("max_length", "min_length"):  # which count the prompt
        defaults.pop(length)
    # Drafts and the cut of a draw are defaults that do nothing there, for nothing drafts or draws.
    for silent in ("num_assistant_tokens", "top_k", "temperature"):
        defaults.pop(silent)
    assert GenerationConfig(**{name: value for name, value in defaults.items() if value is not None}) == GenerationConfig()
