"""Drafts change how soon a text is there, never what it says: speculative decoding against plain decoding, token for token."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from scripted import fixed, script

import tfllm
from tfllm.generation import GenerationConfig, decoding_state, speculative, tracing
from tfllm.generation.drafting import prompt_lookup
from tfllm.generation.model_steps import Prompts
from tfllm.generation.penalties import Past
from tfllm.generation.row_settings import rows_of
from tfllm.generation.shared_settings import ALL_OFF, Drafts
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = ["hello, wor", "é", "abcabcab", "def f(x):\n    return"]
ROWS = [
    GenerationConfig(max_new_tokens=30),
    GenerationConfig(max_new_tokens=24, temperature=0.5, seed=5, repetition_penalty=1.2, min_new_tokens=7),
    GenerationConfig(max_new_tokens=40, temperature=0.9, top_k=12, top_p=0.9, min_p=0.02, seed=3, frequency_penalty=0.2),
    GenerationConfig(max_new_tokens=17, no_repeat_ngram_size=5, presence_penalty=0.1),
]
"""Each prompt with settings of its own."""


def small(preset="llama-tiny", layers=1, seed=1, **changes):
    keras.utils.set_random_seed(seed)
    sizes = dict(vocab_size=TOKENIZER.vocab_size, initializer_range=0.3, num_layers=layers)
    return tfllm.CausalLM(tfllm.preset(preset, **sizes | changes))


def assert_equal(drafted, plain):
    for mine, theirs in zip(drafted, plain, strict=True):
        assert (mine.token_ids, mine.text, mine.finish_reason) == (theirs.token_ids, theirs.text, theirs.finish_reason)
        np.testing.assert_allclose(mine.log_probs, theirs.log_probs, atol=1e-4)
        assert 0 <= mine.num_accepted_tokens <= mine.num_draft_tokens
        for step, other in zip(mine.top_log_probs, theirs.top_log_probs, strict=True):
            assert [each.token_id for each in step] == [each.token_id for each in other]


@pytest.mark.parametrize(
    ("preset", "drafts"), [pytest.param("llama-tiny", "looked up", marks=pytest.mark.slow), ("gpt2-tiny", "by a model")]
)
def test_every_setting_gives_the_text_of_plain_decoding(preset, drafts):
    """Greedy and drawn rows, ragged prompts, budgets, penalties, stop strings, bad words and alternatives in one batch."""
    # So few tokens that looking up finds some, and that stop strings, bad words and the separator come to be.
    shared = dict(stop=["abba", "dcd", "ccaa"], bad_words=["ad", "bb"], top_log_probs=2)
    shared["logit_bias"] = dict.fromkeys(TOKENIZER.encode("abcd"), 25.0) | {1: 21.0}
    model = small(preset, layers=2)
    draft_model = small(preset) if drafts == "by a model" else None
    plain = tfllm.generate(model, TOKENIZER, PROMPTS, ROWS, **shared)
    drafted = tfllm.generate(model, TOKENIZER, PROMPTS, ROWS, draft_model=draft_model, num_draft_tokens=3, **shared)
    assert_equal(drafted, plain)
    accepted = [record.num_accepted_tokens for record in drafted]
    assert sum(accepted) > 5 and len(set(accepted)) > 1, "rows accept, and differ in it"
    assert {record.finish_reason for record in plain} >= {"length", "stop"}


@pytest.mark.slow
def test_constrained_text(llama):
    """The automaton is followed at every drafted place; a draft model keeps to it, too."""
    settings = dict(max_new_tokens=30, choices=["yes and yes and yes and no", "yes and no", "no"], num_sequences=4)
    settings |= dict(temperature=1.5, seed=2)
    plain = tfllm.generate(llama, TOKENIZER, PROMPTS[:2], **settings)
    drafted = tfllm.generate(llama, TOKENIZER, PROMPTS[:2], **settings, num_draft_tokens=4, draft_model=llama)
    assert_equal(drafted, plain)
    assert len({record.text for record in plain}) > 1
    assert all(record.num_draft_tokens == record.num_accepted_tokens > 0 for record in drafted)


def run(model, config, ids, draft_model=None, ngram_size=3):
    """`speculative.decode`, called eagerly."""
    longest = max(map(len, ids))
    prompts = Prompts(tf.constant([row + [0] * (longest - len(row)) for row in ids]), tf.constant([len(row) for row in ids]))
    shared = ALL_OFF._replace(drafts=Drafts(config.num_draft_tokens, ngram_size))
    return speculative.decode(model, prompts, rows_of([config] * len(ids)), shared, draft_model)


def test_a_model_accepts_all_of_its_own_drafts():
    """Drawn ones, too: the random number of a place is the same for both. One token a round comes without a draft."""
    model = small()
    for settings in (dict(), dict(temperature=1.0, seed=4)):
        config = GenerationConfig(max_new_tokens=12, num_draft_tokens=4, **settings)
        found = run(model, config, [[1, 70], [1, 80, 81, 82]], model)
        count, drafted = found.num_tokens.numpy(), found.num_draft_tokens.numpy()
        assert drafted.tolist() == found.num_accepted_tokens.numpy().tolist()
        assert drafted[count == 12].tolist() == [4 + 4 + 0] * (count == 12).sum()


def test_a_wrong_draft_costs_nothing_but_time():
    """The scripted model says 70 71 … whatever is read; its drafts come from a model that says other things."""
    model, wrong = script(259, [70, 71, 72, 1], 2), script(259, [70, 90, 90, 90], 2)
    config = GenerationConfig(max_new_tokens=9, num_draft_tokens=2)
    found = run(model, config, [[1, 5], [1, 6]], wrong)
    assert found.token_ids.numpy().tolist() == [[70, 71, 72, 1]] * 2
    assert found.finish.numpy().tolist() == [decoding_state.EOS] * 2
    assert found.num_accepted_tokens.numpy().tolist() == [0, 0]
    assert found.num_draft_tokens.numpy().tolist() == [6, 6]


@pytest.mark.parametrize("drafter", [None, [0.0, 0.0, 0.1, 0.2, 0.7]])
def test_the_models_distribution_whatever_the_drafts(drafter):
    """Pairs of tokens of 20,000 sequences are the product of the model's own two distributions."""
    probabilities = np.array([0.0, 0.0, 0.5, 0.3, 0.2])
    model = fixed(np.log(np.maximum(probabilities, 1e-9)))
    draft_model = None if drafter is None else fixed(np.log(np.maximum(drafter, 1e-9)))
    config = GenerationConfig(max_new_tokens=4, temperature=1.0, num_sequences=20_000, seed=0, num_draft_tokens=2)
    found = run(model, config, [[1, 2, 3, 2, 4, 2]], draft_model, ngram_size=1)
    accepted = found.num_accepted_tokens.numpy().sum() / found.num_draft_tokens.numpy().sum()
    assert 0.2 < accepted < 0.8
    expected = 20_000 * np.outer(probabilities, probabilities)[2:, 2:]
    for first in range(3):
        pairs = np.zeros([5, 5])
        np.add.at(pairs, tuple(found.token_ids.numpy()[:, first : first + 2].T), 1)
        assert np.sum((pairs[2:, 2:] - expected) ** 2 / expected) < 20.1  # 1%, 8 degrees of freedom


def test_prompt_lookup_rows_of_the_docstring():
    rows = [[5, 6, 7, 8, 5, 6], [5, 6, 5], [5, 6, 7]]
    for prompted in (1, 2, 3):
        # However the row is cut into prompt and continuation.
        longest = max(len(row) - prompted for row in rows)
        said = tf.transpose(tf.constant([row[prompted:] + [0] * (longest - len(row) + prompted) for row in rows]))
        prompts = Prompts(tf.constant([[*row[:prompted], 0] for row in rows]), tf.fill([3], prompted))
        past = Past(prompts, said, tf.constant([len(row) - prompted for row in rows]), tf.zeros(3, tf.int32))
        draft = prompt_lookup(past, num_tokens=3, ngram_size=2)
        assert draft.count.numpy().tolist() == [3, 3, 0]
        assert draft.token_ids.numpy()[:2].tolist() == [[7, 8, 5], [6, 5, 6]]


def test_the_longest_match_wins_then_the_latest():
    def first(row, size):
        prompts = Prompts(tf.constant([row]), tf.constant([len(row)]))
        past = Past(prompts, tf.zeros([1, 1], tf.int32), tf.constant([0]), tf.constant([0]))
        return int(prompt_lookup(past, num_tokens=1, ngram_size=size).token_ids[0, 0])

    row = [8, 5, 6, 20, 7, 6, 21, 5, 6, 22, 6, 23, 8, 5, 6]
    assert [first(row, size) for size in (1, 2, 3, 9)] == [23, 22, 20, 20]


def test_stream_equals_generate_and_keeps_no_model_alive():
    model, draft_model = small(), small(hidden_size=32)
    settings = dict(max_new_tokens=25, temperature=0.6, seed=7, num_draft_tokens=4, draft_model=draft_model)
    [record] = tfllm.generate(model, TOKENIZER, "abcabc", **settings)
    assert "".join(tfllm.stream(model, TOKENIZER, "abcabc", **settings)) == record.text
    assert record.text and record.num_draft_tokens > 4
    gone = [weakref.ref(draft_model), *map(weakref.ref, tracing._DRAFTED[draft_model][model].values())]
    del draft_model, settings
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_what_does_not_go_together_is_refused(llama):
    for settings in (dict(num_beams=2), dict(penalty_alpha=0.5, top_k=4)):
        with pytest.raises(
            ValueError,
            match=r"num_draft_tokens=3 is invalid: expected 0 with num_beams.* Leave num_draft_tokens out",
        ):
            GenerationConfig(num_draft_tokens=3, **settings)
    with pytest.raises(ValueError, match="max_matching_ngram_size=0 is invalid: expected an integer from 1"):
        GenerationConfig(max_matching_ngram_size=0)
    wanted = {
        "num_draft_tokens=0 is invalid: expected at least 1 with draft_model": (dict(num_draft_tokens=0), small()),
        "draft_model is invalid: .*the tokenizer has 259 ids, the model's vocabulary 300": ({}, small(vocab_size=300)),
        "draft_model is invalid: expected positions that reach as far.*max_length=64": (
            {},
            small("gpt2-tiny"),
        ),
    }
    for message, (settings, draft_model) in wanted.items():
        for call in (tfllm.generate, tfllm.stream):
            with pytest.raises(ValueError, match=message):
                call(llama, TOKENIZER, "a", draft_model=draft_model, **dict(num_draft_tokens=2) | settings)
