"""Names of Transformers' `GenerationConfig` and of OpenAI: what each becomes, or what is said of it; and the advice works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tfllm.generation import GenerationConfig
from tfllm.generation.other_names import ANSWERS, RENAMED

# Those of `transformers.GenerationConfig()` 5.24 that are no settings here; tests/parity looks whether there are others.
ELSEWHERE = """
    max_length min_length max_time stop_strings do_sample use_mtp use_cache cache_implementation cache_config max_cache_len
    top_h typical_p epsilon_cutoff eta_cutoff encoder_repetition_penalty bad_words_ids renormalize_logits
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens sequence_bias token_healing guidance_scale watermarking_config num_return_sequences
    output_attentions output_hidden_states output_scores output_logits return_dict_in_generate pad_token_id bos_token_id
    eos_token_id encoder_no_repeat_ngram_size decoder_start_token_id is_assistant num_assistant_tokens
    num_assistant_tokens_schedule assistant_confidence_threshold prompt_lookup_num_tokens assistant_early_exit
    assistant_lookbehind target_lookbehind assistant_ensemble_weight speculation_type compile_config disable_compile
    continuous_batching_config low_memory dola_layers constraints force_words_ids prefill_chunk_size _from_model_config
    transformers_version assistant_model streamer logits_processor stopping_criteria prefix_allowed_tokens_fn
"""


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (dict(num_return_sequences=2, temperature=0.8), dict(num_sequences=2, temperature=0.8)),
        (dict(stop_strings=["\n"]), dict(stop="\n")),
        (dict(prompt_lookup_num_tokens=10), dict(num_draft_tokens=10)),
        (dict(max_tokens=5, n=2, temperature=1), dict(max_new_tokens=5, num_sequences=2, temperature=1.0)),  # OpenAI's
        # Transformers draws from the 50 most probable tokens where nothing else is said.
        (dict(do_sample=True), dict(temperature=1.0, top_k=50)),
        (dict(do_sample=True, temperature=0.7), dict(temperature=0.7, top_k=50)),
        (dict(do_sample=True, top_k=0), dict(temperature=1.0, top_k=0)),
        (dict(do_sample=False), {}),
        (dict(do_sample=False, temperature=1.0), {}),
        (dict(num_beams=4, num_return_sequences=4, do_sample=False), dict(num_beams=4, num_sequences=4)),
        # What Transformers writes where nothing was set.
        (dict(typical_p=1.0, epsilon_cutoff=0.0, use_cache=True, pad_token_id=None, output_scores=False, min_length=0), {}),
        (dict(do_sample=None, num_return_sequences=None, max_length=None, stop_strings=None), {}),
    ],
)
def test_a_name_that_means_the_same_is_taken(given: dict, ours: dict) -> None:
    assert GenerationConfig(**given) == GenerationConfig(**ours)
    assert GenerationConfig().replace(**given) == GenerationConfig(**ours)
    assert GenerationConfig.from_dict(given) == GenerationConfig(**ours)


def test_do_sample_changes_what_was_set_before() -> None:
    drawn = GenerationConfig(temperature=0.7, top_p=0.9)
    assert drawn.replace(do_sample=True) == drawn
    assert drawn.replace(do_sample=False) == GenerationConfig(top_p=0.9)


def test_every_name_of_transformers_is_known() -> None:
    assert set(ELSEWHERE.split()) <= {*RENAMED, *ANSWERS, "do_sample"}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_the_others_are_answered_by_names_that_there_are(name: str) -> None:
    """Every `name=` of the advice is a setting, or an argument of `generate`."""
    with pytest.raises(ValueError, match=rf"^{name}='some' is invalid: expected a setting that exists here\. .") as error:
        GenerationConfig(**{name: "some"})
    advice = str(error.value).partition(" exists here. ")[2]
    known = {*GenerationConfig().to_dict(), "draft_model", "config"}
    assert set(re.findall(r"(\w+)=", advice)) <= known
    assert re.search(r"Leave it out|\w+=|prompt|GenerationConfig\.save", advice), "the advice says what to do"


@pytest.mark.parametrize(
    ("given", "message", "followed"),
    [
        (
            dict(max_length=20),
            "max_length=20 is invalid: expected a setting that exists here. Give max_new_tokens=…",
            dict(max_new_tokens=20),
        ),
        (dict(typical_p=0.9), "Give top_p=0.9 or min_p=0.05", dict(top_p=0.9)),
        (dict(typical_p=0.9), "Give top_p=0.9 or min_p=0.05", dict(min_p=0.05)),
        (dict(suppress_tokens=[7]), "logit_bias={id: -1e9}", dict(logit_bias={7: -1e9})),
        (dict(dola_layers="low"), "penalty_alpha=0.6 with top_k=4", dict(penalty_alpha=0.6, top_k=4)),
        (dict(output_scores=True), "top_log_probs=5", dict(top_log_probs=5)),
        (dict(best_of=4), "num_beams=… with num_sequences=1", dict(num_beams=4, num_sequences=1)),
        (dict(do_sample=1), "expected True or False. Give temperature=1.0 to draw", dict(temperature=1.0)),
        (dict(do_sample=True, temperature=0), "Leave temperature or do_sample out", dict(do_sample=True)),
        (dict(do_sample=False, temperature=0.5), "Leave temperature or do_sample out", dict(do_sample=False)),
        (dict(n=2, num_sequences=2, temperature=1), "n=2 is invalid: .* Leave n out", dict(num_sequences=2, temperature=1)),
        (dict(skip_special_tokens=False), "Leave it out: special tokens are never in the text", dict(skip_special_tokens=True)),
        (dict(batch_size=8), "all prompts are one batch", {}),
        (dict(skip_specials=True), "GenerationConfig has no skip_specials; its settings are", {}),
        (dict(temprature=0.5), r"has no temprature \(perhaps temperature\?\)", dict(temperature=0.5)),
    ],
)
def test_advice_followed(given: dict, message: str, followed: dict) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**given)
    GenerationConfig(**followed)


def test_a_file_in_the_words_of_transformers(tmp_path: Path) -> None:
    path = tmp_path / "generation.json"
    path.write_text(json.dumps({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "num_return_sequences": 1}))
    assert GenerationConfig.load(tmp_path) == GenerationConfig(temperature=0.6, top_p=0.9, top_k=50)
    path.write_text(json.dumps({"eos_token_id": [1, 2], "transformers_version": "5.0.0"}))
    with pytest.raises(ValueError, match=r"generation\.json: eos_token_id=\[1, 2\] is invalid: .* the tokenizer has this id"):
        GenerationConfig.load(tmp_path)
