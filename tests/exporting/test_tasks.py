"""Exports of encoders: each task's SavedModel keeps its contract and gives Python's answers, in Python and in C."""

import numpy as np
import pytest
import tensorflow as tf
from c_program import serve
from encoders import MAKERS, columns, strong

import tfllm
from tfllm.exporting.contract import CONTRACTS
from tfllm.exporting.signatures import contract_name
from tfllm.generation import GenerationConfig
from tfllm.prediction.answers import inputs_of
from tfllm.tokenizers import ByteTokenizer

NAMES = [name for name in MAKERS if name not in ("several labels", "parts of speech")]


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory):
    model = strong(request.param, ByteTokenizer())
    folder = tfllm.export(model, ByteTokenizer(), tmp_path_factory.mktemp("exports") / "model")
    return model, folder


def plain(value: tf.Tensor) -> list:
    def decoded(each):
        return [decoded(inner) for inner in each] if isinstance(each, list) else each.decode()

    return decoded(value.numpy().tolist()) if value.dtype == tf.string else value.numpy().tolist()


def test_answers_are_pythons(exported):
    model, folder = exported
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    asked = columns(model)
    answered = {
        name: plain(value)
        for name, value in served(**dict(zip(inputs_of(model), map(tf.constant, asked), strict=True))).items()
    }
    counts = answered.pop("count", None)
    for i, expected in enumerate(tfllm.predict(model, ByteTokenizer(), *asked)):
        for name, value in expected.items():
            found = answered[name][i]
            found = found[: counts[i]] if counts and isinstance(found, list) else found
            if name in ("score", "probabilities", "value", "embedding"):
                np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
            else:
                assert found == value, name
    assert set(answered) == set(expected)


def test_the_contract_is_kept(exported):
    report = tfllm.check(exported[1])
    assert report.ok, str(report)
    assert report.signatures == ("serving_default",)
    assert set(CONTRACTS) == {"causal_lm"} | {contract_name(strong(name, ByteTokenizer())) for name in NAMES} | {
        "text_regressor of pairs"
    }


def test_a_c_program_gives_the_same_answers(program, exported):
    """Strings byte for byte; numbers to the last places, for C prints nine digits."""
    model, folder = exported
    asked = dict(zip(inputs_of(model), columns(model), strict=True))
    outputs = list(CONTRACTS[contract_name(model)].signatures["serving_default"].outputs)
    found = serve(program, folder, asked, *outputs)
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answered = served(**{name: tf.constant(column) for name, column in asked.items()})
    rest = found.stdout
    for name in outputs:
        for element in answered[name].numpy().ravel():
            line, _, rest = rest.partition(b"\n")
            if answered[name].dtype == tf.string:
                assert rest[: int(line)] == element, name
                rest = rest[int(line) :]
            else:
                np.testing.assert_allclose(float(line), element, rtol=1e-5, atol=1e-6)
    assert rest == b""


def test_a_generation_config_is_for_causal_models(tmp_path):
    model = strong("text_regressor", ByteTokenizer())
    with pytest.raises(ValueError, match="TextRegressor does not generate: leave the GenerationConfig out"):
        tfllm.export(model, ByteTokenizer(), tmp_path / "model", GenerationConfig())


def test_an_unknown_contract_is_a_problem(tmp_path):
    folder = tfllm.export(strong("text_regressor", ByteTokenizer()), ByteTokenizer(), tmp_path / "model")
    path = folder / "assets.extra" / "tfllm.json"
    path.write_text(path.read_text().replace('"text_regressor"', '"text_translator"'))
    assert any(
        "names the contract 'text_translator'; there are causal_lm, masked_lm" in each for each in tfllm.check(folder).problems
    )
