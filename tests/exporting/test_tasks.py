"""Exports of encoders: each task's SavedModel keeps its contract and gives Python's answers, in Python and in C."""

import pytest
from answers import assert_c_says_the_same, assert_python_says_the_same
from encoders import MAKERS, columns, strong

import tfllm
from tfllm.exporting.contract import contract_names
from tfllm.exporting.signatures import contract_name_of
from tfllm.generation import GenerationConfig
from tfllm.tokenizers import ByteTokenizer

NAMES = [name for name in MAKERS if name not in ("several labels", "parts of speech")]


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory):
    model = strong(request.param, ByteTokenizer())
    folder = tfllm.export(model, ByteTokenizer(), tmp_path_factory.mktemp("exports") / "model")
    return model, folder


def test_answers_are_pythons(exported):
    model, folder = exported
    assert_python_says_the_same(model, ByteTokenizer(), folder, columns(model))


@pytest.mark.parametrize(
    "exported",
    [name if name in ("masked_lm", "token_classifier") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
    indirect=True,
)
def test_the_contract_is_kept(exported):
    report = tfllm.check(exported[1])
    assert report.ok, str(report)
    assert report.signatures == ("serving_default",)
    assert set(contract_names()) == {"causal_lm"} | {contract_name_of(strong(name, ByteTokenizer())) for name in NAMES} | {
        "text_regressor of pairs"
    }


def test_a_c_program_gives_the_same_answers(program, exported):
    model, folder = exported
    assert_c_says_the_same(program, model, folder, columns(model))


def test_a_generation_config_is_for_causal_models(tmp_path):
    model = strong("text_regressor", ByteTokenizer())
    with pytest.raises(
        ValueError, match=r"is invalid: expected no setting of generation, for TextRegressor does not .* Remove config"
    ):
        tfllm.export(model, ByteTokenizer(), tmp_path / "model", GenerationConfig())


def test_an_unknown_contract_is_a_problem(tmp_path):
    folder = tfllm.export(strong("text_regressor", ByteTokenizer()), ByteTokenizer(), tmp_path / "model")
    path = folder / "assets.extra" / "tfllm.json"
    path.write_text(path.read_text().replace('"text_regressor"', '"text_translator"'))
    assert any(
        "contract='text_translator'; expected one of causal_lm, masked_lm" in each for each in tfllm.check(folder).problems
    )
