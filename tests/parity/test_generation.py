"""Our texts are those of Hugging Face's `generate` with the same weights, by the golden file (`record_generation.py`)."""

import json
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, GOLDEN, weight
from generations import EOS_BIAS, MAX_NEW_TOKENS, MODELS

from tfllm.generation import GenerationConfig, text
from tfllm.generation.reading import Prompts
from tfllm.generation.rules import ANY_TOKEN, Rules, rules_of
from tfllm.generation.strategies import continuations
from tfllm.interop.configs import family_of
from tfllm.interop.huggingface import fill
from tfllm.interop.places import places
from tfllm.models.folder import TASKS

ANSWERS = json.loads((GOLDEN / "generation.json").read_text())


@cache
def model_of(name):
    case = CASES[name]
    model = TASKS[case.task](case.config)
    with np.load(GOLDEN / f"{name}.npz") as file:
        shapes = {key.removeprefix("gradient/"): file[key].shape for key in file if key.startswith("gradient/")}
    fill(
        model,
        {each: weight(each, shape, 0) for each, shape in shapes.items()},
        places(family_of(case.config), case.config, case.task),
    )
    return model


def rules_for(config: GenerationConfig, words: list[list[int]], vocab_size: int) -> Rules:
    """`rules_of` with bad words given as tokens; of the tokenizer only its specials and its size are asked."""
    tokenizer = type("Tokenizer", (), dict(eos_id=1, bos_id=1, vocab_size=vocab_size))
    longest = max(map(len, words), default=0)
    padded = tf.constant([[ANY_TOKEN] * (longest - len(ids)) + ids for ids in words]) if words else None
    return rules_of(config, tokenizer)._replace(bad_words=padded)


@pytest.mark.parametrize("name", MODELS)
def test_tokens_and_scores_are_those_of_hugging_face(name):
    """Greedy with every penalty, and beams of every kind: the same texts in the same order, scores to 1e-4."""
    model, answers = model_of(name), [each for each in ANSWERS if each["model"] == name]
    assert len(answers) > 90 and len({str(each["token_ids"]) for each in answers}) > 25
    for answer in answers:
        settings = dict(answer["settings"])
        words, beams = settings.pop("bad_words", []), settings.get("num_beams", 1)
        if beams > 1:
            settings |= dict(logit_bias={1: EOS_BIAS[name]}, num_sequences=beams)
        config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, **settings)
        prompt = answer["prompt"]
        prompts = Prompts(tf.constant([prompt]), tf.constant([len(prompt)]))
        rules = rules_for(config, words, model.config.vocab_size)
        found = continuations(model, prompts, text._rows([config]), rules)
        rows = [ids[:count].tolist() for ids, count in zip(found.token_ids.numpy(), found.num_tokens.numpy(), strict=True)]
        assert rows == answer["token_ids"], answer
        if beams > 1:
            np.testing.assert_allclose(found.scores, answer["scores"], rtol=1e-4, err_msg=str(answer))


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
    config = GenerationConfig(num_beams=3, num_sequences=3, max_new_tokens=8, length_penalty=0.7)
    rules = rules_for(config, [], model.config.vocab_size)._replace(bias=tf.one_hot(1, model.config.vocab_size) * 2.0)
    rows, budgets = [[5, 9, 12], [40, 7, 40, 7, 40, 3, 22]], [8, 4]
    configs = [config.replace(max_new_tokens=budget) for budget in budgets]
    padded = tf.constant([row + [0] * (7 - len(row)) for row in rows])
    together = continuations(model, Prompts(padded, tf.constant([3, 7])), text._rows(configs), rules)
    for i, (row, each) in enumerate(zip(rows, configs, strict=True)):
        alone = continuations(model, Prompts(tf.constant([row]), tf.constant([len(row)])), text._rows([each]), rules)
        counts = together.num_tokens[3 * i : 3 * i + 3].numpy().tolist()
        assert counts == alone.num_tokens.numpy().tolist() and max(counts) <= each.max_new_tokens
        np.testing.assert_allclose(together.scores[3 * i : 3 * i + 3], alone.scores, rtol=1e-5)
        width = alone.token_ids.shape[1]
        np.testing.assert_array_equal(together.token_ids[3 * i : 3 * i + 3, :width], alone.token_ids)
