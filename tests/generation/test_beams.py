"""Beam search against all continuations there are, and against the plainest program of it; Hugging Face's: tests/parity."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from scripted import RuleModel, fixed, script

import tfllm
from tfllm.generation import GenerationConfig
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import rows_of
from tfllm.generation.shared_settings import SharedSettings, Stop, shared_settings_of, stop_pattern
from tfllm.generation.strategies import continue_prompts
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
EOS = 1


def drifting(vocabulary: int, seed: int, spread: float = 1.5) -> tuple[RuleModel, np.ndarray]:
    """A model whose scores depend on token and position, and their log-probabilities [positions, V, V]."""
    logits = np.random.default_rng(seed).normal(0, spread, [20, vocabulary, vocabulary]).astype(np.float32)
    table = tf.constant(logits)
    model = RuleModel(vocabulary, lambda token, position: tf.gather_nd(table, tf.stack([position, token], 1)))
    return model, logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))


def ours(model, prompt: list[int], config: GenerationConfig, shared: SharedSettings | None = None):
    """(tokens, score) of every continuation given."""
    tokenizer = type("Tokenizer", (), dict(eos_id=EOS, bos_id=EOS, vocab_size=model.config.vocab_size))
    shared = (shared or SharedSettings())._replace(beams=shared_settings_of(config, tokenizer).beams)
    found = continue_prompts(model, Prompts(tf.constant([prompt]), tf.constant([len(prompt)])), rows_of([config]), shared)
    rows = zip(found.token_ids.numpy(), found.num_tokens.numpy(), found.scores.numpy(), strict=True)
    return [(ids[:count].tolist(), float(score)) for ids, count, score in rows]


def all_there_are(log_probs, prompt, length, penalty):
    """Every continuation that ends by the separator or has `length` tokens, with its score, the best first."""
    found = []
    for count in range(1, length + 1):
        for ids in itertools.product(range(log_probs.shape[1]), repeat=count):
            if EOS in ids[:-1] or (count < length and ids[-1] != EOS):
                continue
            path = [prompt[-1], *ids]
            total = sum(log_probs[len(prompt) - 1 + i, path[i], path[i + 1]] for i in range(count))
            found.append((list(ids), total / count**penalty))
    return sorted(found, key=lambda each: -each[1])


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.6, 1.0, 2.0])
def test_beams_enough_find_the_best_of_all(penalty):
    """Four tokens of five: 64 prefixes at most, all of them followed by 80 beams."""
    model, log_probs = drifting(5, seed=3)
    config = GenerationConfig(num_beams=80, num_sequences=6, max_new_tokens=4, length_penalty=penalty, early_stopping="never")
    found, expected = ours(model, [EOS, 3], config), all_there_are(log_probs, [EOS, 3], 4, penalty)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected[:6]]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected[:6]], rtol=1e-5)


def plainly(log_probs, prompt, config: GenerationConfig):
    """Diverse beam search over lists of (tokens, sum): every group with its own beams and its own finished ones."""
    width, length = config.num_beams // config.num_beam_groups, config.max_new_tokens
    running = [[([], 0.0)] for _ in range(config.num_beam_groups)]
    finished = [[] for _ in running]
    done = [False] * len(running)
    for step in range(length):
        taken = np.zeros(log_probs.shape[1])
        for group, beams in enumerate(running):
            if done[group]:
                continue
            grown = []
            for ids, total in beams:
                row = log_probs[len(prompt) - 1 + step, (prompt + ids)[-1]] - config.diversity_penalty * taken
                grown += [([*ids, token], total + row[token]) for token in range(len(row))]
            best = sorted(grown, key=lambda each: -each[1])[: 2 * width]
            ends = [ids[-1] == EOS or step + 1 == length for ids, _ in best]
            now = [
                (ids, s / (step + 1) ** config.length_penalty) for (ids, s), end in zip(best[:width], ends, strict=False) if end
            ]
            finished[group] = sorted(finished[group] + now, key=lambda each: -each[1])[:width]
            running[group] = [each for each, end in zip(best, ends, strict=True) if not end][:width]
            said = [ids[-1] for ids, _ in best if ids[-1] != EOS]
            taken += np.bincount(said[:width], minlength=len(taken))
            full = len(finished[group]) == width
            hope = running[group][0][1] / (step + 1) ** config.length_penalty if running[group] else -math.inf
            done[group] = full and (config.early_stopping is True or hope <= finished[group][-1][1])
    return sorted(itertools.chain(*finished), key=lambda each: -each[1])[: config.num_sequences]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("beams", "groups", "penalty"), [(4, 1, 0.0), (4, 2, 0.7), (6, 3, 1.5), (4, 4, 0.3), (6, 2, 0.0)])
def test_equals_the_plain_program(beams, groups, penalty, early):
    settings = dict(num_beams=beams, num_beam_groups=groups, diversity_penalty=penalty, early_stopping=early)
    config = GenerationConfig(**settings, num_sequences=beams, max_new_tokens=7, length_penalty=0.8)
    for seed in range(6):
        model, log_probs = drifting(9, seed)
        found, expected = ours(model, [EOS, 3, 4], config), plainly(log_probs, [EOS, 3, 4], config)
        assert [ids for ids, _ in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-4)


def test_groups_say_different_things():
    """One beam a group: without a penalty all say the same."""
    model, _ = drifting(9, seed=1)
    config = GenerationConfig(num_beams=3, num_beam_groups=3, num_sequences=3, max_new_tokens=6)
    assert len({str(ids) for ids, _ in ours(model, [EOS, 3], config)}) == 1
    assert len({str(ids) for ids, _ in ours(model, [EOS, 3], config.replace(diversity_penalty=5.0))}) == 3


@pytest.mark.slow
def test_one_beam_more_is_no_worse_than_greedy(llama):
    """With the cache reordered at every step: log-probabilities are those of the whole text."""
    prompts = ["hello, wor", "é", ""]
    greedy = tfllm.generate(llama, TOKENIZER, prompts, max_new_tokens=10)
    config = GenerationConfig(num_beams=4, num_sequences=2, max_new_tokens=10, length_penalty=0.0, early_stopping="never")
    found = tfllm.generate(llama, TOKENIZER, prompts, config)
    for i, prompt in enumerate(prompts):
        first, second = found[2 * i : 2 * i + 2]
        assert first.prompt == second.prompt == prompt
        assert first.score >= second.score and first.score >= sum(greedy[i].log_probs) - 1e-3
        for record in (first, second):
            ids = [1, *TOKENIZER.encode(prompt), *record.token_ids]
            log_probs = tf.nn.log_softmax(llama({"token_ids": tf.constant([ids])}))[0].numpy()
            start = len(ids) - record.num_tokens
            expected = [log_probs[start + at - 1, id] for at, id in enumerate(record.token_ids)]
            np.testing.assert_allclose(record.log_probs, expected, atol=1e-4)
            assert record.score == pytest.approx(sum(record.log_probs), abs=1e-3)
    assert greedy[0].score is None


def test_a_stop_string_ends_a_beam():
    letters = tf.constant([""] * 2 + list("abcdefg"))
    stop = Stop(tf.constant(stop_pattern(["bg"])), 2, lambda ids: tf.strings.reduce_join(tf.gather(letters, ids), axis=-1))
    model, _ = drifting(9, seed=5)
    config = GenerationConfig(num_beams=4, num_sequences=4, max_new_tokens=7, length_penalty=0.0)
    found = [ids for ids, _ in ours(model, [EOS, 3], config, SharedSettings(stop=stop))]
    said = ["".join(letters.numpy()[id].decode() for id in ids) for ids in found]
    assert any("bg" in each for each in said) and not any("bg" in each[:-1] for each in said), said
    without = [ids for ids, _ in ours(model, [EOS, 3], config)]
    assert found != without


def test_stop_strings_and_penalties_reach_the_beams():
    model = script(TOKENIZER.vocab_size, [*TOKENIZER.encode("one. two"), 1], prompt_length=3)
    [record] = tfllm.generate(model, TOKENIZER, "ab", num_beams=3, stop=". t", max_new_tokens=20)
    assert (record.text, record.finish_reason) == ("one", "stop")
    [record] = tfllm.generate(model, TOKENIZER, "ab", num_beams=3, max_new_tokens=20)
    assert (record.text, record.finish_reason) == ("one. two", "eos")
    [record] = tfllm.generate(model, TOKENIZER, "ab", num_beams=3, bad_words=["e."], max_new_tokens=5, length_penalty=0.0)
    assert "e." not in record.text


def test_places_that_stay_empty():
    """Two continuations there are: the others are empty."""
    model = fixed(np.log(np.array([1e-30, 0.7, 0.3])))
    config = GenerationConfig(num_beams=4, num_sequences=4, max_new_tokens=1)
    found = ours(model, [EOS, 2], config, SharedSettings(bias=tf.constant([-np.inf, 0, 0])))
    assert [ids for ids, _ in found] == [[1], [2], [], []]
    assert [score for _, score in found[2:]] == [-math.inf] * 2


def test_beams_do_not_stream(llama):
    with pytest.raises(ValueError, match="num_beams=2 is invalid: expected 1 in a stream"):
        tfllm.stream(llama, TOKENIZER, "a", num_beams=2)
