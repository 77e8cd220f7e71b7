"""The loop against the plainest one there is: a full forward pass a token, in Python."""

import gc
import time
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from scripted import RuleModel, fixed, script

import tfllm
from tfllm.generation import GenerationConfig, decode, decoding_state, tracing
from tfllm.generation.model_steps import Prompts
from tfllm.generation.penalties import apply_repetition_penalty
from tfllm.generation.row_settings import rows_of
from tfllm.generation.sampling import choose
from tfllm.generation.shared_settings import ALL_OFF, SharedSettings, Stop, stop_pattern
from tfllm.layers.cache import write
from tfllm.tokenizers import ByteTokenizer

PROMPTS = ["hello, wor", "é", "", "def f(x):\n    return"]
RULES = dict(temperature=0.9, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2, seed=5)


def run(
    model, config: GenerationConfig, ids: list[list[int]], shared: SharedSettings = ALL_OFF
) -> decoding_state.DecodingState:
    """`decode.decode`, called eagerly."""
    longest = max(map(len, ids))
    padded = tf.constant([row + [0] * (longest - len(row)) for row in ids])
    prompts = Prompts(padded, tf.constant([len(row) for row in ids]))
    return decode.decode(model, prompts, rows_of([config] * len(ids)), shared)


def naive(model, prompt: list[int], config: GenerationConfig) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities by a full forward pass each."""
    ids, found, log_probs = list(prompt), [], []
    row = rows_of([config])
    while len(found) < config.max_new_tokens and (not found or found[-1] != 1):
        logits = model({"token_ids": tf.constant([ids])})[:, -1]
        seen = np.isin(np.arange(logits.shape[1]), [i for i in ids if i > 1])[None]
        scores = apply_repetition_penalty(logits, tf.constant(seen), row.repetition_penalty)
        chosen = int(choose(scores, row, positions=tf.constant([len(ids)]))[0])
        log_probs.append(float(tf.nn.log_softmax(logits)[0, chosen]))
        ids.append(chosen)
        found.append(chosen)
    return found, log_probs


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(dict(), id="greedy", marks=pytest.mark.slow),
        pytest.param(dict(repetition_penalty=1.5), id="penalty", marks=pytest.mark.slow),
        pytest.param(RULES, id="all"),
    ],
)
def test_equals_the_naive_loop(model, tokenizer, settings):
    """Tokens equal; log-probabilities those of the whole row's softmax; each prompt alone or in a ragged batch."""
    config = GenerationConfig(max_new_tokens=12, **settings)
    together = tfllm.generate(model, tokenizer, PROMPTS, config)
    for prompt, record in zip(PROMPTS, together, strict=True):
        [alone] = tfllm.generate(model, tokenizer, prompt, config)
        assert alone.token_ids == record.token_ids
        ids, log_probs = naive(model, [1, *tokenizer.encode(prompt)], config)
        assert record.token_ids == ids
        np.testing.assert_allclose(record.log_probs, log_probs, atol=1e-4)
    assert len({tuple(record.token_ids) for record in together}) == len(PROMPTS)


def test_no_setting_is_without_effect(llama, tokenizer):
    """Each setting changes the text of some seed, so that the equality above says something of each."""
    plain = GenerationConfig(max_new_tokens=12, temperature=1.0, seed=1)

    def texts(config):
        return [r.token_ids for s in range(4) for r in tfllm.generate(llama, tokenizer, PROMPTS, config, seed=s)]

    reference = texts(plain)
    for change in (dict(temperature=3.0), dict(top_k=2), dict(top_p=0.5), dict(min_p=0.5), dict(repetition_penalty=2.0)):
        assert texts(plain.replace(**change)) != reference, change


def test_several_sequences_a_prompt(llama, tokenizer):
    config = GenerationConfig(max_new_tokens=10, temperature=1.0, seed=3, num_sequences=3)
    records = tfllm.generate(llama, tokenizer, PROMPTS[:2], config)
    assert [record.prompt for record in records] == [PROMPTS[0]] * 3 + [PROMPTS[1]] * 3
    assert len({tuple(record.token_ids) for record in records}) == 6
    single = tfllm.generate(llama, tokenizer, PROMPTS[:2], config, num_sequences=1)
    assert [single[0].token_ids, single[1].token_ids] == [records[0].token_ids, records[3].token_ids]


def test_a_continuation_goes_on_as_it_would_have(llama, tokenizer):
    """Draws are keyed by position: half the text as a prompt, the other half follows."""
    config = GenerationConfig(max_new_tokens=16, **RULES | dict(repetition_penalty=1.0))
    whole = run(llama, config, [[1, 70, 71]]).tokens[:, 0].numpy().tolist()
    rest = run(llama, config.replace(max_new_tokens=8), [[1, 70, 71, *whole[:8]]]).tokens[:, 0].numpy().tolist()
    assert rest == whole[8:]


def test_the_loop_samples_the_models_distribution():
    """Pairs of tokens of 20,000 sequences: the product of the two distributions, so no draw depends on the other."""
    probabilities = np.array([0.0, 0.0, 0.5, 0.3, 0.2])
    model = fixed(np.log(np.maximum(probabilities, 1e-9)))
    config = GenerationConfig(max_new_tokens=2, temperature=1.0, num_sequences=20_000, seed=0)
    state = run(model, config, [[1, 2]])
    pairs = np.zeros([5, 5])
    np.add.at(pairs, tuple(state.tokens.numpy()), 1)
    expected = 20_000 * np.outer(probabilities, probabilities)[2:, 2:]
    assert np.sum((pairs[2:, 2:] - expected) ** 2 / expected) < 20.1  # 1%, 8 degrees of freedom


def test_rows_end_by_separator_budget_or_string():
    """The rows of the module's docstring, and a third that a stop string ends early."""
    following = {17: 9, 9: 33, 33: 1, 8: 52, 52: 60, 60: 17, 5: 6, 6: 7, 7: 6}
    table = tf.constant([following.get(token, 2) for token in range(64)])
    model = RuleModel(64, lambda token, position: 30.0 * tf.one_hot(tf.gather(table, token), 64))
    letters = tf.constant([""] * 5 + ["A", "B", "C"] + ["."] * 56)
    stop = Stop(tf.constant(stop_pattern(["BC"])), 2, lambda ids: tf.strings.reduce_join(tf.gather(letters, ids), axis=-1))
    state = run(model, GenerationConfig(max_new_tokens=3), [[1, 41, 17], [1, 8], [1, 5]], SharedSettings(stop=stop))
    found = decoding_state.results(state)
    assert found.token_ids.numpy().tolist() == [[9, 33, 1], [52, 60, 17], [6, 7, 0]]
    assert found.num_tokens.numpy().tolist() == [3, 3, 2]
    assert found.finish.numpy().tolist() == [decoding_state.EOS, decoding_state.LENGTH, decoding_state.STOP]


def test_stops_when_all_rows_have_stopped():
    tokenizer = ByteTokenizer()
    model = script(tokenizer.vocab_size, [70, 71, 1], prompt_length=2)
    state = run(model, GenerationConfig(max_new_tokens=500), [[1, 70], [1, 71]])
    assert int(state.step) == 3
    assert state.num_tokens.numpy().tolist() == [3, 3]
    assert state.finish.numpy().tolist() == [decoding_state.EOS] * 2
    assert int(state.cache.length) == 2 + 2, "the last token need not be read"


def test_a_row_that_ended_stays_as_it_is(tokenizer):
    """The separator's row is padded with zeros while its neighbour goes on."""
    said = tf.constant([2, 70, 1, 72, 73, 74, 75])
    model = RuleModel(tokenizer.vocab_size, lambda token, position: 30.0 * tf.one_hot(tf.gather(said, position), 259))
    state = run(model, GenerationConfig(max_new_tokens=3), [[1, 90], [1, 90, 90, 90]])
    found = decoding_state.results(state)
    assert found.token_ids.numpy().tolist() == [[70, 1, 0], [72, 73, 74]]
    assert found.num_tokens.numpy().tolist() == [2, 3]
    assert found.finish.numpy().tolist() == [decoding_state.EOS, decoding_state.LENGTH]
    assert found.log_probs.numpy()[0, 2] == 0 and (found.log_probs.numpy() > -1e-3).all()


def test_separator_is_exempt_from_the_penalty():
    """A separator opens every prompt; it must stay as probable as it was."""
    model = fixed(np.log(np.array([1e-9, 0.4, 1e-9, 0.6])))
    assert run(model, GenerationConfig(max_new_tokens=1, repetition_penalty=5.0), [[1, 3]]).tokens.numpy().tolist() == [[1]]
    assert run(model, GenerationConfig(max_new_tokens=1), [[1, 3]]).tokens.numpy().tolist() == [[3]]


def test_learned_positions_bound_the_budget_in_the_graph():
    keras.utils.set_random_seed(0)
    model = tfllm.CausalLM(tfllm.preset("gpt2-tiny", max_length=8, initializer_range=0.3))
    state = run(model, GenerationConfig(max_new_tokens=100), [[1, 5, 6, 7, 8], [1, 9], [1] * 8])
    assert state.num_tokens.numpy().tolist() == [3, 6, 0]
    assert state.finish.numpy().tolist() == [decoding_state.LENGTH] * 3


def test_traced_once_whatever_the_shapes(llama, tokenizer):
    config = GenerationConfig(max_new_tokens=3)
    tracing._TRACED.pop(llama, None)
    for prompts, stop in [(["a"], ()), (PROMPTS, ()), (PROMPTS[:2], ("abc",)), (["a"], ("abcdefg", "x"))]:
        tfllm.generate(llama, tokenizer, prompts, config, stop=stop, num_sequences=1)
    counts = [functions.decode.experimental_get_tracing_count() for functions in tracing._TRACED[llama].values()]
    assert counts == [1, 1]


def test_mixed_precision_casts_matrices_before_the_loop(tokenizer):
    """And says what the full forward says, to bfloat16's last digits."""
    keras.utils.set_random_seed(0)
    architecture = tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size, num_layers=1, initializer_range=0.3)
    model = tfllm.CausalLM(architecture, dtype="mixed_bfloat16")
    [record] = tfllm.generate(model, tokenizer, "ab", max_new_tokens=6)
    ids = [1, *tokenizer.encode("ab"), *record.token_ids]
    log_probs = tf.nn.log_softmax(model({"token_ids": tf.constant([ids])}))[0].numpy()
    expected = [log_probs[2 + at, id] for at, id in enumerate(record.token_ids)]
    np.testing.assert_allclose(record.log_probs, expected, atol=0.05)

    [functions] = tracing._TRACED[model].values()
    library = functions.decode.get_concrete_function().graph.as_graph_def().library.function
    bodies = [each for each in library if "while_body" in each.signature.name]
    nodes = [node for body in bodies for node in body.node_def]
    assert any(node.op == "ReadVariableOp" for node in nodes), "the norms' scales are read in the loop"
    assert not [node.name for node in nodes if node.op == "Cast" and "ReadVariableOp" in node.input[0]]


def test_the_cache_is_written_in_place():
    """Forty writes into 64 MB cost the processor a small part of forty copies of it, whatever else it does."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)])
    def writes(count, copy):
        slots, new = tf.zeros([1, 4, 65536, 64]), tf.ones([1, 4, 1, 64])

        def body(step, slots):
            slots = tf.cond(copy, lambda: slots + 1.0, lambda: write(slots, new, step))
            return step + 1, slots

        return tf.while_loop(lambda step, _: step < count, body, [0, slots])[1][0, 0, 39, 0]

    def processor_seconds(copy):
        start = time.process_time()
        writes(40, copy).numpy()
        return time.process_time() - start

    assert writes(40, False).numpy() == 1 and writes(39, False).numpy() == 0
    assert processor_seconds(copy=False) < processor_seconds(copy=True) / 2


def test_models_are_not_kept_alive(tokenizer):
    keras.utils.set_random_seed(0)
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size, num_layers=1))
    tfllm.generate(model, tokenizer, "a", max_new_tokens=2)
    gone = [weakref.ref(model), *map(weakref.ref, tracing._TRACED[model].values())]
    del model
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_patterns_match_the_strings_as_they_are():
    texts = ["a.b", "\n\n", "(", "\\", "x*", "\0", "中", "[^", "\t "]
    for stop in texts:
        row = tf.constant([f"1{stop}2{stop}\n3", "12\n3"])
        found = tf.strings.regex_replace(row, stop_pattern([stop]), "", replace_global=False)
        assert found.numpy().tolist() == [b"1", b"12\n3"], stop
    both = tf.strings.regex_replace(["ab cd", "cd ab"], stop_pattern(["cd", "ab"]), "", replace_global=False)
    assert both.numpy().tolist() == [b"", b""]
