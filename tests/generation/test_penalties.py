"""Each change of the scores against plain Python over lists; the pipeline on rows of different settings."""

import numpy as np
import pytest
import tensorflow as tf
from scripted import RuleModel, fixed

import tfllm
from tfllm.generation import GenerationConfig, decode
from tfllm.generation.model_steps import Prompts
from tfllm.generation.penalties import (
    Past,
    adjust_logits,
    apply_count_penalties,
    apply_repetition_penalty,
    completes,
    last_tokens,
    penalties_wanted,
    prompt_and_continuation,
    repeats,
)
from tfllm.generation.row_settings import rows_of
from tfllm.generation.shared_settings import ALL_OFF, shared_settings_of
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
CUT = -np.inf


def past_of(prompts: list[list[int]], said: list[list[int]]) -> Past:
    """Rows of prompts of any lengths, and of continuations of one length."""
    longest = max(map(len, prompts))
    padded = tf.constant([row + [0] * (longest - len(row)) for row in prompts])
    room = tf.zeros([2, len(prompts)], tf.int32)  # steps to come
    nowhere = tf.zeros(len(prompts), tf.int32)
    tokens = tf.concat([tf.transpose(tf.constant(said, tf.int32, [len(said), len(said[0])])), room], 0)
    prompted = Prompts(padded, tf.constant([len(row) for row in prompts]))
    return Past(prompted, tokens, tf.constant([len(row) for row in said]), nowhere)


def by_python(logits: np.ndarray, prompt: list[int], said: list[int], config: GenerationConfig) -> np.ndarray:
    """The settings as their docstrings say, one row, loops only. The separator is 1."""
    scores, history = logits.astype(np.float64), prompt + said
    for token in set(history) - {1}:
        by = config.repetition_penalty
        scores[token] = scores[token] / by if scores[token] > 0 else scores[token] * by
    for token in set(said):
        scores[token] -= said.count(token) * config.frequency_penalty + config.presence_penalty
    if n := config.no_repeat_ngram_size:
        for token in set(range(len(scores))) - {1}:
            grams = [tuple(history[i : i + n]) for i in range(len(history) - n + 1)]
            if len(history) >= n - 1 and (*history[len(history) - n + 1 :], token) in grams:
                scores[token] = CUT
    if len(said) < config.min_new_tokens:
        scores[1] = CUT
    return scores


def test_penalty_rows_of_the_docstring():
    found = apply_repetition_penalty(tf.constant([[2.0, -1.0, 0.5]]), tf.constant([[True, True, False]]), tf.constant([2.0]))
    assert found.numpy().tolist() == [[1.0, -2.0, 0.5]]


def test_penalty_is_the_rows_own():
    logits, seen = tf.constant([[4.0], [4.0]]), tf.constant([[True], [True]])
    assert apply_repetition_penalty(logits, seen, tf.constant([2.0, 0.5])).numpy().tolist() == [[2.0], [8.0]]


def test_count_penalties_rows_of_the_docstring():
    counts = tf.constant([[2, 1, 0]])
    found = apply_count_penalties(
        tf.constant([[2.0, -1.0, 0.5]]), counts, frequency=tf.constant([0.5]), presence=tf.constant([0.25])
    )
    assert found.numpy().tolist() == [[0.75, -1.75, 0.5]]


def test_repeats_rows_of_the_docstring():
    ids, lengths = tf.constant([[5, 6, 7, 5, 6], [5, 5, 0, 0, 0]]), tf.constant([5, 2])
    found = repeats(ids, lengths, tf.constant([3, 1]), 9).numpy()
    assert [np.flatnonzero(row).tolist() for row in found] == [[7], [5]]
    assert not repeats(ids, lengths, tf.constant([0, 4]), 9).numpy().any()


def test_an_n_gram_longer_than_every_row_takes_no_longer():
    """The loop over its tokens ends with the row: 2^31 passes would take hours."""
    ids, lengths = tf.constant([[5, 5, 5]]), tf.constant([3])
    for size in (4, 2**31 - 1):
        assert not repeats(ids, lengths, tf.constant([size]), 9).numpy().any()


def test_completes_rows_of_the_docstring():
    sequences = tf.constant([[-1, 5, 6], [5, 7, 9], [-1, -1, 9]])
    found = completes(tf.constant([[8, 5], [5, 7]]), sequences, 11).numpy()
    assert [np.flatnonzero(row).tolist() for row in found] == [[6, 9], [9]]


def test_history_has_no_gaps():
    past = past_of([[1, 8, 9], [1]], [[5, 6], [7, 7]])
    end = tf.int32.max
    assert prompt_and_continuation(past).numpy().tolist() == [[1, 8, 9, 5, 6], [1, 7, 7, end, end]]


def test_last_tokens_of_rows_shorter_than_that():
    """What stands before a row's beginning is no token, and begins no bad word."""
    none = tf.int32.max
    past = past_of([[5], [5, 8]], [[], []])
    assert last_tokens(past, 3).numpy().tolist() == [[none, none, 5], [none, 5, 8]]
    shared = ALL_OFF._replace(bad_words=tf.constant([[5, 5, 6]]))
    settings = rows_of([GenerationConfig()] * 2)
    found = adjust_logits(tf.zeros([2, 9]), past, settings, shared, wanted=tf.constant(False)).numpy()
    assert not np.isinf(found).any()


def test_what_opens_and_closes_a_text_is_not_penalised():
    past = past_of([[3, 5]], [[6, 1]])
    settings = rows_of([GenerationConfig(repetition_penalty=2.0)])
    shared = ALL_OFF._replace(eos_id=1, bos_id=3)
    found = adjust_logits(tf.ones([1, 8]), past, settings, shared, wanted=tf.constant(True)).numpy()
    assert found.tolist() == [[1, 1, 1, 1, 1, 0.5, 0.5, 1]]


SETTINGS = [
    dict(),
    dict(repetition_penalty=1.7),
    dict(frequency_penalty=0.3),
    dict(presence_penalty=-0.4),
    *(dict(no_repeat_ngram_size=n) for n in (1, 2, 3, 4, 9)),
    dict(min_new_tokens=9),
    dict(min_new_tokens=6),
    dict(repetition_penalty=0.8, frequency_penalty=0.1, presence_penalty=0.2, no_repeat_ngram_size=2, min_new_tokens=7),
]


def test_every_row_is_adjusted_by_its_own_settings():
    """Few tokens, so that n-grams do come back."""
    random = np.random.default_rng(0)
    configs = [GenerationConfig(max_new_tokens=9, **settings) for settings in SETTINGS for _ in range(6)]
    prompts = [[1, *random.integers(2, 6, random.integers(0, 12)).tolist()] for _ in configs]
    said = [random.integers(2, 6, 6).tolist() for _ in configs]
    logits = random.normal(0, 2, [len(configs), 7]).astype(np.float32)
    settings = rows_of(configs)
    wanted = penalties_wanted(settings)
    found = adjust_logits(tf.constant(logits), past_of(prompts, said), settings, ALL_OFF, wanted=wanted).numpy()
    changed = 0
    for i, config in enumerate(configs):
        expected = by_python(logits[i], prompts[i], said[i], config)
        np.testing.assert_allclose(found[i], expected, atol=1e-5, err_msg=f"{config}")
        changed += bool((np.isinf(expected)).any())
    assert changed > 20


def test_nothing_wanted_changes_nothing():
    plain = rows_of([GenerationConfig(max_new_tokens=9)] * 2)
    assert not bool(penalties_wanted(plain))
    for settings in SETTINGS[1:]:
        assert bool(penalties_wanted(rows_of([GenerationConfig(max_new_tokens=9), GenerationConfig(**settings)])))


def test_a_row_without_a_token_left_is_not_bound():
    """Of two tokens and the separator none is left: the n-gram rule and the least length give way for this step."""
    model = fixed(np.log(np.array([1e-9, 0.6, 0.3, 0.1])))
    config = GenerationConfig(max_new_tokens=3, min_new_tokens=3, no_repeat_ngram_size=1)
    prompts = Prompts(tf.constant([[1, 0]]), tf.constant([2]))
    state = decode.decode(model, prompts, rows_of([config]))
    assert state.tokens[:, 0].numpy().tolist() == [2, 3, 1]


def test_the_least_length_holds_the_separator_back():
    model = fixed(np.log(np.array([1e-9, 0.6, 0.4])))
    prompts = Prompts(tf.constant([[1, 2], [1, 2]]), tf.constant([2, 2]))
    configs = [GenerationConfig(max_new_tokens=5, min_new_tokens=count) for count in (3, 0)]
    state = decode.decode(model, prompts, rows_of(configs))
    assert state.num_tokens.numpy().tolist() == [4, 1]
    assert state.tokens.numpy()[:, 0].tolist() == [2, 2, 2, 1, 0]


def test_a_bias_moves_the_choice():
    model = fixed(np.zeros(TOKENIZER.vocab_size))
    bias = {70: 2.0, 71: 3.0, 72: -5.0}
    assert tfllm.generate(model, TOKENIZER, "a", max_new_tokens=2, logit_bias=bias)[0].token_ids == [71, 71]
    [record] = tfllm.generate(model, TOKENIZER, "a", max_new_tokens=1, logit_bias={1: 1.0})
    assert record.token_ids == [1]
    assert record.log_probs[0] == pytest.approx(-np.log(TOKENIZER.vocab_size)), "the model's own, without the bias"
    with pytest.raises(ValueError, match=r"is invalid: expected token ids from 0 to 258\. Leave the token id 259 out"):
        tfllm.generate(model, TOKENIZER, "a", logit_bias={259: 1.0})


def in_turn(said: str):
    """A model that says the letters of `said` in turn, whatever the prompt, with the next best letter close behind."""
    order = tf.constant(TOKENIZER.encode(said))

    def rule(token, position):
        places = tf.where(tf.reduce_any(order == token[:, None], 1), tf.argmax(order == token[:, None], 1) + 1, 0)
        ahead = tf.gather(order, (places[:, None] + tf.range(3, dtype=tf.int64)) % len(said))
        return tf.reduce_sum(tf.one_hot(ahead, TOKENIZER.vocab_size) * tf.constant([3.0, 2.0, 1.0])[:, None], 1)

    return RuleModel(TOKENIZER.vocab_size, rule)


def test_bad_words_are_never_completed():
    """Behind "ab" comes "d" where it would have been "c"; a word begun in the prompt counts; others go on."""
    model = in_turn("abcdef")
    assert tfllm.generate(model, TOKENIZER, "x", max_new_tokens=5)[0].text == "abcde"
    assert tfllm.generate(model, TOKENIZER, "x", max_new_tokens=5, bad_words=["abc"])[0].text == "abdef"
    assert tfllm.generate(model, TOKENIZER, "xa", max_new_tokens=3, bad_words="abc")[0].text == "bde"
    several = tfllm.generate(model, TOKENIZER, ["x", "c"], max_new_tokens=4, bad_words=["abc", "e"])
    assert [record.text for record in several] == ["abdf", "dfab"]


class Spaced:
    """Words with their spaces as tokens, as byte-level BPE has them."""

    vocab_size, eos_id, bos_id, unk_id, detokenize = 60, 1, 1, 2, None

    def encode(self, word):
        return {"no": [10], " no": [11], "never": [12, 13], " never": [14], "oh no": [15, 11], " oh no": [16, 11]}[word]


def test_bad_words_are_tokenized_with_and_without_a_space():
    """The rows of bytes in the docstring without the needless ones, and a word whose two spellings share nothing."""
    shared = shared_settings_of(GenerationConfig(bad_words=["ab", "c"]), TOKENIZER)
    assert shared.bad_words.numpy().tolist() == [[100, 101], [-1, 102]]
    found = shared_settings_of(GenerationConfig(bad_words=["no", "never", "oh no"]), Spaced()).bad_words
    assert found.numpy().tolist() == [[-1, 10], [-1, 11], [12, 13], [-1, 14]]


def test_the_most_probable_tokens_of_each_step(llama):
    """Greedy: the first of them is the token itself; all are those of the full forward's softmax."""
    records = tfllm.generate(llama, TOKENIZER, ["hello", "é"], max_new_tokens=6, top_log_probs=3)
    for prompt, record in zip(["hello", "é"], records, strict=True):
        assert len(record.top_log_probs) == record.num_tokens
        ids = [1, *TOKENIZER.encode(prompt), *record.token_ids]
        expected = tf.math.top_k(tf.nn.log_softmax(llama({"token_ids": tf.constant([ids])}))[0], 3)
        first = len(ids) - record.num_tokens - 1
        for step, (token, log_prob) in enumerate(zip(record.token_ids, record.log_probs, strict=True)):
            found = record.top_log_probs[step]
            assert found[0].token_id == token and found[0].log_prob == pytest.approx(log_prob, abs=1e-6)
            assert [each.token_id for each in found] == expected.indices[first + step].numpy().tolist()
            np.testing.assert_allclose([each.log_prob for each in found], expected.values[first + step], atol=1e-4)
    assert tfllm.generate(llama, TOKENIZER, "a", max_new_tokens=2)[0].top_log_probs == []
    with pytest.raises(ValueError, match="top_log_probs=300 is invalid: expected at most the 259 tokens"):
        tfllm.generate(llama, TOKENIZER, "a", max_new_tokens=9, top_log_probs=300)


def test_the_separator_is_the_tokenizers(llama):
    """Of Hugging Face's vocabularies it is not 1, and 0 and 1 are tokens like others."""

    class Other(ByteTokenizer):
        eos_id = bos_id = 258

        def fingerprint(self):
            return "other"

    model = fixed(np.log(np.array([0.3, 0.4, *[1e-9] * 256, 0.2])))
    said = tfllm.generate(model, Other(), "a", max_new_tokens=3)
    assert said[0].token_ids == [1, 1, 1] and said[0].finish_reason == "length"
    assert tfllm.generate(model, Other(), "a", max_new_tokens=3, logit_bias={258: 9.0})[0].finish_reason == "eos"
    assert tfllm.generate(model, Other(), "a", max_new_tokens=3, repetition_penalty=5.0)[0].token_ids == [1, 0, 258]


def test_prompts_have_settings_of_their_own(llama):
    """Each as if it were alone; what all share may not differ."""
    configs = [
        GenerationConfig(max_new_tokens=4),
        GenerationConfig(max_new_tokens=9, temperature=1.0, seed=4, presence_penalty=1.0),
        GenerationConfig(max_new_tokens=12, min_new_tokens=12, no_repeat_ngram_size=1),
    ]
    prompts = ["hello", "é", ""]
    together = tfllm.generate(llama, TOKENIZER, prompts, configs)
    alone = [tfllm.generate(llama, TOKENIZER, *each)[0] for each in zip(prompts, configs, strict=True)]
    assert [record.token_ids for record in together] == [record.token_ids for record in alone]
    assert len(set(together[2].token_ids)) == 12
    with pytest.raises(ValueError, match="one for each of the 3 prompts, got 2"):
        tfllm.generate(llama, TOKENIZER, prompts, configs[:2])
    with pytest.raises(ValueError, match="expected the same stop for all prompts of a call"):
        tfllm.generate(llama, TOKENIZER, prompts, [configs[0].replace(stop="a"), *configs[1:]])


@pytest.mark.slow
def test_stream_equals_generate(llama):
    settings = dict(max_new_tokens=14, temperature=1.2, seed=6, presence_penalty=2.0, no_repeat_ngram_size=2)
    settings |= dict(bad_words=["a"], logit_bias={9: 3.0}, top_log_probs=2)
    [record] = tfllm.generate(llama, TOKENIZER, "é", **settings)
    assert "".join(tfllm.stream(llama, TOKENIZER, "é", **settings)) == record.text
