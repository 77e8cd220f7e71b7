"""The settings: what they accept, their file, and that they cost no TensorFlow."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tfllm.generation import GenerationConfig

CHANGED = GenerationConfig(
    max_new_tokens=7,
    temperature=0.5,
    top_k=3,
    top_p=0.9,
    min_p=0.1,
    repetition_penalty=1.2,
    frequency_penalty=0.1,
    presence_penalty=-0.2,
    no_repeat_ngram_size=3,
    min_new_tokens=2,
    logit_bias={300: -1, 7: 2.5},
    bad_words=["no", "never"],
    top_log_probs=5,
    num_sequences=2,
    stop=["\n\n", "中"],
    seed=4,
)


def test_defaults_are_greedy():
    config = GenerationConfig()
    assert (config.temperature, config.num_sequences, config.stop, config.seed) == (0.0, 1, (), None)


BEAMS = GenerationConfig(
    num_beams=4, num_sequences=4, num_beam_groups=2, diversity_penalty=0.5, length_penalty=0.6, early_stopping="never"
)


@pytest.mark.parametrize("config", [GenerationConfig(), CHANGED, BEAMS, GenerationConfig(json_schema={"type": "integer"})])
def test_file_gives_back_what_was_saved(config, tmp_path):
    path = config.save(tmp_path)
    assert path == tmp_path / "generation.json"
    assert GenerationConfig.load(tmp_path) == config
    assert [entry.name for entry in tmp_path.iterdir()] == ["generation.json"]


def test_a_file_of_an_older_version_is_read(tmp_path):
    """Settings that came later have their defaults."""
    (tmp_path / "generation.json").write_text('{"max_new_tokens": 5, "top_k": 7, "stop": ["a"], "seed": null}')
    assert GenerationConfig.load(tmp_path) == GenerationConfig(max_new_tokens=5, top_k=7, stop="a")


def test_biases_are_pairs_by_id_and_strings_in_json(tmp_path):
    config = GenerationConfig(logit_bias={300: -1, "7": 2.5})
    assert config.logit_bias == ((7, 2.5), (300, -1.0))
    assert config.to_dict()["logit_bias"] == {"7": 2.5, "300": -1.0}
    assert hash(config) == hash(GenerationConfig(logit_bias=[(7, 2.5), (300, -1)]))


def test_every_field_is_in_the_file(tmp_path):
    written = json.loads(CHANGED.save(tmp_path).read_text())
    assert set(written) == {field.name for field in dataclasses.fields(GenerationConfig)}


def test_no_file_means_defaults(tmp_path):
    assert GenerationConfig.load(tmp_path) == GenerationConfig()


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere' is invalid: expected a folder"):
        GenerationConfig.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "a list: expected"),
        ('{"top_q": 1}', "has no top_q"),
        ('{"top_p": 2}', "top_p=2 is invalid: expected"),
    ],
)
def test_bad_file_is_named(tmp_path, content, message):
    (tmp_path / "generation.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        GenerationConfig.load(tmp_path)
    assert "generation.json" in str(error.value)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    CHANGED.save(tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        GenerationConfig().save(tmp_path)
    assert GenerationConfig.load(tmp_path) == CHANGED


def test_replace_changes_some_and_knows_the_names():
    assert CHANGED.replace(top_k=9) == dataclasses.replace(CHANGED, top_k=9)
    with pytest.raises(
        ValueError, match=r"has no maximum, temp \(perhaps temperature\?\); its settings are max_new_tokens, min_new"
    ):
        CHANGED.replace(temp=1.0, maximum=3)


def test_one_stop_string_may_stand_alone():
    assert GenerationConfig(stop="ab").stop == ("ab",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(max_new_tokens=0), r"max_new_tokens=0 is invalid: expected an integer from 1 to 2\*\*31 - 1. Leave max_new"),
        (dict(max_new_tokens=2.0), "max_new_tokens=2.0 is invalid: expected an integer from 1"),
        (dict(max_new_tokens=True), "max_new_tokens=True is invalid: expected an integer"),
        (dict(max_new_tokens="8"), "max_new_tokens='8' is invalid: expected an integer"),
        (dict(top_k=-1), "top_k=-1 is invalid: expected an integer from 0"),
        (dict(seed=2**31), r"seed=2147483648 is invalid: expected an integer from 0 to 2\*\*31 - 1, or None"),
        (dict(temperature=-0.1), "temperature=-0.1 is invalid: expected 0 or a number from"),
        (dict(temperature=float("nan")), "temperature=nan is invalid"),
        (dict(temperature=1e39), r"temperature=1e\+39 is invalid: expected 0 or a number from 1e-09 to 1e\+09"),
        (dict(temperature=10**400), r"temperature=10{199}… is invalid"),
        (dict(frequency_penalty=-1e10), r"frequency_penalty=-10000000000.0 is invalid: expected a number from -1e\+09 to"),
        (dict(top_p=1e-46), "top_p=1e-46 is invalid: expected a number from 1e-09 to 1. Leave top_p out for the default, 1.0."),
        (dict(temperature="1"), "temperature='1' is invalid"),
        (dict(top_p=0.0), "top_p=0.0 is invalid"),
        (dict(min_p=1.0), "min_p=1.0 is invalid: expected a number of at least 0 and less than 1"),
        (dict(repetition_penalty=0.0), "repetition_penalty=0.0 is invalid: expected a number from 1e-09"),
        (dict(stop=[""]), r"stop=\[''\] is invalid: expected a non-empty string or a list of such strings"),
        (dict(stop=[1]), r"stop=\[1\] is invalid: expected a non-empty string"),
        (dict(stop="\ud800"), r"stop='\\ud800' is invalid: expected .*surrogates not allowed in UTF-8"),
        (dict(stop="a\ufffd"), r"is invalid: expected .*\(without U\+FFFD"),
        (
            dict(num_sequences=2),
            "num_sequences=2 is invalid: expected 1 with temperature=0, because .* several times",
        ),
        (dict(min_new_tokens=5, max_new_tokens=4), "min_new_tokens=5 is invalid: expected at most max_new_tokens=4"),
        (dict(no_repeat_ngram_size=-1), "no_repeat_ngram_size=-1 is invalid: expected an integer from 0"),
        (dict(frequency_penalty=float("inf")), "frequency_penalty=inf is invalid: expected a number"),
        (dict(presence_penalty=None), "presence_penalty=None is invalid: expected a number"),
        (dict(logit_bias={"a": 1.0}), r"logit_bias={'a': 1.0} is invalid: expected a dict from token id to a number"),
        (dict(logit_bias={5: "x"}), "logit_bias={5: 'x'} is invalid: expected a dict from token id to a number"),
        (dict(logit_bias=[5]), r"logit_bias=\[5\] is invalid: expected a dict"),
        (dict(logit_bias=5), "logit_bias=5 is invalid: expected a dict"),
        (dict(choices=[]), r"choices=\[\] is invalid: expected one or more non-empty strings"),
        (dict(stop=None), "stop=None is invalid: expected a non-empty string or a list of such strings"),
        (dict(bad_words=[""]), r"bad_words=\[''\] is invalid: expected a non-empty string"),
        (dict(top_log_probs=-1), "top_log_probs=-1 is invalid"),
        (dict(num_beams=0), "num_beams=0 is invalid: expected an integer from 1"),
        (dict(num_beams=2, num_sequences=3), "num_sequences=3 is invalid: expected at most num_beams=2"),
        (dict(num_beams=2, temperature=1.0), "temperature=1.0 is invalid: expected 0 with num_beams"),
        (dict(num_beams=2, top_log_probs=1), "top_log_probs=1 is invalid: expected 0 with num_beams"),
        (
            dict(num_beams=3, num_beam_groups=2),
            "num_beams=3 is invalid: expected a multiple of num_beam_groups=2. Give .*=4",
        ),
        (dict(num_beam_groups=2), "num_beam_groups=2 is invalid: expected 1 without a beam search. Leave num_beam_groups out"),
        (dict(diversity_penalty=0.5), "diversity_penalty=0.5 is invalid: expected 0 without a beam search"),
        (dict(num_beams=2, diversity_penalty=-1.0), "diversity_penalty=-1.0 is invalid: expected a number from 0"),
        (dict(penalty_alpha=1.0, top_k=4), "penalty_alpha=1.0 is invalid: expected a number of at least 0 and less than 1"),
        (dict(penalty_alpha=0.5), "top_k=0 is invalid: expected at least 2 with penalty_alpha"),
        (dict(penalty_alpha=0.5, top_k=4, num_beams=2), "num_beams=2 is invalid: expected 1 with penalty_alpha"),
        (dict(penalty_alpha=0.5, top_k=4, temperature=1.0), "temperature=1.0 is invalid: expected 0 with penalty_alpha"),
        (dict(num_draft_tokens=2, num_beams=2), "num_draft_tokens=2 is invalid: expected 0 with num_beams or penalty_alpha"),
        (dict(choices=["a"], regex="b"), "regex='b' is invalid: expected no value with choices, .* Give choices or regex"),
        (dict(choices=[""]), r"choices=\[''\] is invalid: expected one or more non-empty strings"),
        (dict(regex=3), "regex=3 is invalid: expected a string"),
        (
            dict(json_schema="{"),
            "json_schema='{' is invalid: expected a JSON schema, as a dict or as JSON text .*Exp",
        ),
        (dict(json_schema={"enum": {1}}), r"json_schema={'enum': \{1\}} is invalid: expected a JSON schema"),
        (dict(early_stopping="soon"), "early_stopping='soon' is invalid: expected True, False or 'never'"),
        (dict(early_stopping=1), "early_stopping=1 is invalid: expected True, False or 'never'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**settings)


def test_importing_it_imports_no_tensorflow():
    code = "import sys, tfllm; tfllm.GenerationConfig(); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
