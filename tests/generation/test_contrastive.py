"""Contrastive search against the plainest program: a full forward pass for each candidate, in NumPy from there on."""

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.generation import GenerationConfig
from tfllm.generation.contrastive import rank
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = ["hello, wor", "é", ""]
CONTRAST = dict(penalty_alpha=0.6, top_k=4, max_new_tokens=10)


def plainly(model, prompt: str, alpha: float, k: int, count: int) -> list[int]:
    """The formula of Su et al. 2022, section 3, word for word."""
    ids, found = [1, *TOKENIZER.encode(prompt)], []
    while len(found) < count and found[-1:] != [1]:
        logits = model({"token_ids": tf.constant([ids])})[0, -1].numpy().astype(np.float64)
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        scores = {}
        for token in np.argsort(-probabilities)[:k]:
            hidden = model.stack({"token_ids": tf.constant([[*ids, token]])}).last_hidden_state[0].numpy().astype(np.float64)
            hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
            scores[int(token)] = (1 - alpha) * probabilities[token] - alpha * (hidden[:-1] @ hidden[-1]).max()
        found.append(max(scores, key=scores.__getitem__))
        ids.append(found[-1])
    return found


def test_rank_is_the_table_of_the_module():
    found = rank(tf.constant([[0.6, 0.3]]), tf.constant([[0.9, 0.2]]), tf.constant(0.6))
    np.testing.assert_allclose(found, [[-0.30, 0.00]], atol=1e-6)


@pytest.mark.parametrize(
    ("alpha", "k"), [(0.6, 4), *(pytest.param(*each, marks=pytest.mark.slow) for each in [(0.3, 6), (0.9, 2)])]
)
def test_equals_the_plain_program(model, alpha, k):
    """Both families, ragged prompts in one batch."""
    config = GenerationConfig(penalty_alpha=alpha, top_k=k, max_new_tokens=6)
    records = tfllm.generate(model, TOKENIZER, PROMPTS, config)
    assert [record.token_ids for record in records] == [plainly(model, prompt, alpha, k, 6) for prompt in PROMPTS]


def test_it_is_not_greedy(llama):
    """And hardly any alpha leaves the most probable tokens; log-probabilities stay the model's."""
    greedy = [record.token_ids for record in tfllm.generate(llama, TOKENIZER, PROMPTS, max_new_tokens=10)]
    records = tfllm.generate(llama, TOKENIZER, PROMPTS, **CONTRAST)
    assert [record.token_ids for record in records] != greedy
    nearly = tfllm.generate(llama, TOKENIZER, PROMPTS, **CONTRAST | dict(penalty_alpha=1e-6))
    assert [record.token_ids for record in nearly] == greedy
    for prompt, record in zip(PROMPTS, records, strict=True):
        ids = [1, *TOKENIZER.encode(prompt), *record.token_ids]
        log_probs = tf.nn.log_softmax(llama({"token_ids": tf.constant([ids])}))[0].numpy()
        first = len(ids) - record.num_tokens - 1
        expected = [log_probs[first + at, id] for at, id in enumerate(record.token_ids)]
        np.testing.assert_allclose(record.log_probs, expected, atol=1e-4)


def test_what_is_forbidden_is_no_candidate(llama):
    """Where fewer than k tokens are left, the others must not win by being unlike everything."""
    bias = {token: -1e9 for token in range(TOKENIZER.vocab_size) if token not in (70, 71)}
    records = tfllm.generate(llama, TOKENIZER, PROMPTS, **CONTRAST, bad_words=["C"], logit_bias=bias)
    assert {token for record in records for token in record.token_ids} == {71}


@pytest.mark.slow
def test_stream_equals_generate(llama):
    settings = CONTRAST | dict(max_new_tokens=14, no_repeat_ngram_size=2, stop=["zz"])
    [record] = tfllm.generate(llama, TOKENIZER, "é", **settings)
    assert "".join(tfllm.stream(llama, TOKENIZER, "é", **settings)) == record.text
