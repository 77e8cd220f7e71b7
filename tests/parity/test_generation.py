"""Our texts are those of Hugging Face's `generate` with the same weights, by the golden file (`record_generation.py`)."""

import json
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, GOLDEN, weight
from generations import EOS_BIAS, MAX_NEW_TOKENS, MODELS, PROMPTS, SETTINGS

from tfllm import tasks
from tfllm.generation import GenerationConfig
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import rows_of
from tfllm.generation.shared_settings import ANY_TOKEN, SharedSettings, shared_settings_of
from tfllm.generation.tracing import functions_of, tensors_of
from tfllm.interop.configs import family_of
from tfllm.interop.huggingface import fill
from tfllm.interop.weight_mapping import weight_mapping

ANSWERS = json.loads((GOLDEN / "generation.json").read_text())


@cache
def model_of(name):
    case = CASES[name]
    model = tasks.get(case.task).model_class(case.config)
    with np.load(GOLDEN / f"{name}.npz") as file:
        shapes = {key.removeprefix("gradient/"): file[key].shape for key in file if key.startswith("gradient/")}
    fill(
        model,
        {each: weight(each, shape, 0) for each, shape in shapes.items()},
        weight_mapping(family_of(case.config), case.config, case.task),
    )
    return model


def rules_for(config: GenerationConfig, words: list[list[int]], vocab_size: int) -> SharedSettings:
    """`shared_settings_of` with bad words given as tokens; of the tokenizer only its specials and its size are asked."""
    tokenizer = type("Tokenizer", (), dict(eos_id=1, bos_id=1, vocab_size=vocab_size))
    longest = max(map(len, words), default=0)
    padded = tf.constant([[ANY_TOKEN] * (longest - len(ids)) + ids for ids in words]) if words else None
    return shared_settings_of(config, tokenizer)._replace(bad_words=padded)


SOME = [*SETTINGS[:6], *SETTINGS[6:-1:10], SETTINGS[-1]]
"""Beams of either number, stopping in every way."""


@pytest.mark.parametrize(
    ("name", "settings"),
    [(MODELS[0], SOME), *(pytest.param(name, SETTINGS, marks=pytest.mark.slow) for name in MODELS)],
    ids=[f"{MODELS[0]}, some", *MODELS],
)
def test_tokens_and_scores_are_those_of_hugging_face(name, settings):
    """Greedy with every penalty, and beams of every kind: the same texts in the same order, scores to 1e-4.

    Theirs prompt by prompt, ours all prompts in one batch.
    """
    model, answers = model_of(name), [each for each in ANSWERS if each["model"] == name]
    assert len(answers) > 90 and len({str(each["token_ids"]) for each in answers}) > 25
    for asked in settings:
        expected = [each for each in answers if each["settings"] == asked]
        changes = dict(asked)
        words, beams = changes.pop("bad_words", []), changes.get("num_beams", 1)
        if beams > 1:
            changes |= dict(logit_bias={1: EOS_BIAS[name]}, num_sequences=beams)
        config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, **changes)
        found = answer(model, [each["prompt"] for each in expected], [config] * len(PROMPTS), words)
        rows = [ids[:count].tolist() for ids, count in zip(found.token_ids.numpy(), found.num_tokens.numpy(), strict=True)]
        assert rows == [ids for each in expected for ids in each["token_ids"]], asked
        if beams == 1:
            drafting = [config.replace(num_draft_tokens=3)] * len(PROMPTS)
            drafted = answer(model, [each["prompt"] for each in expected], drafting, words)
            assert drafted.token_ids.numpy().tolist() == found.token_ids.numpy().tolist(), asked
        if beams > 1:
            scores = [score for each in expected for score in each["scores"]]
            np.testing.assert_allclose(found.scores, scores, rtol=1e-4, err_msg=str(asked))


def answer(model, rows: list[list[int]], configs: list[GenerationConfig], words: list[list[int]]):
    """`Results` by the functions that `tfllm.generate` traces, given tokens and not texts."""
    longest = max(map(len, rows))
    padded = tf.constant([row + [0] * (longest - len(row)) for row in rows])
    shared = rules_for(configs[0], words, model.config.vocab_size)
    prompts = Prompts(padded, tf.constant([len(row) for row in rows]))
    return functions_of(model, None, shared).decode(prompts, rows_of(configs), tensors_of(shared))


def test_each_setting_has_an_effect():
    """Else the equality would say nothing of it."""
    for name in MODELS:
        greedy = {
            str((each["prompt"], each["settings"])): each for each in ANSWERS if each["model"] == name and not each["scores"]
        }
        changed = {str(each["settings"]): False for each in greedy.values()}
        for each in greedy.values():
            plain = greedy[str((each["prompt"], {}))]
            changed[str(each["settings"])] |= each["token_ids"] != plain["token_ids"]
        assert all(changed[settings] for settings in changed if settings != "{}"), changed
    beams = [each for each in ANSWERS if each["scores"] and "length_penalty" in each["settings"]]
    for changed in ("length_penalty", "early_stopping", "num_beams"):
        groups = {}
        for each in beams:
            others = {key: value for key, value in each["settings"].items() if key != changed}
            groups.setdefault(str((each["model"], each["prompt"], others)), set()).add(str(each["token_ids"]))
        assert sum(len(answers) > 1 for answers in groups.values()) >= 4, changed


def test_rows_of_a_batch_are_searched_as_alone():
    """Two prompts of different lengths, one budget shorter: each as if it were alone, in one batch."""
    model = model_of("llama")
    config = GenerationConfig(num_beams=4, num_sequences=4, max_new_tokens=8, length_penalty=0.7, logit_bias={1: 2.0})
    rows, configs = [[5, 9, 12], [40, 7, 40, 7, 40, 3, 22]], [config, config.replace(max_new_tokens=4)]
    together = answer(model, rows, configs, [])
    for i, (row, each) in enumerate(zip(rows, configs, strict=True)):
        alone = answer(model, [row], [each], [])
        mine = slice(4 * i, 4 * i + 4)
        counts = together.num_tokens[mine].numpy().tolist()
        assert counts == alone.num_tokens.numpy().tolist() and max(counts) <= each.max_new_tokens
        np.testing.assert_allclose(together.scores[mine], alone.scores, rtol=1e-5)
        np.testing.assert_array_equal(together.token_ids[mine, : alone.token_ids.shape[1]], alone.token_ids)
